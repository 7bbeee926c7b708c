"""The reading half of a move: one thread per split, counting and leaving out what was delivered before."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from penstock.engines.arrow.budget import HaltedError, Lease
from penstock.engines.arrow.crew import Crew, Lane
from penstock.failpoints import failpoint
from penstock.loading.boundary import BoundaryFilter
from penstock.protocols import Move
from penstock.records import dataclass
from penstock.values import Batch, Boundary, Cursor, Into, Split

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True, eq=False)
class Parcel:
    """Rows on a lane. Of several parcels made from one batch, the last holds the lease."""

    rows: pa.RecordBatch
    cursors: pa.Array | None = None
    lease: Lease | None = None
    into: Into = "target"

    def discard(self) -> None:
        if self.lease is not None:
            self.lease.release()


class Intake:
    """Reads the splits in order, several at once, each onto its own lane."""

    def __init__(self, job: Move, crew: Crew) -> None:
        self.lanes: list[Lane[Parcel]] = [Lane(crew) for _ in job.splits]
        self.read = 0
        self.given = 0
        self.size_bytes = 0
        self.reached: Cursor | None = None
        self._job = job
        self._crew = crew
        self._boundary = BoundaryFilter(job.shape.boundary) if job.shape.boundary is not None else None
        self._unread = iter(list(zip(job.splits, self.lanes, strict=True)))
        self._guard = threading.Lock()

    def start(self, threads: int) -> None:
        for number in range(min(len(self.lanes), threads)):
            self._crew.spawn(f"read-{number}", self._read_splits)

    def has_rows(self) -> bool:
        return self.given > 0

    def is_finished(self) -> bool:
        return all(lane.is_closed() for lane in self.lanes)

    def boundary(self) -> Boundary | None:
        """Digests of the rows that the next read will see again."""
        return self._boundary.collected() if self._boundary is not None else None

    def unrecognised(self) -> tuple[str, ...]:
        """Columns that changed such that rows given on may have been delivered before."""
        return self._boundary.unrecognised() if self._boundary is not None else ()

    def _read_splits(self) -> None:
        while True:
            with self._guard:
                claimed = next(self._unread, None)
            if claimed is None:
                return
            self._read_split(*claimed)

    def _read_split(self, split: Split, lane: Lane[Parcel]) -> None:
        batches = self._job.reader.read(split)
        try:
            for batch in batches:
                failpoint("source.batch_read")
                self._take(batch, lane)
        finally:
            close = getattr(batches, "close", None)
            if close is not None:
                close()
        lane.close()

    def _take(self, batch: Batch, lane: Lane[Parcel]) -> None:
        if self._crew.is_halted():
            raise HaltedError
        size_bytes = batch.rows.nbytes
        kept = self._boundary.filter(batch) if self._boundary is not None else batch
        with self._guard:
            self.read += batch.rows.num_rows
            self.given += kept.rows.num_rows
            self.size_bytes += size_bytes
            self._note_reached(batch.reached)
        if self._job.progress is not None:
            self._job.progress.advance(batch.rows.num_rows, size_bytes)
        if kept.rows.num_rows:
            self._crew.signal()
            lease = self._crew.lease(kept.rows.nbytes, lane.is_attended)
            lane.put(Parcel(kept.rows, kept.cursors, lease, kept.into))

    def _note_reached(self, cursor: Cursor | None) -> None:
        if cursor is not None and (self.reached is None or cursor.value > self.reached.value):  # type: ignore[operator]
            self.reached = cursor
