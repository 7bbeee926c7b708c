"""Reading a DuckDB file: one read transaction per stream, Arrow out, one split per stream."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from penstock.connectors.duckdb.dialect import DUCKDB, table_schema
from penstock.connectors.duckdb.files import database_path, identity_of
from penstock.connectors.duckdb.snapshot import DuckdbSnapshot, order_of, stream_shape, stream_table
from penstock.connectors.sql.extents import extent_of
from penstock.connectors.sql.selects import CURSOR_COLUMN, Arguments, conditions_of
from penstock.errors import ExtractionError
from penstock.failpoints import failpoint
from penstock.protocols import Chunks, Reader, ReadSession
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
_MOST_ROWS = 16_384  # what DuckDB puts together before we can see how wide rows are

_open_snapshots: dict[str, DuckdbSnapshot] = {}
_guard = threading.Lock()


def open_source(connection: Connection) -> DuckdbSource:
    return DuckdbSource(database_path(connection), connection.schema, identity_of(connection))


class DuckdbSource:
    """A Source over one file."""

    def __init__(self, path: str, schema: str | None, identity: str) -> None:
        self._path, self._schema, self._identity = path, schema, identity

    @property
    def abilities(self) -> frozenset[Ability]:
        return ABILITIES

    @property
    def identity(self) -> str:
        return self._identity

    def check(self) -> None:
        DuckdbSnapshot(self._path).close()

    def streams(self, like: Sequence[str] | None = None) -> Iterable[StreamSpec]:
        snapshot = DuckdbSnapshot(self._path)
        try:
            return [spec for spec in self._specs(snapshot, like) if spec.schema is not None]
        finally:
            snapshot.close()

    def _specs(self, snapshot: DuckdbSnapshot, like: Sequence[str] | None) -> Iterator[StreamSpec]:
        if like is None:
            sql = (
                "SELECT DISTINCT table_name FROM duckdb_columns() WHERE database_name = current_database()"
                " AND schema_name = $1 AND NOT starts_with(table_name, '_penstock_') ORDER BY 1"
            )
            like = [str(row[0]) for row in snapshot.query(sql, [self._schema or "main"])]
        for name in like:
            table = stream_table(snapshot, name, self._schema)
            if table is not None:
                place = [table.schema, table.name]
                ordinary = snapshot.query(
                    "SELECT 1 FROM duckdb_tables() WHERE schema_name = $1 AND table_name = $2", place
                )
                yield StreamSpec(StreamName(name), table_schema(snapshot, table), ordinary_table=bool(ordinary))

    def probe(self, requests: Sequence[ReadRequest]) -> Sequence[Bounds]:
        found = []
        for request in requests:
            snapshot = DuckdbSnapshot(self._path)
            try:
                found.append(_read_of(snapshot, request, self._schema)[0])
            finally:
                snapshot.close()
        return found

    def open(self, requests: Sequence[ReadRequest]) -> ReadSession:
        return DuckdbSession(self._path, self._schema, requests)

    def reader(self) -> Reader:
        return DuckdbReader(self._path)


def _read_of(snapshot: DuckdbSnapshot, request: ReadRequest, schema: str | None) -> tuple[Bounds, Split]:
    shape = stream_shape(snapshot, request, schema)
    order = order_of(snapshot, request, shape)
    extent = extent_of(snapshot, request, shape.relation, order)
    arguments = Arguments(snapshot.number)
    conditions: list[str] = []
    columns = ", ".join(shape.columns)
    if order is not None and extent.wanted is not None:
        conditions = conditions_of(extent.wanted, order, snapshot.bind, arguments)
        columns += f", {order.value} AS {DUCKDB.quote(CURSOR_COLUMN)}"
    tail = f" LIMIT {int(request.limit)}" if request.limit is not None else ""
    params: list[Json] = [_param_json(value) for value in arguments.values]
    work: dict[str, Json] = {
        "sql": shape.relation.select(columns, conditions, tail),
        "params": params,
        "cursor": order.type if order else None,
        "batch_rows": request.batch_rows,
        "batch_bytes": request.batch_bytes,
    }
    split = Split(SplitId(f"{request.stream}:1"), request.stream, shape.schema, work, extent.bounds.rows)
    return extent.bounds, split


def _param_json(value: Any) -> Json:
    """Every parameter stands inside a CAST, so a text does for a time."""
    return value if isinstance(value, int | str) else str(value)


class DuckdbSession:
    """Holds one transaction per stream."""

    def __init__(self, path: str, schema: str | None, requests: Sequence[ReadRequest]) -> None:
        self._snapshots: dict[str, DuckdbSnapshot] = {}
        self._bounds: dict[StreamName, Bounds] = {}
        splits: list[Split] = []
        try:
            tokens = [uuid.uuid4().hex for _ in requests]
            self._begin(path, tokens)
            for request, token in zip(requests, tokens, strict=True):
                bounds, split = _read_of(self._snapshots[token], request, schema)
                self._bounds[request.stream] = bounds
                splits.append(replace(split, work={**split.work, "session": token}))
        except BaseException:
            self.__exit__()
            raise
        self._splits = tuple(splits)
        with _guard:
            _open_snapshots.update(self._snapshots)
        failpoint("source.opened")

    def _begin(self, path: str, tokens: Sequence[str]) -> None:
        """All transactions see one state: a cursor reads one result at a time, so each stream has its own."""
        if not tokens:
            return
        self._snapshots[tokens[0]] = first = DuckdbSnapshot(path)
        with first.still:
            first.begin_again()
            for token in tokens[1:]:
                self._snapshots[token] = DuckdbSnapshot(path)

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
            for token in self._snapshots:
                _open_snapshots.pop(token, None)
        while self._snapshots:
            self._snapshots.popitem()[1].close()


class DuckdbReader:
    """Reads in the session's transaction; in another process in one of its own, within the same bounds."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self, split: Split) -> Iterator[Batch]:
        with _guard:
            shared = _open_snapshots.get(str(split.work.get("session")))
        snapshot = shared or DuckdbSnapshot(self._path)
        try:
            yield from _batches(snapshot, split)
        finally:
            if shared is None:
                snapshot.close()

    def relay(self, split: Split) -> Chunks:
        raise ExtractionError("a DuckDB file has no undecoded form", where=split.stream, fault="internal")


