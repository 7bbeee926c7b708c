"""The arrow engine: what steps call."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from penstock.engines.arrow.budget import ByteBudget
from penstock.engines.arrow.move import run_move
from penstock.engines.arrow.reference import UserFunction
from penstock.engines.arrow.relay import run_relay
from penstock.engines.arrow.transform import ArrowTransform, function_transform, load_function, parse_sql
from penstock.engines.arrow.workspace import Workspace
from penstock.protocols import Move, Moved, Transform


class ArrowEngine:
    """Moves batches through threads of this process; one instance, and so one byte budget, per run.

    Half of `memory_bytes` bounds the queues of all moves together, half (at least 128 MB, once a transform asks for
    it) is DuckDB's for transforms, which spill to `temp_dir` (the system's temporary folder when None).
    """

    def __init__(self, memory_bytes: int, threads: int, temp_dir: Path | None = None) -> None:
        self.budget = ByteBudget(max(1, memory_bytes // 2))
        self._threads = max(1, threads)
        self._workspace = Workspace(memory_bytes - memory_bytes // 2, self._threads, temp_dir)

    def move(self, job: Move) -> Moved:
        return run_move(job, self.budget, self._threads)

    def relay(self, job: Move) -> Moved:
        return run_relay(job, self.budget)

    def load_transform(self, reference: str, base_dir: str, *, default_frame: str | None = None) -> Transform:
        return load_function(reference, base_dir, self._workspace, default_frame=default_frame)

    def function_transform(self, user: UserFunction) -> ArrowTransform:
        """`load_transform` of a function that is loaded already."""
        return function_transform(user, self._workspace)

    def sql_transform(self, sql: str) -> Transform:
        return parse_sql(sql, self._workspace)

    def temporary_folder(self) -> AbstractContextManager[Path]:
        """A folder of this run for files that pass between processes; gone afterwards, also after a crash."""
        return self._workspace.folder()

    def close(self) -> None:
        """Give back DuckDB's memory and temporary files; safe to repeat."""
        self._workspace.close()
