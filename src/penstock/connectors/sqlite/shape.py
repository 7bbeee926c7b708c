"""What a stream looks like: its columns by declaration, or by its cells where nothing is declared; and its order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from penstock.connectors.sql.selects import Order, Relation
from penstock.connectors.sqlite.dialect import SQLITE, key_of, table_columns
from penstock.connectors.sqlite.snapshot import SqliteSnapshot
from penstock.connectors.sqlite.types import house_type
from penstock.errors import ConfigError, ExtractionError
from penstock.records import dataclass
from penstock.schema.types import decimal_of, is_type
from penstock.values import CursorType, Field, ReadRequest, StreamName, StreamSpec, TableSchema

_SAMPLE = 10_000
_VIEW = '"_penstock_shape"'


@dataclass(frozen=True, slots=True)
class StreamShape:
    relation: Relation
    schema: TableSchema


def stream_specs(snapshot: SqliteSnapshot, like: Sequence[str] | None) -> list[StreamSpec]:
    """Tables and views; ours and SQLite's own are not listed."""
    sql = "SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
    wanted = None if like is None else {name.lower() for name in like}
    specs = []
    for kind, name in snapshot.query(sql):
        hidden = str(name).startswith(("sqlite_", "_penstock_"))
        if str(name).lower() in wanted if wanted is not None else not hidden:
            schema = _table_schema(snapshot, name)
            specs.append(StreamSpec(StreamName(name), schema, ordinary_table=kind == "table"))
    return specs


def stream_shape(snapshot: SqliteSnapshot, request: ReadRequest) -> StreamShape:
    """Raises ExtractionError for a table that is not there, ConfigError for an override of an unknown column."""
    if request.query is not None:
        relation = Relation.of_query(request.query, SQLITE.quote("penstock_query"))
        return StreamShape(relation, _overridden(_query_schema(snapshot, relation), request))
    if not table_columns(snapshot, request.stream):
        raise ExtractionError(f"there is no table {request.stream!r}", where=request.stream)
    relation = Relation.of_table(SQLITE.quote(request.stream))
    return StreamShape(relation, _overridden(_table_schema(snapshot, request.stream), request))


def _table_schema(snapshot: SqliteSnapshot, table: str) -> TableSchema:
    columns = table_columns(snapshot, table)
    declared = [(str(c[1]), str(c[2] or ""), bool(c[3])) for c in columns]
    fields = _fields(snapshot, Relation.of_table(SQLITE.quote(table)), declared)
    return TableSchema(fields, key=key_of(columns), system="sqlite")


def _query_schema(snapshot: SqliteSnapshot, relation: Relation) -> TableSchema:
    """A temporary view tells the declared types of columns that a query hands through."""
    snapshot.query(f"CREATE TEMP VIEW {_VIEW} AS {relation.select('*', [])}")
    try:
        columns = snapshot.query("SELECT name, type FROM pragma_table_xinfo('_penstock_shape')")
    finally:
        snapshot.query(f"DROP VIEW {_VIEW}")
    return TableSchema(
        _fields(snapshot, relation, [(str(n), str(t or ""), False) for n, t in columns]), system="sqlite"
    )


def _fields(
    snapshot: SqliteSnapshot, relation: Relation, declared: Sequence[tuple[str, str, bool]]
) -> tuple[Field, ...]:
    fields = []
    for name, native, required in declared:
        kind = house_type(native) or _sampled_type(snapshot, relation, name)
        fields.append(Field(name, kind, nullable=not required, native=native or None))
    return tuple(fields)


def _sampled_type(snapshot: SqliteSnapshot, relation: Relation, column: str) -> str:
    """By the first rows; a later cell that disagrees is an error that says how to declare the column."""
    quoted = SQLITE.quote(column)
    sample = relation.select(quoted, [], f" LIMIT {_SAMPLE}")
    found = {str(row[0]) for row in snapshot.query(f"SELECT DISTINCT typeof({quoted}) FROM ({sample})")} - {"null"}
    if found == {"integer"}:
        return "int64"
    if found and found <= {"integer", "real"}:
        return "float64"
    return "binary" if found == {"blob"} else "string"


def _overridden(schema: TableSchema, request: ReadRequest) -> TableSchema:
    unknown = [name for name in request.types if name not in schema.names]
    if unknown:
        raise ConfigError(
            f"columns: names {unknown[0]!r}, which {request.stream!r} does not have",
            where=request.stream,
            fix=f"columns: {', '.join(schema.names)}",
        )
    wrong = [kind for kind in request.types.values() if not is_type(kind)]
    if wrong:
        raise ConfigError(f"not a column type: {wrong[0]!r}", where=request.stream)
    fields = tuple(replace(f, type=request.types.get(f.name, f.type)) for f in schema.fields)
    return replace(schema, fields=fields)


def order_of(snapshot: SqliteSnapshot, request: ReadRequest, shape: StreamShape) -> Order | None:
    """What the request is read by, with how its cells are stored. Raises ConfigError for an unknown column."""
    spec = request.cursor
    if spec is None:
        return None
    missing = [name for name in spec.columns if name.lower() not in {n.lower() for n in shape.schema.names}]
    if missing:
        raise ConfigError(
            f"no column {missing[0]!r} to read by",
            where=request.stream,
            fix=f"columns: {', '.join(shape.schema.names)}",
        )
    parts = [f"({spec.expression})"] if spec.expression else [SQLITE.quote(name) for name in spec.columns]
    highest = f"max({SQLITE.greatest(parts)})"
    storage, example = snapshot.query(shape.relation.select(f"typeof({highest}), {highest}", []))[0]
    kinds = {f.type for f in shape.schema.fields if f.name.lower() in {c.lower() for c in spec.columns}}
    exact = storage == "text" and bool(kinds) and all(k == "numeric" or decimal_of(k) for k in kinds)
    if storage == "text":
        collation = " COLLATE penstock_decimal" if exact else " COLLATE BINARY"
        parts = [part + collation for part in parts]
    types: dict[str, CursorType] = {"integer": "int", "real": "decimal", "text": "decimal" if exact else "string"}
    kind = types.get(storage, spec.type or "string")
    value = SQLITE.greatest(parts)
    return Order(tuple(parts), value, kind, spec.label, storage, example if isinstance(example, str) else None)
