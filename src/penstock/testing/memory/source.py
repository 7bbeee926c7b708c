"""Tables in memory as a source. A split carries its rows, so that a reader in any process can read it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from penstock.errors import ExtractionError
from penstock.protocols import Chunks
from penstock.records import dataclass
from penstock.schema.types import from_arrow_schema, to_arrow_schema
from penstock.values import (
    Ability,
    Batch,
    Bounds,
    Cursor,
    CursorSpec,
    CursorType,
    Json,
    Position,
    ReadRequest,
    Split,
    SplitId,
    StreamName,
    StreamSpec,
    TableSchema,
)

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class MemorySource:
    """`tables` may be changed between reads; an open session keeps the rows it saw when it was opened."""

    tables: dict[str, pa.Table] = field(default_factory=dict)
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    identity: str = "memory"
    abilities: frozenset[Ability] = frozenset({"shared_snapshot", "splits", "static_schema"})

    def check(self) -> None:
        """Memory is always there."""

    def streams(self, like: Sequence[str] | None = None) -> Iterable[StreamSpec]:
        names = self.tables if like is None else [name for name in like if name in self.tables]
        return [
            StreamSpec(StreamName(name), self.schema(name), rows_estimate=self.tables[name].num_rows) for name in names
        ]

    def probe(self, requests: Sequence[ReadRequest]) -> Sequence[Bounds]:
        return [bounds_of(self.table(request.stream), request) for request in requests]

    def open(self, requests: Sequence[ReadRequest]) -> MemorySession:
        bounds, splits = {}, []
        for request in requests:
            table = self.table(request.stream)
            bounds[request.stream] = bounds_of(table, request)
            splits += cut(select(table, request, bounds[request.stream]), request, self.schema(request.stream))
        return MemorySession(bounds, tuple(splits))

    def reader(self) -> MemoryReader:
        return MemoryReader()

    def table(self, name: str) -> pa.Table:
        if name not in self.tables:
            raise ExtractionError(f"no table {name!r} in memory", fix=f"there are: {', '.join(self.tables) or 'none'}")
        return self.tables[name]

    def schema(self, name: str) -> TableSchema:
        return TableSchema(from_arrow_schema(self.table(name).schema).fields, self.keys.get(name, ()), "memory")


@dataclass
class MemorySession:
    """Remembers what was acknowledged."""

    bounds: Mapping[StreamName, Bounds]
    splits: tuple[Split, ...]
    acknowledged: dict[StreamName, Cursor] = field(default_factory=dict)

    def acknowledge(self, upto: Mapping[StreamName, Cursor]) -> None:
        self.acknowledged.update(upto)

    def __enter__(self) -> MemorySession:
        return self

    def __exit__(self, *exc: object) -> None:
        return None


@dataclass(frozen=True)
class MemoryReader:
    """Holds nothing: a split says all."""

    def read(self, split: Split) -> Iterator[Batch]:
        import pyarrow as pa

        rows = pa.ipc.open_stream(base64.b64decode(str(split.work["rows"]))).read_all()
        size, column = split.work["batch_rows"], split.work["cursor"]
        for batch in rows.to_batches(max_chunksize=size):
            cursors = batch.column(str(column)) if column else None
            yield Batch(split.stream, batch, cursors, highest(cursors) if cursors is not None else None)

    def relay(self, split: Split) -> Chunks:
        raise ExtractionError(f"{split.stream}: rows in memory have no encoding to relay")


def cursor_of(value: Any) -> Cursor:
    """The typed cursor of a plain value."""
    kinds: tuple[tuple[type[Any], CursorType], ...] = (
        (int, "int"),
        (Decimal, "decimal"),
        (datetime, "datetime"),
        (date, "date"),
        (str, "string"),
    )
    for kind, name in kinds:
        if isinstance(value, kind):
            return Cursor(name, value)
    raise ExtractionError(f"a {type(value).__name__} cannot be a cursor")


def highest(cursors: pa.Array) -> Cursor | None:
    """The greatest cursor of a batch; None when all are NULL."""
    import pyarrow.compute as pc

    value = pc.max(cursors).as_py()
    return None if value is None else cursor_of(value)


def bounds_of(table: pa.Table, request: ReadRequest) -> Bounds:
    column = _column(request.cursor)
    if column is None:
        return Bounds(rows=table.num_rows, rows_estimate=table.num_rows)
    top = highest(table.column(column).combine_chunks()) if table.num_rows else None
    if request.upto is not None:
        top = request.upto
    before = request.after or Position()
    upper = top or before.cursor
    lower = before.resume or before.cursor
    position = Position(upper, upper)
    idle = bool(lower and top is None) or None
    return Bounds(lower=lower, upper=upper, position=position, idle=idle)


def select(table: pa.Table, request: ReadRequest, bounds: Bounds) -> pa.Table:
    """The rows of the request, in cursor order where it has one; rows without a cursor come with the first read."""
    import pyarrow as pa

    column = _column(request.cursor)
    if column is None:
        return table if request.limit is None else table.slice(0, request.limit)
    window = request.window
    kept = [
        index
        for index, value in enumerate(table.column(column).to_pylist())
        if _is_wanted(value, bounds, window.lower if window else None, window.upper if window else None)
    ]
    rows = table.take(pa.array(kept, pa.int64())).sort_by([(column, "ascending")])
    return rows if request.limit is None else rows.slice(0, request.limit)


def _is_wanted(value: Any, bounds: Bounds, start: Cursor | None, end: Cursor | None) -> bool:
    if value is None:
        return bounds.lower is None and start is None and end is None
    return (
        (bounds.lower is None or value >= bounds.lower.value)
        and (bounds.upper is None or value <= bounds.upper.value)
        and (start is None or value >= start.value)
        and (end is None or value < end.value)
    )


def _column(cursor: CursorSpec | None) -> str | None:
    return cursor.columns[0] if cursor and cursor.columns else None


def cut(rows: pa.Table, request: ReadRequest, schema: TableSchema) -> list[Split]:
    count = max(1, request.splits.count or 1)
    size = -(-rows.num_rows // count) if rows.num_rows else 0
    shares = [rows.slice(index * size, size) for index in range(count)]
    arrow = to_arrow_schema(schema)
    return [_split(index, share.cast(arrow), request, schema) for index, share in enumerate(shares)]


def _split(index: int, rows: pa.Table, request: ReadRequest, schema: TableSchema) -> Split:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    work: dict[str, Json] = {
        "rows": base64.b64encode(sink.getvalue()).decode(),
        "batch_rows": request.batch_rows,
        "cursor": _column(request.cursor),
    }
    return Split(SplitId(f"{request.stream}-{index}"), request.stream, schema, work, rows.num_rows)
