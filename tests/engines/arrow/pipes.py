"""A reader of prepared batches and a load that keeps what it is given, for tests of the engine alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from penstock.protocols import Chunks
from penstock.schema.types import from_arrow_schema
from penstock.values import (
    Account,
    Batch,
    CommitReceipt,
    Cursor,
    Encoding,
    Into,
    LoadId,
    Piece,
    Shape,
    Split,
    SplitId,
    StreamName,
    TableSchema,
    WriteTicket,
)

STREAM = StreamName("rows")


def rows_of(**columns: Sequence[object]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({name: list(values) for name, values in columns.items()})


def splits_of(names: Sequence[str], schema: TableSchema) -> list[Split]:
    return [Split(SplitId(name), STREAM, schema, {}) for name in names]


def shape_of(rows: pa.RecordBatch, **options: object) -> Shape:
    return Shape(from_arrow_schema(rows.schema), **options)  # type: ignore[arg-type]


@dataclass
class PreparedReader:
    """Yields the batches kept per split; an exception among them is raised; `gate` holds every read back."""

    batches: Mapping[str, Sequence[pa.RecordBatch | Batch | Exception]]
    gate: threading.Event | None = None
    closed: list[str] = field(default_factory=list)
    chunks: Mapping[str, Sequence[bytes]] = field(default_factory=dict)

    def read(self, split: Split) -> Iterator[Batch]:
        try:
            for item in self.batches[split.id]:
                if self.gate is not None:
                    self.gate.wait(30)
                if isinstance(item, Exception):
                    raise item
                yield item if isinstance(item, Batch) else Batch(split.stream, item)
        finally:
            self.closed.append(split.id)

    def relay(self, split: Split) -> Chunks:
        return PreparedChunks(self.chunks[split.id])


@dataclass
class PreparedChunks:
    parts: Sequence[bytes]
    rows: int | None = None

    @property
    def encoding(self) -> Encoding:
        return Encoding("test")

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            await asyncio.sleep(0)
            yield part


@dataclass
class KeepingLoad:
    """Keeps the rows of each write call. `ticket` decides the route, `fail_at` raises on the n-th batch."""

    ticket: WriteTicket | None = None
    fail_at: int | None = None
    written: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    quarantined: list[dict[str, object]] = field(default_factory=list)
    relayed: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    aborts: int = 0
    batches: int = 0
    at_once: int = 0
    most_at_once: int = 0
    on_batch: Callable[[pa.RecordBatch], None] = lambda _: None
    guard: threading.Lock = field(default_factory=threading.Lock)

    def write(self, split_id: SplitId, attempt: int, batches: Iterator[Batch], *, into: Into = "target") -> Piece:
        with self.guard:
            self.calls.append(split_id)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        rows: list[dict[str, object]] = []
        try:
            for batch in batches:
                self._count()
                self.on_batch(batch.rows)
                rows += batch.rows.to_pylist()
        finally:
            with self.guard:
                self.at_once -= 1
        if into == "quarantine":
            self.quarantined += rows
        else:
            self.written[split_id] = rows
        return Piece(split_id, attempt, len(rows), into=into)

    def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece:
        with self.guard:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.relayed[split_id] = b"".join(chunks)
        finally:
            with self.guard:
                self.at_once -= 1
        return Piece(split_id, attempt, len(self.relayed[split_id]))

    def commit(self, pieces: Sequence[Piece], account: Account) -> CommitReceipt:
        raise AssertionError("an engine never commits")

    def abort(self) -> None:
        self.aborts += 1

    def rows(self) -> list[dict[str, object]]:
        return [row for rows in self.written.values() for row in rows]

    def _count(self) -> None:
        with self.guard:
            self.batches += 1
            if self.fail_at == self.batches:
                raise ConnectionError("the server went away")


TICKET = WriteTicket(LoadId("load"), {})


def cursor_batch(rows: pa.RecordBatch, column: str) -> Batch:
    """The rows with an int column as their cursor."""
    cursors = rows.column(column)
    highest = max((v for v in cursors.to_pylist() if v is not None), default=None)
    return Batch(STREAM, rows, cursors, None if highest is None else Cursor("int", highest))


def threads_alive() -> list[str]:
    """Threads of ours but the PostgreSQL event loop, which lives as long as its process."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("penstock-") and name != "penstock-postgres-loop"]
