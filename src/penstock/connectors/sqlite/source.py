"""Reading a SQLite file: one read transaction per session, one split per stream.

Cursors are kept as they are stored: a time that lies as text is compared as text, so its cursor is a string that
survives the ledger unchanged.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from penstock.connectors.sql.extents import Extent, extent_of
from penstock.connectors.sql.selects import CURSOR_COLUMN, Arguments, Order, Relation, conditions_of
from penstock.connectors.sqlite.decode import to_column
from penstock.connectors.sqlite.dialect import SQLITE
from penstock.connectors.sqlite.files import database_path, is_destination, source_identity
from penstock.connectors.sqlite.shape import order_of, stream_shape, stream_specs
from penstock.connectors.sqlite.snapshot import SqliteSnapshot
from penstock.errors import ExtractionError
from penstock.protocols import Chunks, Reader, ReadSession
from penstock.records import dataclass
from penstock.schema.types import to_arrow_schema
from penstock.values import (
    Ability,
    Batch,
    Bounds,
    Connection,
    Cursor,
    Json,
    ReadRequest,
    Split,
    SplitId,
    StreamName,
    StreamSpec,
)

if TYPE_CHECKING:
    import pyarrow as pa

ABILITIES: frozenset[Ability] = frozenset({"static_schema", "shared_snapshot"})
_FIRST_ROWS = 256  # one list to learn the size of a row from
_MOST_ROWS = 100_000

_open_snapshots: dict[str, SqliteSnapshot] = {}
_guard = threading.Lock()


def open_source(connection: Connection) -> SqliteSource:
    return SqliteSource(database_path(connection), source_identity(connection))


class SqliteSource:
    """A Source over one file."""

    def __init__(self, path: str, identity: str) -> None:
        self._path, self._identity = path, identity

    @property
    def abilities(self) -> frozenset[Ability]:
        return ABILITIES

    @property
    def identity(self) -> str:
        return self._identity

    def check(self) -> None:
        snapshot = SqliteSnapshot(self._path)
        try:
            snapshot.query("SELECT count(*) FROM sqlite_master")
        finally:
            snapshot.close()

    def streams(self, like: Sequence[str] | None = None) -> Iterable[StreamSpec]:
        snapshot = SqliteSnapshot(self._path)
        try:
            return stream_specs(snapshot, like)
        finally:
            snapshot.close()

    def probe(self, requests: Sequence[ReadRequest]) -> Sequence[Bounds]:
        snapshot = SqliteSnapshot(self._path)
        try:
            return [_read_of(snapshot, request).extent.bounds for request in requests]
        finally:
            snapshot.close()

    def open(self, requests: Sequence[ReadRequest]) -> ReadSession:
        return SqliteSession(self._path, requests)

    def reader(self) -> Reader:
        return SqliteReader(self._path)


@dataclass(frozen=True, slots=True)
class _Read:
    request: ReadRequest
    extent: Extent
    relation: Relation
    order: Order | None
    split: Split


def _read_of(snapshot: SqliteSnapshot, request: ReadRequest) -> _Read:
    shape = stream_shape(snapshot, request)
    order = order_of(snapshot, request, shape)
    extent = extent_of(snapshot, request, shape.relation, order)
    arguments = Arguments(snapshot.number)
    conditions: list[str] = []
    columns = SQLITE.columns(shape.schema.names)
    if order is not None and extent.wanted is not None:
        conditions = conditions_of(extent.wanted, order, snapshot.bind, arguments)
        columns += f", {order.value} AS {SQLITE.quote(CURSOR_COLUMN)}"
    tail = f" LIMIT {int(request.limit)}" if request.limit is not None else ""
    work: dict[str, Json] = {
        "sql": shape.relation.select(columns, conditions, tail),
        "params": cast("list[Json]", arguments.values),
        "cursor": order.type if order else None,
        "batch_rows": request.batch_rows,
        "batch_bytes": request.batch_bytes,
    }
    split = Split(SplitId(f"{request.stream}:1"), request.stream, shape.schema, work, extent.bounds.rows)
    return _Read(request, extent, shape.relation, order, split)


class SqliteSession:
    """Holds the read transaction.

    Where this process also writes to the file and the file is not in WAL mode, a reader would keep the writer from
    committing: the rows are copied into a temporary file first, and the transaction ends.
    """

    def __init__(self, path: str, requests: Sequence[ReadRequest]) -> None:
        self._token = uuid.uuid4().hex
        self._snapshot = SqliteSnapshot(path)
        try:
            reads = [_read_of(self._snapshot, request) for request in requests]
            splits = [self._with_work(read.split, {"session": self._token}) for read in reads]
            if is_destination(path) and not self._snapshot.is_wal():
                splits = [self._spooled(split) for split in splits]
                self._snapshot.end()
        except BaseException:
            self._snapshot.close()
            raise
        self._bounds = {read.request.stream: read.extent.bounds for read in reads}
        self._splits = tuple(splits)
        with _guard:
            _open_snapshots[self._token] = self._snapshot

    @staticmethod
    def _with_work(split: Split, more: Mapping[str, Json]) -> Split:
        return replace(split, work={**split.work, **more})

    def _spooled(self, split: Split) -> Split:
        width = len(split.schema.fields) + (split.work["cursor"] is not None)
        params = cast("list[Any]", split.work["params"])
        sql = self._snapshot.spool(str(split.work["sql"]), params, width)
        return self._with_work(split, {"sql": sql, "params": []})

    @property
    def bounds(self) -> Mapping[StreamName, Bounds]:
        return self._bounds

    @property
    def splits(self) -> Sequence[Split]:
        return self._splits

    def acknowledge(self, upto: Mapping[StreamName, Cursor]) -> None:
        """A file keeps nothing back for its readers."""

    def __enter__(self) -> ReadSession:
        return self

    def __exit__(self, *exc: object) -> None:
        with _guard:
            _open_snapshots.pop(self._token, None)
        self._snapshot.close()


class SqliteReader:
    """Reads in the session's transaction; in another process in one of its own, within the same bounds."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self, split: Split) -> Iterator[Batch]:
        with _guard:
            shared = _open_snapshots.get(str(split.work.get("session")))
        snapshot = shared or SqliteSnapshot(self._path)
        try:
            yield from _batches(snapshot, split)
        finally:
            if shared is None:
                snapshot.close()

    def relay(self, split: Split) -> Chunks:
        raise ExtractionError("a SQLite file has no undecoded form", where=split.stream, fault="internal")