def _batches(snapshot: DuckdbSnapshot, split: Split) -> Iterator[Batch]:
    work = split.work
    most = min(_MOST_ROWS, int(cast("int", work["batch_rows"])))
    most_bytes = int(cast("int", work["batch_bytes"]))
    # An unclosed result, be it in the traceback of an error, keeps the database alive past its close; DuckDB's next
    # connect to the file would then wait for ever.
    with snapshot.read(str(work["sql"]), cast("list[Any]", work["params"]), most) as reader:
        while (found := snapshot.next_batch(reader)) is not None:
            if not found.num_rows:
                continue
            step = max(1, min(found.num_rows, most_bytes * found.num_rows // max(1, found.nbytes)))
            for start in range(0, found.num_rows, step):
                yield _batch_of(found.slice(start, step), split)


def _batch_of(found: pa.RecordBatch, split: Split) -> Batch:
    import pyarrow as pa

    schema = to_arrow_schema(split.schema)
    width = len(schema)
    columns = [_cast(found.column(i), schema.field(i), split) for i in range(width)]
    rows = pa.RecordBatch.from_arrays(columns, schema=schema)
    return Batch(split.stream, rows, found.column(width) if split.work["cursor"] is not None else None)


def _cast(column: pa.Array, field: pa.Field, split: Split) -> pa.Array:
    import pyarrow as pa

    if column.type == field.type:
        return column
    try:
        return column.cast(field.type)
    except (pa.ArrowException, ValueError) as error:
        raise ExtractionError(
            f"column {field.name!r} has values that {field.type} would change",
            where=split.stream,
            fix=f"read it as text, as in columns: {{{field.name}: string}}",
        ) from error
