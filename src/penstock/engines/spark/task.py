"""What a task does with its splits: read, shape, write, and tell. Runs where pyspark may be absent.

A task reports a failure instead of raising it where trying again cannot help: Spark would try four times.
"""

from __future__ import annotations

import itertools
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from penstock.engines.arrow.budget import ByteBudget
from penstock.engines.arrow.move import run_move
from penstock.engines.arrow.relay import run_relay
from penstock.engines.spark.meters import Meter
from penstock.engines.spark.remote import limit_systems
from penstock.engines.spark.reports import TaskFailedError, error_to_json, moved_to_json, unforeseen
from penstock.errors import ConfigError, LoadError, PenstockError
from penstock.protocols import Chunks, Move, Moved, Reader, Transform, Writer
from penstock.records import dataclass
from penstock.values import (
    Account,
    Batch,
    CommitReceipt,
    Into,
    Json,
    LoadId,
    Piece,
    Shape,
    SplitId,
    WriteTicket,
)
from penstock.values.wire import split_from_json, ticket_from_json

if TYPE_CHECKING:
    import pyarrow as pa

_numbers = itertools.count()  # a task writes several files
_TICKET = WriteTicket(LoadId("task"), {})
TASK_BYTES = 48 << 20  # of batches waiting between a task's reader and its writer
SYSTEM_BYTES = 512 << 20  # for an embedded database that a task reads


@dataclass(frozen=True, slots=True)
class Orders:
    """What every task of a move is told. `groups` are the splits of each task, as JSON.

    Pieces go to the destination by `ticket`, or, where it takes none from elsewhere, into files in `staging`.
    """

    reader: Reader
    groups: Sequence[str]
    shape: Shape
    transform: Transform | None = None
    open_writer: Callable[[WriteTicket], Writer] | None = None
    ticket: str | None = None
    staging: str | None = None
    relay: bool = False
    variants: frozenset[str] = field(default_factory=frozenset)
    meter: Meter | None = None

    def run(self, number: int, attempt: int, rows: Iterator[pa.RecordBatch] | None = None) -> dict[str, Json]:
        """Carry out one task, of `rows` where Spark read them. Raises what is worth trying again, reports the rest."""
        try:
            return moved_to_json(self._move(number, attempt, rows))
        except PenstockError as error:
            if error.retryable:
                raise TaskFailedError(error) from None
            return {"error": error_to_json(error)}
        except Exception as error:  # noqa: BLE001 - the edge of a task: its text may hold a row and must not reach a log
            raise TaskFailedError(unforeseen(error)) from None
        finally:
            close = getattr(self.transform, "close", None)
            if close is not None:
                close()

    def _move(self, number: int, attempt: int, rows: Iterator[pa.RecordBatch] | None) -> Moved:
        limit_systems(self.variants, SYSTEM_BYTES, self.staging)
        splits = tuple(split_from_json(item) for item in json.loads(self.groups[number]))
        reader = self.reader
        if rows is not None and isinstance(reader, RowReader):
            reader, splits = reader.of(rows), splits[:1]  # the rows of all of them, as one
        job = Move(
            reader=reader,
            splits=splits,
            begin=lambda: Pieces(self._writer(), attempt),
            shape=self.shape,
            transform=self.transform,
            progress=self.meter.of_task(number, attempt) if self.meter is not None else None,
        )
        budget = ByteBudget(TASK_BYTES)
        return run_relay(job, budget) if self.relay else run_move(job, budget, threads=1)

    def _writer(self) -> Writer:
        if self.ticket is not None and self.open_writer is not None:
            return self.open_writer(ticket_from_json(json.loads(self.ticket)))
        assert self.staging is not None
        return StagedFiles(Path(self.staging))


@runtime_checkable
class RowReader(Protocol):
    """Makes a Reader of rows that Spark read."""

    def of(self, batches: Iterator[pa.RecordBatch]) -> Reader: ...


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
        piece = self._writer.write(split_id, self._attempt, batches, into=into)
        if piece.attempt != self._attempt:  # of an attempt whose executor was lost after it: to be counted as it is
            given = sum(batch.rows.num_rows for batch in batches)
            if given != piece.rows:
                raise LoadError(
                    f"an earlier attempt at split {split_id!r} wrote {piece.rows} rows, and this one has {given}",
                    fix="if the table has a transform, it must make the same rows of the same rows",
                )
        return piece

    def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece:
        del attempt
        return self._writer.relay(split_id, self._attempt, chunks)

    def commit(self, pieces: Sequence[Piece], account: Account) -> CommitReceipt:
        raise AssertionError(f"the driver commits: {len(pieces)} pieces up to {account.position}")

    def abort(self) -> None:
        """The driver's abort removes the pieces of every attempt."""


class StagedFiles:
    """A Writer of Arrow files, for destinations that only their own session can write to.

    The driver makes the folder and removes it: an attempt that outlives the load finds none, and leaves nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, split_id: SplitId, attempt: int, batches: Iterator[Batch], *, into: Into = "target") -> Piece:
        import pyarrow as pa

        path = self._folder / f"{attempt}-{os.getpid()}-{next(_numbers)}.arrow"
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
    return partial(_run_tasks, own_version(), pickle.dumps(orders))


def row_task(orders: Orders, number: int) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What `mapInArrow` runs over the rows of one group: its report."""
    return partial(_run_over_rows, own_version(), pickle.dumps(orders), number)


def _run_over_rows(
    version: str, pickled: bytes, number: int, rows: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    yield _report(number, _run_task(version, pickled, number, rows))


def _report(number: int, report: dict[str, Json]) -> pa.RecordBatch:
    import pyarrow as pa

    columns = [pa.array([number], pa.int64()), pa.array([json.dumps(report)])]
    return pa.RecordBatch.from_arrays(columns, names=["number", "report"])


def _run_tasks(version: str, pickled: bytes, numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in numbers:
        for number in batch.column(0).to_pylist():
            yield _report(number, _run_task(version, pickled, number))


def _run_task(
    version: str, pickled: bytes, number: int, rows: Iterator[pa.RecordBatch] | None = None
) -> dict[str, Json]:
    strange = other_version(version)
    if strange is not None:
        return {"error": error_to_json(strange)}
    orders: Orders = pickle.loads(pickled)  # noqa: S301 - made by the driver of this very run
    return orders.run(number, attempt_number(), rows)


def other_version(version: str) -> ConfigError | None:
    """The error that the driver's version is not this one."""
    if version == own_version():
        return None
    return ConfigError(
        f"the executors have penstock {own_version()}, this process {version}",
        fix="install the same version on both",
    )


def own_version() -> str:
    """Of the package as this process imported it; importing it by name would be a ring."""
    return str(sys.modules["penstock"].__version__)


def attempt_number() -> int:
    """The number of this attempt among all of its application: no two attempts share one."""
    from pyspark import TaskContext

    context = TaskContext.get()
    return context.taskAttemptId() if context is not None else 0
