"""What a task does with its splits: read, shape, write, and tell. Runs where pyspark may be absent.

A task reports its own failures instead of raising them where trying again cannot help: Spark would try four times.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock import errors
from penstock.engines.arrow.budget import ByteBudget
from penstock.engines.arrow.move import run_move
from penstock.engines.arrow.relay import run_relay
from penstock.errors import PenstockError
from penstock.protocols import Chunks, Move, Moved, Reader, Transform, Writer
from penstock.records import dataclass
from penstock.values import (
    Account,
    Batch,
    CommitReceipt,
    Cursor,
    Into,
    Json,
    LoadId,
    Piece,
    Shape,
    SplitId,
    Tally,
    WriteTicket,
)
from penstock.values.wire import piece_from_json, piece_to_json, split_from_json, ticket_from_json

if TYPE_CHECKING:
    import pyarrow as pa

_TICKET = WriteTicket(LoadId("task"), {})
TASK_BYTES = 48 << 20  # of batches waiting between a task's reader and its writer


@dataclass(frozen=True, slots=True)
class Orders:
    """What every task of a move is told. `groups` are the splits of each task, as JSON.

    Pieces go to the destination by `ticket`, or, where it takes none from elsewhere, into files below `staging`.
    """

    reader: Reader
    groups: Sequence[str]
    shape: Shape
    transform: Transform | None = None
    open_writer: Callable[[WriteTicket], Writer] | None = None
    ticket: str | None = None
    staging: str | None = None
    relay: bool = False

    def run(self, number: int, attempt: int) -> dict[str, Json]:
        """Carry out one task. Raises what is worth another attempt, reports the rest."""
        try:
            moved = self._move(number, attempt)
        except PenstockError as error:
            if error.retryable:
                raise
            return {"error": error_to_json(error)}
        return {
            "pieces": [piece_to_json(piece) for piece in moved.pieces],
            "tally": tally_to_json(moved.tally),
        }

    def _move(self, number: int, attempt: int) -> Moved:
        splits = tuple(split_from_json(item) for item in json.loads(self.groups[number]))
        job = Move(
            reader=self.reader,
            splits=splits,
            begin=lambda: Pieces(self._writer(), attempt),
            shape=self.shape,
            transform=self.transform,
        )
        budget = ByteBudget(TASK_BYTES)
        return run_relay(job, budget) if self.relay else run_move(job, budget, threads=1)

    def _writer(self) -> Writer:
        if self.ticket is not None and self.open_writer is not None:
            return self.open_writer(ticket_from_json(json.loads(self.ticket)))
        assert self.staging is not None
        return StagedFiles(Path(self.staging))


class Pieces:
    """The LoadSession of one task: pieces under the attempt's number, and nothing to commit or to sweep."""

    def __init__(self, writer: Writer, attempt: int) -> None:
        self._writer = writer
        self._attempt = attempt

    @property
    def ticket(self) -> WriteTicket | None:
        return _TICKET  # not the direct route: each split is a piece of its own

    def write(self, split_id: SplitId, attempt: int, batches: Iterator[Batch], *, into: Into = "target") -> Piece:
        del attempt
        return self._writer.write(split_id, self._attempt, batches, into=into)

    def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece:
        del attempt
        return self._writer.relay(split_id, self._attempt, chunks)

    def commit(self, pieces: Sequence[Piece], account: Account) -> CommitReceipt:
        raise AssertionError("the driver commits")

    def abort(self) -> None:
        """The driver's abort removes the pieces of every attempt."""


class StagedFiles:
    """A Writer of Arrow files, for destinations that only their own session can write to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, split_id: SplitId, attempt: int, batches: Iterator[Batch], *, into: Into = "target") -> Piece:
        import pyarrow as pa

        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{split_id}-{attempt}-{into}-{os.getpid()}.arrow"
        rows, sink = 0, None
        try:
            for batch in batches:
                if sink is None:
                    sink = pa.ipc.new_stream(str(path), batch.rows.schema)
                sink.write_batch(batch.rows)
                rows += batch.rows.num_rows
        finally:
            if sink is not None:
                sink.close()
        size = path.stat().st_size if sink is not None else 0
        return Piece(split_id, attempt, rows, size, into, {"path": str(path) if sink is not None else None})

    def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece:
        raise AssertionError(f"split {split_id}, attempt {attempt}: {chunks.encoding} is not relayed into files")


def tasks(orders: Orders) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What `mapInArrow` runs over a range of task numbers: one report, as JSON, for each."""

    def run(numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        from pyspark import TaskContext

        context = TaskContext.get()
        attempt = context.taskAttemptId() if context is not None else 0
        for batch in numbers:
            for number in batch.column(0).to_pylist():
                report = json.dumps(orders.run(number, attempt))
                columns = [pa.array([number], pa.int64()), pa.array([report])]
                yield pa.RecordBatch.from_arrays(columns, names=["number", "report"])

    return run


def tally_to_json(tally: Tally) -> dict[str, Json]:
    counts: dict[str, Json] = {name: getattr(tally, name) for name in _COUNTS}
    boundary: dict[str, Json] | None = dict(tally.boundary) if tally.boundary is not None else None
    reached = tally.reached.to_json() if tally.reached is not None else None
    return {**counts, "reached": reached, "boundary": boundary, "digest": tally.digest}


def tally_from_json(data: Mapping[str, Any]) -> Tally:
    reached = data["reached"]
    return Tally(
        **{name: int(data[name]) for name in _COUNTS},
        reached=Cursor.from_json(reached) if reached is not None else None,
        boundary=data["boundary"],
        digest=data["digest"],
    )


_COUNTS = ("read", "deduplicated_in", "given", "returned", "written", "quarantined", "size_bytes")


def error_to_json(error: PenstockError) -> dict[str, Json]:
    return {
        "kind": type(error).__name__,
        "what": error.what,
        "where": error.where,
        "fix": error.fix,
        "fault": error.fault,
    }


def error_from_json(data: Mapping[str, Any]) -> PenstockError:
    kind = getattr(errors, data["kind"], errors.LoadError)
    found: PenstockError = kind(data["what"], where=data["where"], fix=data["fix"], fault=data["fault"])
    return found


def pieces_of(report: Mapping[str, Any]) -> list[Piece]:
    return [piece_from_json(piece) for piece in report["pieces"]]
