"""The house spelling of column types, and the Arrow types they travel as.

bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 decimal(p,s) numeric string binary date time
timestamp timestamptz interval uuid json enum null list<T> struct<a: T, b: T>

Logical types travel in plain Arrow types, with the spelling in field metadata: numeric (unbounded: Arrow decimals hold
neither NaN nor 1,000 digits), uuid, json and enum as string; interval as month_day_nano; timestamp and timestamptz as
microseconds, without and with zone UTC.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from penstock.values import Field, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa

TYPE_KEY = b"penstock.type"
NATIVE_KEY = b"penstock.native"

SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
FLOATS = ("float32", "float64")
TEXTUAL = ("string", "numeric", "uuid", "json", "enum")
SIMPLE = frozenset(
    (
        *SIGNED,
        *UNSIGNED,
        *FLOATS,
        *TEXTUAL,
        "bool",
        "binary",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "interval",
        "null",
    )
)
_DECIMAL = re.compile(r"decimal\((\d{1,2}),\s*(-?\d{1,2})\)")


def decimal_of(spelling: str) -> tuple[int, int] | None:
    """(precision, scale) of `decimal(p,s)`, None for any other type."""
    match = _DECIMAL.fullmatch(spelling)
    return (int(match[1]), int(match[2])) if match else None


def list_item(spelling: str) -> str | None:
    """The T of `list<T>`, None for any other type."""
    return spelling[5:-1] if spelling.startswith("list<") and spelling.endswith(">") else None


def struct_fields(spelling: str) -> tuple[tuple[str, str], ...] | None:
    """(name, type) of each field of `struct<a: T, b: T>`, None for any other type."""
    if not (spelling.startswith("struct<") and spelling.endswith(">")):
        return None
    parts = _split_outside_brackets(spelling[7:-1])
    return tuple((name.strip(), kind.strip()) for name, _, kind in (p.partition(":") for p in parts))


def is_type(spelling: str) -> bool:
    """Whether this is a spelling of the house."""
    item = list_item(spelling)
    if item is not None:
        return is_type(item)
    fields = struct_fields(spelling)
    if fields is not None:
        return bool(fields) and all(name and is_type(kind) for name, kind in fields)
    decimal = decimal_of(spelling)
    if decimal is not None:
        return 1 <= decimal[0] <= 76 and decimal[1] <= decimal[0]
    return spelling in SIMPLE


@lru_cache(maxsize=1024)
def to_arrow_type(spelling: str) -> pa.DataType:
    """The Arrow type a column of this spelling travels as. Raises ValueError for a spelling that is not ours."""
    import pyarrow as pa

    decimal = decimal_of(spelling)
    if decimal is not None:
        return pa.decimal128(*decimal) if decimal[0] <= 38 else pa.decimal256(*decimal)
    item = list_item(spelling)
    if item is not None:
        return pa.list_(to_arrow_type(item))
    fields = struct_fields(spelling)
    if fields is not None:
        return pa.struct([pa.field(name, to_arrow_type(kind)) for name, kind in fields])
    plain = {
        "bool": pa.bool_,
        "float32": pa.float32,
        "float64": pa.float64,
        "binary": pa.binary,
        "date": pa.date32,
        "time": lambda: pa.time64("us"),
        "timestamp": lambda: pa.timestamp("us"),
        "timestamptz": lambda: pa.timestamp("us", "UTC"),
        "interval": pa.month_day_nano_interval,
        "null": pa.null,
        **{name: getattr(pa, name) for name in (*SIGNED, *UNSIGNED)},
        **dict.fromkeys(TEXTUAL, pa.string),
    }
    if spelling not in plain:
        raise ValueError(f"not a type: {spelling!r}")
    return plain[spelling]()


def to_arrow_field(field: Field) -> pa.Field:
    """The Arrow field, with spelling and native type in its metadata."""
    import pyarrow as pa

    metadata = {TYPE_KEY: field.type.encode()}
    if field.native:
        metadata[NATIVE_KEY] = field.native.encode()
    return pa.field(field.name, to_arrow_type(field.type), nullable=field.nullable, metadata=metadata)


def to_arrow_schema(schema: TableSchema) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([to_arrow_field(f) for f in schema.fields])


def from_arrow_type(kind: pa.DataType) -> str:
    """The house spelling of any Arrow type. Raises ValueError for maps, unions and other types that have none."""
    import pyarrow.types as pt

    checks = (
        (pt.is_boolean, "bool"),
        (pt.is_float16, "float32"),
        (pt.is_float32, "float32"),
        (pt.is_float64, "float64"),
        (pt.is_date, "date"),
        (pt.is_time, "time"),
        (pt.is_interval, "interval"),
        (pt.is_duration, "interval"),
        (pt.is_null, "null"),
        (pt.is_integer, str(kind)),
        (pt.is_timestamp, "timestamptz" if pt.is_timestamp(kind) and kind.tz else "timestamp"),
    )
    for matches, spelling in checks:
        if matches(kind):
            return spelling
    return _from_arrow_sized(kind)


def _from_arrow_sized(kind: pa.DataType) -> str:
    import pyarrow.types as pt

    if pt.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind):
        return "string"
    if pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind) or pt.is_binary_view(kind):
        return "binary"
    if pt.is_dictionary(kind):
        return from_arrow_type(kind.value_type)
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        return f"list<{from_arrow_type(kind.value_type)}>"
    if pt.is_struct(kind):
        inner = ", ".join(f"{f.name}: {from_arrow_type(f.type)}" for f in kind)
        return f"struct<{inner}>"
    raise ValueError(f"no column type for Arrow type {kind}")


def from_arrow_schema(schema: pa.Schema) -> TableSchema:
    """The house schema; spellings kept in metadata win where they fit the Arrow type they travel as."""
    return TableSchema(tuple(_from_arrow_field(f) for f in schema))


def _from_arrow_field(field: pa.Field) -> Field:
    metadata = field.metadata or {}
    kept = metadata.get(TYPE_KEY, b"").decode()
    native = metadata.get(NATIVE_KEY, b"").decode() or None
    fits = bool(kept) and is_type(kept) and to_arrow_type(kept) == field.type
    return Field(field.name, kept if fits else from_arrow_type(field.type), field.nullable, native)


def _split_outside_brackets(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for index, char in enumerate(text):
        depth += (char in "<(") - (char in ">)")
        if char == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    return [p for p in parts if p.strip()]
