"""One read transaction on a DuckDB file, and what a stream looks like in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.connectors.duckdb.dialect import DUCKDB, table_schema
from penstock.connectors.duckdb.handles import open_session
from penstock.connectors.duckdb.types import house_type, travels_as
from penstock.connectors.sql.extents import stepped_back
from penstock.connectors.sql.link import Value
from penstock.connectors.sql.selects import Arguments, Order, Relation
from penstock.errors import ConfigError, ExtractionError
from penstock.records import dataclass
from penstock.schema.types import is_type
from penstock.values import Cursor, CursorType, Field, ReadRequest, TableName, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

_INTS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_TOO_LONG = "interval of more than 292 years of time"
_HOURS = (1 << 63) // 3_600_000_000_000 - 1  # in 64 bits of nanoseconds


class DuckdbSnapshot:
    """A cursor of its own with an open transaction. Raises ExtractionError, FencedError for a locked file."""

    def __init__(self, path: str) -> None:
        if not Path(path).is_file():
            raise ExtractionError("there is no such DuckDB file", where=path, fix="correct the connection's database")
        self._path = path
        self._session = open_session(path, makes_file=False)
        self._begin()

    def _begin(self) -> None:
        self._call(lambda: self._session.cursor.execute("BEGIN TRANSACTION"))
        self.query("SELECT count(*) FROM duckdb_tables()")  # a transaction takes its snapshot when it first looks

    def begin_again(self) -> None:
        self._call(lambda: self._session.cursor.execute("ROLLBACK"))
        self._begin()

    @property
    def still(self) -> AbstractContextManager[object]:
        return self._session.still

    def query(self, sql: str, params: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """Through Arrow: the driver's own rows need pytz for a time with a zone."""
        table = self._call(lambda: self._session.cursor.sql(sql, params=list(params)).to_arrow_table())
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def read(self, sql: str, params: Sequence[Value], batch_rows: int) -> pa.RecordBatchReader:
        return self._call(lambda: self._session.cursor.sql(sql, params=list(params)).to_arrow_reader(batch_rows))

    def next_batch(self, reader: pa.RecordBatchReader) -> pa.RecordBatch | None:
        try:
            return self._call(reader.read_next_batch)
        except StopIteration:
            return None

    def close(self) -> None:
        self._session.close()

    # -- cursors -----------------------------------------------------------------------------------------------------

    def number(self, number: int) -> str:
        return f"${number}"

    def bind(self, cursor: Cursor, order: Order, arguments: Arguments) -> str:
        value = cursor.value
        fits = {
            "int": isinstance(value, int | Decimal),
            "decimal": isinstance(value, int | Decimal),
            "date": isinstance(value, date | str),
            "datetime": isinstance(value, date | str),
            "string": True,
        }[order.type]
        if not fits:
            raise ConfigError(
                f"a cursor of type {cursor.type} cannot be compared with {order.label}, which is {order.storage}",
                fix="give the bound in the column's type, or load anew with --full-refresh",
            )
        bound = format(value, "f") if isinstance(value, Decimal) else value
        return f"CAST({arguments.add(bound)} AS {order.storage})"

    def cursor_of(self, value: Any, order: Order) -> Cursor | None:
        if value is None:
            return None
        if isinstance(value, float):
            value = Decimal(repr(value))
        if isinstance(value, Decimal) and not value.is_finite():
            raise ExtractionError(
                f"the highest value of the cursor {order.label} is infinite or NaN",
                fix="correct these rows at the source, or read by an expression that leaves them out",
            )
        if isinstance(value, datetime) and value.tzinfo is not None:
            value = value.astimezone(UTC)
        if order.type == "int":
            value = int(value)
        return Cursor(order.type, value)

    def step_back(self, cursor: Cursor, amount: float) -> Cursor:
        return stepped_back(cursor, amount)

    def _call(self, action: Callable[[], T]) -> T:
        import duckdb
        import pyarrow as pa

        try:
            return action()
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            # without the frames that hold the result: see _batches
            raise self._explain(error) from error.with_traceback(None)

    def _explain(self, error: Exception) -> ExtractionError:
        """A conversion error quotes the value that failed: only its kind is told."""
        import duckdb

        kind = type(error).__name__
        quotes = isinstance(error, duckdb.ConversionException | duckdb.DataError) or not isinstance(error, duckdb.Error)
        if _TOO_LONG in str(error):  # our own words, in whatever wrapping they come
            quotes, error = False, ValueError(f"an {_TOO_LONG}")
        told = "" if quotes else f": {str(error).splitlines()[0]}"
        if quotes:
            error.args = ()  # so that chaining it is safe
        passing = isinstance(error, duckdb.IOException)
        text = f"DuckDB {kind}{told}"
        fix = "read the column as text, as in columns: {NAME: string}" if quotes or _TOO_LONG in told else None
        return ExtractionError(text, where=self._path, fix=fix, fault="transient" if passing else "data")


