"""How PostgreSQL spells things, and what its catalogue says of the tables that are written to."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, ClassVar

from penstock.connectors.postgres.attachments import hangs_on
from penstock.connectors.postgres.encode import WireType
from penstock.connectors.postgres.names import quote, quote_table
from penstock.connectors.postgres.types import SYSTEM, Column, to_field
from penstock.connectors.sql.dialect import Dialect
from penstock.connectors.sql.link import SqlLink, Value
from penstock.errors import LoadError
from penstock.schema.types import FLOATS, SIGNED, TEXTUAL, UNSIGNED, decimal_of, list_item, struct_fields
from penstock.values import Cursor, Field, TableName, TableSchema

_NATIVE = {
    "bool": "boolean",
    "int8": "smallint",
    "int16": "smallint",
    "int32": "integer",
    "int64": "bigint",
    "uint8": "smallint",
    "uint16": "integer",
    "uint32": "bigint",
    "uint64": "numeric(20,0)",
    "float32": "real",
    "float64": "double precision",
    "numeric": "numeric",
    "string": "text",
    "enum": "text",
    "null": "text",
    "binary": "bytea",
    "date": "date",
    "time": "time without time zone",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "interval": "interval",
    "uuid": "uuid",
    "json": "jsonb",
}

# A domain is unwrapped once a type, not once a column: a recursion for each column is estimated so dear that the server
# compiles the query, which takes longer than running it.
_DESCRIBE = r"""
WITH RECURSIVE columns AS (
    SELECT w.number, a.attrelid, a.attnum, a.attname, a.attnotnull, a.attgenerated, a.atttypid, a.atttypmod
    FROM unnest($1::text[]) WITH ORDINALITY AS w (name, number)
    JOIN pg_attribute a ON a.attrelid = to_regclass(w.name) AND a.attnum > 0 AND NOT a.attisdropped
), unwrapped AS (
    SELECT y.oid AS declared, y.oid, y.typname, y.typtype, y.typbasetype, y.typtypmod, y.typelem, y.typcategory,
           -1 AS typmod
    FROM pg_type y WHERE y.oid IN (SELECT atttypid FROM columns)
    UNION ALL
    SELECT u.declared, p.oid, p.typname, p.typtype, p.typbasetype, p.typtypmod, p.typelem, p.typcategory, u.typtypmod
    FROM unwrapped u JOIN pg_type p ON p.oid = u.typbasetype WHERE u.typtype = 'd')
SELECT a.number, a.attname, a.attnotnull, col_description(a.attrelid, a.attnum),
       format_type(a.atttypid, a.atttypmod), a.attgenerated::text,
       b.oid::int8, b.typname::text, b.typtype::text,
       format_type(b.oid, CASE WHEN b.oid <> a.atttypid THEN b.typmod ELSE a.atttypmod END),
       e.oid::int8, e.typname::text, e.typtype::text,
       (SELECT json_agg(k.attname ORDER BY i.place)::text FROM pg_index x,
               unnest(x.indkey) WITH ORDINALITY AS i (attnum, place), pg_attribute k
        WHERE x.indrelid = a.attrelid AND x.indisprimary AND a.attnum = 1
          AND k.attrelid = a.attrelid AND k.attnum = i.attnum),
       pg_get_expr(d.adbin, d.adrelid)
FROM columns a
JOIN unwrapped b ON b.declared = a.atttypid AND b.typtype <> 'd'
LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typcategory = 'A'
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
ORDER BY a.number, a.attnum
"""
_UNIQUE = """
SELECT array_agg(a.attname::text)
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
  AND i.indexprs IS NULL AND i.indnatts = i.indnkeyatts