def _batches(snapshot: SqliteSnapshot, split: Split) -> Iterator[Batch]:
    work = split.work
    most = min(_MOST_ROWS, int(cast("int", work["batch_rows"])))
    most_bytes = int(cast("int", work["batch_bytes"]))
    rows = snapshot.stream(str(work["sql"]), cast("list[Any]", work["params"]), min(_FIRST_ROWS, most))
    chunk = next(rows, None)
    while chunk:
        batch = batch_of(chunk, split)
        row_bytes = max(1, batch.rows.nbytes // len(chunk))
        yield batch
        try:
            chunk = rows.send(max(1, min(most, most_bytes // row_bytes)))
        except StopIteration:
            return


def batch_of(rows: list[tuple[Any, ...]], split: Split) -> Batch:
    """Cells as SQLite stores them, by row."""
    import pyarrow as pa

    columns = list(zip(*rows, strict=True))
    fields = split.schema.fields
    arrays = [to_column(c, f, stream=split.stream) for c, f in zip(columns, fields, strict=False)]
    batch = pa.RecordBatch.from_arrays(arrays, schema=to_arrow_schema(split.schema))
    kind = split.work["cursor"]
    cursors = _cursor_column(columns[len(fields)], str(kind), split) if kind is not None else None
    return Batch(split.stream, batch, cursors)


def _cursor_column(values: Sequence[Any], kind: str, split: Split) -> pa.Array:
    import pyarrow as pa

    try:
        if kind == "int":
            return pa.array(values, pa.int64())
        if kind == "decimal":
            exact = [None if v is None else Decimal(v if isinstance(v, str) else repr(v)) for v in values]
            return pa.array(exact)
        return pa.array(values, pa.string())
    except (pa.ArrowException, ArithmeticError, TypeError) as error:
        raise ExtractionError(
            "the cursor's cells are not all of one kind: their order would not be the order of the rows",
            where=split.stream,
            fix="choose another iterate_column, or an expression that makes them one kind",
        ) from error
