"""PostgreSQL types as house types, and how each column is asked for so that no value changes on the way."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import replace

from penstock.connectors.postgres.identifiers import quote
from penstock.errors import ConfigError
from penstock.records import dataclass
from penstock.schema.types import decimal_of, is_type, list_item
from penstock.values import Field

SYSTEM = "postgres"

_PLAIN = {
    "bool": "bool",
    "int2": "int16",
    "int4": "int32",
    "int8": "int64",
    "float4": "float32",
    "float8": "float64",
    "text": "string",
    "varchar": "string",
    "bpchar": "string",
    "name": "string",
    "bytea": "binary",
    "date": "date",
    "time": "time",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
    "interval": "interval",
}
# read as text by the server's own output function, or widened: ADBC hands these out as bytes or wraps them
_CAST = {
    "uuid": ("uuid", "text"),
    "json": ("json", "text"),
    "jsonb": ("json", "text"),
    "oid": ("int64", "int8"),
    "xid": ("int64", "text::int8"),
    "cid": ("int64", "text::int8"),
    "void": ("string", "text"),
}
_LISTS = frozenset(name for name in _PLAIN if name not in ("interval", "name"))
_TEXT_ITEMS = ("uuid", "numeric")  # house types of list items that the driver does not hand out as they are
_FROM_HOUSE = {
    "bool": "bool",
    "int8": "int2",
    "int16": "int2",
    "int32": "int4",
    "int64": "int8",
    "uint8": "int2",
    "uint16": "int4",
    "uint32": "int8",
    "uint64": "numeric(20,0)",
    "float32": "float4",
    "float64": "float8",
    "string": "text",
    "numeric": "numeric",
    "uuid": "uuid",
    "json": "text",
    "enum": "text",
    "binary": "bytea",
    "date": "date",
    "time": "time",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
    "interval": "interval",
    "null": "text",
}
_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)(\[\])?")
ARRAY_MARK = "penstock: array of several dimensions"


@dataclasses.dataclass(frozen=True, slots=True)  # made by the thousand
class Column:
    """One column of a relation or query: the base type is what remains when domains are taken off."""

    name: str
    native: str  # format_type, modifier included
    base: str  # pg_type.typname of the base type
    kind: str = "b"  # pg_type.typtype of the base type: b, c, e, r, m, p
    base_native: str = ""  # format_type of the base type, modifier included
    item: str | None = None  # typname of an array's items
    item_kind: str | None = None
    not_null: bool = False
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Selected:
    """A column as it is read: its field, and the SQL that yields it (without alias)."""

    field: Field
    sql: str


def to_field(column: Column) -> Field:
    """The column in house types. Never fails: what has no type of its own travels as text."""
    return Field(column.name, _house_type(column), not column.not_null, column.native, column.comment)


def select(column: Column, overrides: Mapping[str, str], *, table: str = "t") -> Selected:
    """How to read the column; `overrides` are the project's `columns:` types, cast in the source's SELECT."""
    field = to_field(column)
    source = f"{table}.{quote(column.name)}"
    wished = overrides.get(column.name)
    if wished is None or wished == field.type:
        return Selected(field, _read_sql(column, field.type, source))
    return Selected(
        replace(field, type=wished, native=None), _cast_sql(wished, source, column.name, text=field.type == "string")
    )


def _house_type(column: Column) -> str:
    if column.kind == "e":
        return "enum"
    if column.base == "numeric":
        return decimal_type(column.base_native)
    if column.base in _PLAIN:
        return _PLAIN[column.base]
    if column.base in _CAST:
        return _CAST[column.base][0]
    if column.item in _LISTS and column.item_kind == "b":
        return f"list<{_PLAIN[column.item]}>"
    if column.item == "numeric":
        return f"list<{decimal_type(column.base_native)}>"
    if column.item_kind == "e":
        return "list<string>"
    return "list<uuid>" if column.item == "uuid" else "string"


def decimal_type(native: str) -> str:
    """numeric(p,s) as decimal(p,s) where Arrow has that many digits, else the unbounded numeric."""
    match = _NUMERIC.fullmatch(native.replace(" ", ""))
    if match is None:
        return "numeric"
    precision, scale = int(match[1]), int(match[2])
    # numeric(2,4) holds 0.0012: as many digits as its scale says; numeric(2,-3) holds 12000: whole, of five digits
    precision, scale = max(precision, scale, precision - scale), max(scale, 0)
    spelling = f"decimal({precision},{scale})"
    return spelling if precision <= 76 and is_type(spelling) else "numeric"


def _read_sql(column: Column, house: str, source: str) -> str:
    if list_item(house) is not None:
        # Arrow lists have one dimension; the driver would flatten others without a word
        mark = f"('{ARRAY_MARK}: ' || array_ndims({source})::text)::{_item_sql(column)}[]"
        cast = "" if column.item in _LISTS else "::pg_catalog.text[]"
        return f"CASE WHEN array_ndims({source}) > 1 THEN {mark}{cast} ELSE {source}{cast} END"
    if column.kind == "e" or house == "numeric" or decimal_of(house) is not None:
        return f"{source}::text"
    if column.base in _CAST:
        return f"{source}::{_CAST[column.base][1]}"
    if column.base in _PLAIN:
        return source
    return f"{source}::text"


def _item_sql(column: Column) -> str:
    return f"pg_catalog.{quote(column.item)}" if column.item and column.item_kind == "b" else "pg_catalog.text"


def _cast_sql(house: str, source: str, name: str, *, text: bool) -> str:
    target = _server_type(house)
    if target is None:
        raise ConfigError(
            f"the column {name!r} cannot be read as {house!r}",
            where=f"columns.{name}",
            fix="one of bool, int16, int32, int64, float32, float64, decimal(p,s), numeric, string, uuid, json, "
            "binary, date, time, timestamp, timestamptz, interval, or a list<> of those",
        )
    if house == "binary" and text:
        return f"convert_to({source}::text, 'UTF8')"  # a plain cast would read backslashes as escapes
    cast = f"{source}::{target}"
    item = list_item(house)
    if (item or house) in _TEXT_ITEMS or decimal_of(item or house) is not None:
        return f"{cast}::text[]" if item else f"{cast}::text"
    return cast


def _server_type(house: str) -> str | None:
    item = list_item(house)
    if item is not None:
        known = item in (*_TEXT_ITEMS, *_PLAIN.values()) or decimal_of(item) is not None
        return f"{_server_type(item)}[]" if known and item != "interval" else None
    decimal = decimal_of(house)
    if decimal is not None:
        return f"numeric({decimal[0]},{decimal[1]})"
    return _FROM_HOUSE.get(house)
