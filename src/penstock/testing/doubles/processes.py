"""An engine that runs each split in a process of its own, some of them twice, some of them lost, as a cluster does."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from penstock.errors import ConfigError, LoadError, TransformError
from penstock.protocols import LoadSession, Move, Moved, Transform
from penstock.records import dataclass
from penstock.testing.engines import Counts
from penstock.values import Cursor, Json, Piece, Split, SplitId
from penstock.values.wire import piece_from_json, split_to_json, ticket_to_json

Fate = Literal["well", "twice", "killed while writing", "killed after writing"]
KILLED = -9


@dataclass
class ProcessEngine:
    """`fates` says what befalls the first attempt at a split; a lost attempt is made again."""

    fates: Mapping[SplitId, Fate] = field(default_factory=dict)
    attempts: dict[SplitId, int] = field(default_factory=dict)

    def move(self, job: Move) -> Moved:
        if job.shape.boundary is not None:
            raise ConfigError("boundary digests are counted over a whole read: no engine of many processes can do it")
        load = job.begin()
        counts = Counts()
        try:
            pieces = [self._until_done(job, load, split, counts) for split in job.splits]
        except BaseException:
            load.abort()
            raise
        return Moved(load, tuple(pieces), counts.tally(job.shape))

    def _until_done(self, job: Move, load: LoadSession, split: Split, counts: Counts) -> Piece:
        fate = self.fates.get(split.id, "well")
        report = self._attempt(job, load, split, fate)
        if report is None or fate == "twice":
            report = self._attempt(job, load, split, "well")
        if report is None:
            raise LoadError(f"split {split.id} was lost twice", fault="transient")
        counts.read += _int(report["read"])
        counts.written += _int(report["written"])
        reached = report["reached"]
        counts.reach(Cursor.from_json(reached) if isinstance(reached, dict) else None)
        piece = report["piece"]
        return piece_from_json(piece if isinstance(piece, dict) else {})

    def _attempt(self, job: Move, load: LoadSession, split: Split, fate: Fate) -> dict[str, Json] | None:
        """What the process reported; None where it was lost."""
        if load.ticket is None or job.open_writer is None:
            raise ConfigError("the direct route has one writer, in this process", fix="plan a shadow or staged route")
        number = self.attempts[split.id] = self.attempts.get(split.id, 0) + 1
        orders = {
            "reader": job.reader,
            "open_writer": job.open_writer,
            "split": json.dumps(split_to_json(split)),
            "ticket": json.dumps(ticket_to_json(load.ticket)),
            "shape": job.shape,
            "attempt": number,
            "fate": fate,
        }
        command = [sys.executable, "-m", "penstock.testing.doubles.split_process"]
        done = subprocess.run(command, input=pickle.dumps(orders), capture_output=True, check=False)
        if done.returncode == KILLED:
            return None
        if done.returncode != 0:
            raise LoadError(f"split {split.id}, attempt {number}: {done.stderr.decode()[-2000:]}")
        report: dict[str, Json] = json.loads(done.stdout)
        return report

    def relay(self, job: Move) -> Moved:
        raise ConfigError(f"{len(job.splits)} splits: bytes are relayed inside one process only")

    def load_transform(self, reference: str, base_dir: str, *, default_frame: str | None = None) -> Transform:
        raise TransformError(f"this engine runs no transforms: {reference} in {base_dir} ({default_frame})")

    def sql_transform(self, sql: str) -> Transform:
        raise TransformError(f"this engine runs no transforms: {sql[:40]}")


def _int(value: Json) -> int:
    return value if isinstance(value, int) else 0