GROUP BY i.indexrelid
"""


@dataclasses.dataclass(frozen=True, slots=True)  # made by the thousand
class TargetColumn:
    """A column of a table that is written to."""

    field: Field
    native: str
    wire: WireType
    generated: bool
    default: str | None


class PostgresDialect(Dialect):
    """Stages are unlogged tables that other sessions write to."""

    system: ClassVar[str] = SYSTEM
    for_update: ClassVar[str] = " FOR UPDATE"
    position: ClassVar[str] = '"_penstock_position"'
    position_column: ClassVar[str | None] = '"_penstock_position" bigint GENERATED ALWAYS AS IDENTITY'
    temporary_stage: ClassVar[bool] = False
    temporary_schema: ClassVar[str | None] = "pg_temp"
    stage_prefix: ClassVar[str] = "CREATE UNLOGGED TABLE"

    def quote(self, name: str) -> str:
        return quote(name)

    def mark(self, number: int) -> str:
        return f"${number}"

    def stamp_mark(self, number: int) -> str:
        return f"${number}::timestamptz"

    def bound_value(self, cursor: Cursor, field: Field) -> Value:
        """The driver wants the column's own Python type."""
        value = super().bound_value(cursor, field)
        if field.type in ("timestamp", "timestamptz"):
            return _moment(value, aware=field.type == "timestamptz")
        if field.type == "date" and isinstance(value, datetime):
            return value.date()
        if field.type in (*SIGNED, *UNSIGNED[:3]) and isinstance(value, Decimal):
            return int(value)
        if field.type in FLOATS and isinstance(value, Decimal | int):
            return float(value)
        return value

    # -- types -------------------------------------------------------------------------------------------------------

    def native_type(self, field: Field) -> str:
        return native_type(field)

    def house_type(self, native: str) -> str:
        return house_type(native)

    def column_type(self, field: Field, system: str | None) -> str:
        """The native spelling is kept within PostgreSQL, also of types that travel as text."""
        if not field.native or system != SYSTEM:
            return native_type(field)
        house = house_type(field.native)
        enums = field.type == "list<string>" and field.native.endswith("[]")
        same = house == field.type or (house == "string" and (enums or field.type in TEXTUAL))
        return field.native if same else native_type(field)

    # -- catalogue ---------------------------------------------------------------------------------------------------

    def describe(self, link: SqlLink, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema | None]:
        columns: dict[TableName, list[tuple[Any, ...]]] = {}
        for row in _catalogue_rows(link, tables):
            columns.setdefault(tables[row[0] - 1], []).append(row)
        bare = [table for table in tables if table not in columns]  # absent, or without any column
        columns |= {table: [] for table in (self.existing(link, bare) if bare else ())}
        return {table: _to_schema(columns[table]) if table in columns else None for table in tables}

    def existing(self, link: SqlLink, tables: Sequence[TableName]) -> frozenset[TableName]:
        names = [quote_table(table) for table in tables]
        wanted = "unnest($1::text[]) WITH ORDINALITY AS w (name, number)"
        sql = f"SELECT number FROM {wanted} WHERE to_regclass(name) IS NOT NULL"
        return frozenset(tables[row[0] - 1] for row in link.query(sql, _array(names)))

    def unique_keys(self, link: SqlLink, table: TableName) -> Sequence[frozenset[str]]:
        return [frozenset(row[0]) for row in link.query(_UNIQUE, (quote_table(table),))]

    def attachments(self, link: SqlLink, table: TableName) -> Sequence[str]:
        return hangs_on(link, [table])[table]

    def create_schema(self, link: SqlLink, schema: str | None) -> None:
        """Two at once would meet in the catalogue, so the second waits for the first one's transaction.

        CREATE .. IF NOT EXISTS wants the right to create even where nothing is to be created.
        """
        there = "SELECT 1 FROM pg_namespace WHERE nspname = $1"
        if not schema or link.query(there, (schema,)):
            return
        link.query("SELECT pg_advisory_xact_lock(hashtextextended('penstock schema ' || $1, 0))", (schema,))
        if not link.query(there, (schema,)):
            link.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}")


class TemporaryStages(PostgresDialect):
    """For loads with one writer: the stage lives in the load's own session and needs neither log nor sweeping."""

    temporary_stage: ClassVar[bool] = True