@dataclass(frozen=True, slots=True)
class StreamShape:
    """`columns` are the SELECT items that travel as the house's Arrow types."""

    relation: Relation
    schema: TableSchema
    columns: tuple[str, ...]


def stream_table(snapshot: DuckdbSnapshot, stream: str, schema: str | None) -> TableName | None:
    """The table of that name, or `schema.name` where none is called so."""
    candidates = [TableName(schema or "main", stream)]
    before, dot, after = stream.partition(".")
    if dot:
        candidates.append(TableName(before, after))
    return next((t for t in candidates if table_schema(snapshot, t) is not None), None)


def stream_shape(snapshot: DuckdbSnapshot, request: ReadRequest, schema: str | None) -> StreamShape:
    """Raises ExtractionError for a table that is not there, ConfigError for an override of an unknown column."""
    if request.query is not None:
        relation = Relation.of_query(request.query, DUCKDB.quote("penstock_query"))
        described = snapshot.query(f"DESCRIBE {relation.select('*', [])}")
        found = TableSchema(tuple(Field(str(r[0]), house_type(str(r[1])), native=str(r[1])) for r in described))
    else:
        table = stream_table(snapshot, request.stream, schema)
        there = table_schema(snapshot, table) if table else None
        if table is None or there is None:
            raise ExtractionError(f"there is no table {request.stream!r}", where=request.stream)
        relation, found = Relation.of_table(DUCKDB.table(table)), there
    columns = _overridden(replace(found, system="duckdb"), request)
    return StreamShape(relation, columns, tuple(_select_item(f) for f in columns.fields))


def _overridden(schema: TableSchema, request: ReadRequest) -> TableSchema:
    for name, kind in request.types.items():
        if name not in schema.names:
            raise ConfigError(
                f"columns: names {name!r}, which {request.stream!r} does not have",
                where=request.stream,
                fix=f"columns: {', '.join(schema.names)}",
            )
        if not is_type(kind):
            raise ConfigError(f"not a column type: {kind!r}", where=request.stream)
    fields = tuple(replace(f, type=request.types.get(f.name, f.type)) for f in schema.fields)
    return replace(schema, fields=fields)


def _select_item(field: Field) -> str:
    quoted, native = DUCKDB.quote(field.name), field.native or ""
    if field.type == "json" and native != "JSON":
        return f"CAST(to_json({quoted}) AS VARCHAR) AS {quoted}"
    if field.type == "interval":
        # Arrow counts an interval's time in nanoseconds; DuckDB's own conversion overflows without a word.
        text = f"'column {quoted.replace(chr(39), chr(39) * 2)} holds an {_TOO_LONG}'"
        return f"CASE WHEN abs(hour({quoted})) > {_HOURS} THEN error({text}) ELSE {quoted} END AS {quoted}"
    wanted = travels_as(field.type)
    # Nanoseconds are cut by a cast; as they are, Arrow refuses to lose them.
    if wanted == native or (native, wanted) == ("TIMESTAMP_NS", "TIMESTAMP"):
        return quoted
    return f"CAST({quoted} AS {wanted}) AS {quoted}"


def order_of(snapshot: DuckdbSnapshot, request: ReadRequest, shape: StreamShape) -> Order | None:
    """What the request is read by. Raises ConfigError for an unknown column and for a type without an order."""
    spec = request.cursor
    if spec is None:
        return None
    missing = [name for name in spec.columns if name.lower() not in {n.lower() for n in shape.schema.names}]
    if missing:
        columns = ", ".join(shape.schema.names)
        raise ConfigError(f"no column {missing[0]!r} to read by", where=request.stream, fix=f"columns: {columns}")
    parts = [f"({spec.expression})"] if spec.expression else [DUCKDB.quote(name) for name in spec.columns]
    native = str(snapshot.query(shape.relation.select(f"typeof(max({DUCKDB.greatest(parts)}))", []))[0][0])
    kind, storage = _cursor_type(native)
    if storage != native:
        parts = [f"CAST({part} AS {storage})" for part in parts]
    return Order(tuple(parts), DUCKDB.greatest(parts), kind, spec.label, storage)


def _cursor_type(native: str) -> tuple[CursorType, str]:
    """The cursor's type, and the DuckDB type it is compared in."""
    if native in _INTS:
        return "int", native
    if native.startswith("DECIMAL(") or native in ("FLOAT", "DOUBLE"):
        return "decimal", native
    if native == "DATE":
        return "date", native
    if native.startswith("TIMESTAMP"):
        return "datetime", "TIMESTAMP WITH TIME ZONE" if "WITH TIME ZONE" in native else "TIMESTAMP"
    return "string", "VARCHAR"
