"""The forms in which values pass through the JVM unchanged, and how the server makes them what they were."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.connectors.postgres.encode import WireType, json_texts, to_wire
from penstock.records import dataclass
from penstock.schema.types import to_arrow_type

if TYPE_CHECKING:
    import pyarrow as pa

_KEPT = {
    "bool": ("bool", "boolean"),
    "int2": ("int16", "smallint"),
    "int4": ("int32", "integer"),
    "int8": ("int64", "bigint"),
    "float4": ("float32", "real"),
    "float8": ("float64", "double precision"),
}
_DAY_MICROS = 86_400_000_000
_MOMENT = (
    f"date '1970-01-01' + ({{0}} / {_DAY_MICROS})::int + ({{0}} % {_DAY_MICROS}) * interval '1 microsecond'"  # exact
)
_COUNTED = {
    "date": ("date", "int32", "integer", "date '1970-01-01' + {0}"),
    "time": ("time", "int64", "bigint", "time '00:00' + {0} * interval '1 microsecond'"),
    "timestamp": ("timestamp", "int64", "bigint", _MOMENT),
    "timestamptz": ("timestamptz", "int64", "bigint", f"({_MOMENT}) AT TIME ZONE 'UTC'"),
}
_ASSIGNED = ("text", "varchar", "bpchar", "name", "citext")  # a cast would cut them, an assignment refuses


@dataclass(frozen=True, slots=True)
class Plain:
    """How the values of one column travel. `is_cast`: the server makes them another type than their own."""

    kind: str
    house: str
    native: str
    expression: str
    is_cast: bool = False

    @property
    def arrow(self) -> pa.DataType:
        return to_arrow_type(self.house)

    @property
    def is_readable(self) -> bool:
        """Whether the server reads what travels as the value itself."""
        return self.kind not in _COUNTED and self.kind != "uuid"

    def cast_by_server(self) -> Plain:
        return replace(self, expression="{0}::{1}", is_cast=True)

    def encode(self, values: pa.Array) -> pa.Array:
        import pyarrow as pa

        if pa.types.is_null(values.type):
            return pa.nulls(len(values), self.arrow)
        if self.kind in _COUNTED:
            return values.cast(to_arrow_type(self.kind)).view(self.arrow)
        if self.kind == "uuid":
            return to_wire(values, WireType("uuid", 0), plain=False).cast(pa.binary())
        if self.house == "string" and pa.types.is_nested(values.type):
            return json_texts(values)
        return values.cast(self.arrow)

    def decoded(self, cell: str, native: str) -> str:
        """SQL that makes the value of a column of that type."""
        return self.expression.format(cell, native)


def plain_form(target: WireType) -> Plain:
    """Of values that a column of this type takes as they are."""
    kind = target.name
    if kind in _KEPT:
        return Plain(kind, *_KEPT[kind], "{0}")
    if kind in _COUNTED:
        _, house, native, expression = _COUNTED[kind]
        return Plain(kind, house, native, expression)
    if kind == "uuid":
        return Plain(kind, "binary", "bytea", "encode({0}, 'hex')::uuid")
    if kind == "bytea":
        return Plain(kind, "binary", "bytea", "{0}")
    if kind in _ASSIGNED and not target.is_enum:
        return Plain(kind, "string", "text", "{0}")
    return Plain(kind, "string", "text", "{0}::{1}")


__all__ = ["Plain", "plain_form"]