def target_columns(link: SqlLink, table: TableName) -> dict[str, TargetColumn]:
    """The columns of one table by name; none where the table does not exist."""
    return {row[1]: _target_column(row) for row in _catalogue_rows(link, [table])}


def _catalogue_rows(link: SqlLink, tables: Sequence[TableName]) -> list[tuple[Any, ...]]:
    return link.query(_DESCRIBE, _array([quote_table(table) for table in tables]))


def _to_schema(rows: Sequence[tuple[Any, ...]]) -> TableSchema:
    keys = [json.loads(row[13]) for row in rows if row[13]]
    return TableSchema(tuple(_target_column(row).field for row in rows), tuple(keys[0]) if keys else (), SYSTEM)


def _target_column(row: Sequence[Any]) -> TargetColumn:
    _, name, not_null, comment, native, generated = row[:6]
    oid, base, kind, base_native, item_oid, item, item_kind = row[6:13]
    column = Column(name, native, base, kind, base_native, item, item_kind, not_null, comment)
    room = _room(base_native)
    element = WireType(item, item_oid, is_enum=item_kind == "e", room=room) if item_oid else None
    fields = _fields(base_native) if base == "interval" else None
    wire = WireType(base, oid, is_enum=kind == "e", element=element, room=room, fields=fields)
    return TargetColumn(to_field(column), native, wire, bool(generated), row[14])


def _room(native: str) -> int | None:
    """The number in `varchar(20)` and `timestamp(3) without time zone`."""
    found = re.search(r"\((\d+)\)", native)
    return int(found[1]) if found else None


def _fields(native: str) -> str | None:
    """`year to month` of `interval year to month`."""
    return native.removeprefix("interval").partition("(")[0].strip() or None


def native_type(field: Field) -> str:
    """The column type that holds a house type without loss."""
    decimal = decimal_of(field.type)
    if decimal is not None:
        return f"numeric({decimal[0]},{decimal[1]})" if decimal[1] >= 0 else f"numeric({decimal[0] - decimal[1]},0)"
    item = list_item(field.type)
    if item is not None:
        nested = list_item(item) is not None or struct_fields(item) is not None
        return "jsonb" if nested else f"{native_type(Field(field.name, item))}[]"
    if struct_fields(field.type) is not None:
        return "jsonb"
    if field.type not in _NATIVE:
        raise LoadError(f"column {field.name!r}: PostgreSQL has no type for {field.type!r}", fault="config")
    return _NATIVE[field.type]


def own_wire(field: Field) -> WireType:
    """Of the column type that `native_type` names."""
    base = native_type(field).partition("(")[0]
    return WireType(_TYPNAMES.get(base, base), 0)


_TYPNAMES = {
    "boolean": "bool",
    "smallint": "int2",
    "integer": "int4",
    "bigint": "int8",
    "real": "float4",
    "double precision": "float8",
    "character varying": "varchar",
    "character": "bpchar",
    "time without time zone": "time",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
}


def house_type(native: str) -> str:
    """The house type of a type as format_type() spells it; what has none of its own travels as string."""
    plain, _, rest = native.partition("(")
    base = plain.strip() + rest.partition(")")[2].replace("[]", "") if rest else plain.replace("[]", "").strip()
    typname = _TYPNAMES.get(base, base)
    is_list = native.endswith("[]")
    scalar = native.removesuffix("[]")
    if is_list:
        return to_field(Column("", native, f"_{typname}", base_native=native, item=typname, item_kind="b")).type
    return to_field(Column("", native, typname, base_native=scalar)).type


def _moment(value: Value, *, aware: bool) -> Value:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the zone is set below
    if not isinstance(value, datetime):
        return value
    if aware:
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value


def _array(names: Iterable[str]) -> tuple[Any]:
    """One parameter that is a list: the shared Value type has none."""
    return (list(names),)


__all__ = [
    "PostgresDialect",
    "TargetColumn",
    "TemporaryStages",
    "house_type",
    "native_type",
    "own_wire",
    "target_columns",
]
