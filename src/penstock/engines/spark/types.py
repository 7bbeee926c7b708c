"""Columns as Spark holds them, and back."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

from penstock.errors import ConfigError, TransformError
from penstock.schema.types import from_arrow_schema, to_arrow_type
from penstock.values import Field, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql.types import StructType


def spark_schema(schema: pa.Schema) -> StructType:
    """The Spark types of Arrow columns that `for_spark` made."""
    from pyspark.sql.pandas.types import from_arrow_type
    from pyspark.sql.types import StructField, StructType

    return StructType([StructField(f.name, from_arrow_type(f.type, True), True) for f in schema])  # noqa: FBT003 - pyspark's


def for_spark(schema: pa.Schema) -> pa.Schema:
    """The nearest Arrow columns that Spark takes, no value changed. Raises ConfigError for what it has no type for."""
    import pyarrow as pa

    refused = [f"{f.name} ({f.type})" for f in schema if _nearest(f.type) is None]
    if refused:
        raise ConfigError(
            f"a Spark frame has no type for the columns {', '.join(refused)}",
            fix="read them as text, as in columns: {NAME: string}, or annotate the transform with another frame",
        )
    return pa.schema([pa.field(f.name, _nearest(f.type)) for f in schema])


def _nearest(kind: pa.DataType) -> pa.DataType | None:
    import pyarrow as pa
    import pyarrow.types as pt

    wider = {
        pa.uint8(): pa.int16(),
        pa.uint16(): pa.int32(),
        pa.uint32(): pa.int64(),
        pa.uint64(): pa.decimal128(20, 0),
    }
    if kind in wider:
        return wider[kind]
    if pt.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None) if kind.unit == "us" else None
    if pt.is_list(kind):
        inner = _nearest(kind.value_type)
        return pa.list_(inner) if inner is not None else None
    if pt.is_struct(kind):
        fields = [(kind.field(i).name, _nearest(kind.field(i).type)) for i in range(kind.num_fields)]
        return pa.struct(fields) if all(inner is not None for _, inner in fields) else None
    taken = (pt.is_boolean, pt.is_signed_integer, pt.is_float32, pt.is_float64, pt.is_decimal128, pt.is_string)
    more = (pt.is_large_string, pt.is_binary, pt.is_large_binary, pt.is_date32)
    return kind if any(is_kind(kind) for is_kind in (*taken, *more)) else None


def table_schema(made: StructType, incoming: pa.Schema, *, what: str, where: str) -> TableSchema:
    """The columns of a frame that a transform returned; one passed on keeps its logical type. Raises TransformError."""
    names = [field.name for field in made.fields]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled or not names:
        found = f"columns twice: {', '.join(doubled)}" if doubled else "no columns"
        raise TransformError(f"{what} returned {found}", where=where, fix="name each column once")
    before = {field.name: field for field in from_arrow_schema(incoming).fields}
    try:
        after = from_arrow_schema(arrow_schema(made)).fields
    except (ValueError, TypeError) as error:
        raise TransformError(f"{what} returned {_first_line(error)}", where=where, fix="cast it") from error
    return TableSchema(tuple(_declared(field, before.get(field.name)) for field in after))


def arrow_schema(made: StructType) -> Any:
    """The Arrow columns of a Spark frame, as tasks hand them out."""
    from pyspark.sql.pandas.types import to_arrow_schema

    zone = {"timezone": "UTC"} if "timezone" in signature(to_arrow_schema).parameters else {}  # 3.5: always UTC
    return to_arrow_schema(made, **zone).remove_metadata()


def _declared(made: Field, before: Field | None) -> Field:
    if before is not None and _nearest(to_arrow_type(before.type)) == to_arrow_type(made.type):
        return Field(made.name, before.type)
    return Field(made.name, made.type)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
