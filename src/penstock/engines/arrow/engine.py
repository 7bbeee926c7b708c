"""The arrow engine: what steps call."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from penstock.engines.arrow.budget import ByteBudget
from penstock.engines.arrow.frames import FrameKind
from penstock.engines.arrow.move import run_move
from penstock.engines.arrow.reference import UserFunction, load_user_function
from penstock.engines.arrow.relay import run_relay
from penstock.engines.arrow.transform import ArrowTransform, function_transform, load_function, parse_sql
from penstock.engines.arrow.workspace import Workspace
from penstock.protocols import Move, Moved, Transform


class ForeignFrames(Protocol):
    """Frames that are computed in another process, and how a function of one becomes a transform of this engine."""

    frames: Mapping[str, FrameKind]

    def loading(self) -> AbstractContextManager[None]:
        """While it lasts, a user's file may make things for such frames that only the other process can use."""
        ...

    def transform(self, user: UserFunction, base_dir: str, workspace: Workspace) -> ArrowTransform: ...

    def close(self) -> None: ...


class ArrowEngine:
    """Moves batches through threads of this process; one instance, and so one byte budget, per run.

    Half of `memory_bytes` bounds the queues of all moves together, half (at least 128 MB, once a transform asks for
    it) is DuckDB's for transforms, which spill to `temp_dir` (the system's temporary folder when None).
    """

    def __init__(
        self, memory_bytes: int, threads: int, temp_dir: Path | None = None, foreign: ForeignFrames | None = None
    ) -> None:
        self.budget = ByteBudget(max(1, memory_bytes // 2))
        self._threads = max(1, threads)
        self._workspace = Workspace(memory_bytes - memory_bytes // 2, self._threads, temp_dir)
        self._foreign = foreign

    def move(self, job: Move) -> Moved:
        return run_move(job, self.budget, self._threads)

    def relay(self, job: Move) -> Moved:
        return run_relay(job, self.budget)

    def load_transform(self, reference: str, base_dir: str, *, default_frame: str | None = None) -> Transform:
        foreign = self._foreign
        if foreign is None:
            return load_function(reference, base_dir, self._workspace, default_frame=default_frame)
        with foreign.loading():
            user = load_user_function(reference, base_dir, default_frame, more=foreign.frames)
        if user.frame in foreign.frames.values():
            return foreign.transform(user, base_dir, self._workspace)
        return self.function_transform(user)

    def function_transform(self, user: UserFunction) -> ArrowTransform:
        """`load_transform` of a function that is loaded already."""
        return function_transform(user, self._workspace)

    def sql_transform(self, sql: str) -> Transform:
        return parse_sql(sql, self._workspace)

    def temporary_folder(self) -> AbstractContextManager[Path]:
        """A folder of this run for files that pass between processes; gone afterwards, also after a crash."""
        return self._workspace.folder()

    def close(self) -> None:
        """Give back DuckDB's memory, other processes and temporary files; safe to repeat."""
        if self._foreign is not None:
            self._foreign.close()
        self._workspace.close()
