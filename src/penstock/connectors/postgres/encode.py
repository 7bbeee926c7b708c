"""Record batches to the bytes of COPY .. (FORMAT binary): what pgpq writes wrongly or not at all is prepared first."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from penstock.connectors.postgres import wire
from penstock.errors import LoadError, counted
from penstock.records import dataclass
from penstock.schema.types import TEXTUAL, to_arrow_type
from penstock.values import Encoding

if TYPE_CHECKING:
    import pyarrow as pa

COPY_BINARY = Encoding("postgres-copy-binary")
HEADER = b"PGCOPY\n\xff\r\n\0" + b"\0" * 8
TRAILER = b"\xff\xff"

_TEXTS = frozenset(("text", "varchar", "bpchar", "name", "citext", "json", "xml"))
_INTEGERS = {"int2": "int16", "int4": "int32", "int8": "int64"}
_TIMES = {"date": "date", "time": "time", "timestamp": "timestamp", "timestamptz": "timestamptz"}


@dataclasses.dataclass(frozen=True, slots=True)  # made by the thousand
class WireType:
    """A column's type as the server receives it: domains resolved, `element` set for arrays.

    `room` is what the server would cut or round a value to without a word: the characters of a varchar, trailing blanks
    being dropped; the digits of a second. `fields` are those of an interval that has only some (`year to month`): the
    server would drop the others.
    """

    name: str
    oid: int
    is_enum: bool = False
    element: WireType | None = None
    room: int | None = None
    fields: str | None = None


@dataclass(frozen=True, slots=True)
class EncodedColumn:
    name: str
    type: str  # house spelling of what the batches hold
    wire: WireType


class CopyEncoder:
    """Encodes the batches of one COPY; the columns are found by name."""

    def __init__(self, columns: Sequence[EncodedColumn], *, where: str) -> None:
        self._columns = tuple(columns)
        self._where = where

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """The batch's rows, without COPY's header and trailer. Raises LoadError for a value PostgreSQL cannot hold."""
        import pgpq
        import pyarrow as pa

        arrays = [checked_wire(column, batch, where=self._where) for column in self._columns]
        fields = [pa.field(f"c{index}", array.type) for index, array in enumerate(arrays)]
        prepared = pa.record_batch(arrays, schema=pa.schema(fields))
        encoder = pgpq.ArrowToPostgresBinaryEncoder(prepared.schema)
        encoder.write_header()
        try:
            body: bytes = encoder.write_batch(prepared)
            rest: bytes = encoder.finish()
            # it buffers: what write_batch holds back comes with finish(), whose end is COPY's trailer
            return body if len(rest) == len(TRAILER) else (body + rest)[: -len(TRAILER)]
        except ValueError as error:
            raise LoadError(
                "a date or time is outside of what PostgreSQL can hold", where=self._where, fault="data"
            ) from error


def checked_wire(column: EncodedColumn, batch: pa.RecordBatch, *, where: str) -> pa.Array:
    """The column's values as pgpq is given them. Raises LoadError for one that the column's type cannot hold."""
    import pyarrow as pa

    values = batch.column(column.name)
    try:
        return to_wire(values, column.wire, plain=True)
    except NulBytesError as error:
        raise LoadError(
            f"column {column.name!r} holds NUL bytes, which PostgreSQL text cannot: "
            f"{error.rows} of {counted(batch.num_rows, 'row')}",
            where=where,
            fix="remove them in a transform, or load the column as binary",
        ) from error
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise LoadError(
            f"column {column.name!r} holds a value that {column.wire.name} cannot hold: {_reason(error)}",
            where=where,
            fix="change the column's type under `columns:`, or the value in a transform",
        ) from None


class NulBytesError(ValueError):
    """Text with NUL bytes in it; `rows` says how many."""

    def __init__(self, rows: int) -> None:
        super().__init__("NUL bytes in text")
        self.rows = rows


def takes(spelling: str, target: WireType) -> bool:
    """Whether values of this house type can be written to a column of that type as they are, without a cast."""
    if spelling == "null":
        return True
    if target.element is not None:
        inner = spelling[5:-1] if spelling.startswith("list<") else ""
        return bool(inner) and takes(inner, target.element)
    if target.fields is not None:
        return False
    if target.name == "jsonb":
        return spelling == "json" or spelling.startswith(("struct<", "list<"))
    if target.name in _INTEGERS or target.name == "numeric":
        exact = spelling in ("numeric",) or spelling.startswith("decimal(")
        return (spelling.startswith(("int", "uint")) and spelling != "interval") or (target.name == "numeric" and exact)
    if target.name in _TEXTS or target.is_enum:
        return spelling in TEXTUAL
    plain = {"bool": "bool", "float4": "float32", "bytea": "binary", "interval": "interval", "uuid": "uuid", **_TIMES}
    return spelling == plain.get(target.name) or (target.name == "float8" and spelling.startswith("float"))


def to_wire(values: pa.Array, target: WireType, *, plain: bool) -> pa.Array:
    """The values as bytes of the target's binary format; `plain` leaves to pgpq what it writes right."""
    import pyarrow as pa

    values = _storage(values)
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), pa.binary())
    if target.element is not None and _is_list(values.type):
        element = target.element
        as_list = values.cast(pa.list_(values.type.value_type))
        return wire.list_wire(as_list, element.oid, lambda inner: to_wire(inner, element, plain=False))
    if target.name in _TEXTS or target.is_enum:
        texts = _text(values)
        _refuse_longer(texts, target)
        return texts if plain else texts.cast(pa.binary())
    if target.room is not None:
        _refuse_finer(values, target)
    special = _SPECIAL.get(target.name)
    if special is not None:
        return special(values, plain)
    kind = _ARROW.get(target.name)
    if kind is None:
        raise ValueError("the type has no binary form here")
    exact = _exact(values, to_arrow_type(kind))
    return exact if plain else wire.fixed_wire(exact, target.name)


def _refuse_longer(texts: pa.Array, target: WireType) -> None:
    import pyarrow.compute as pc

    if target.name == "varchar" and target.room is not None:
        longest = pc.max(pc.utf8_length(texts)).as_py()
        if longest is not None and longest > target.room:
            raise ValueError(f"it is longer than {target.room} characters")


def _refuse_finer(values: pa.Array, target: WireType) -> None:
    """The server would round to the column's digits of a second."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if target.name not in ("time", "timestamp", "timestamptz", "interval") or target.room is None:
        return
    if pa.types.is_date(values.type):
        return
    unit = 10 ** (6 - target.room)
    if pa.types.is_interval(values.type):
        ticks, unit = wire.interval_nanos(values), unit * 1000
    else:
        ticks = _micros(values).view(pa.int64())
    floored = pc.multiply(pc.divide(ticks, unit), unit)
    if not pc.all(pc.equal(ticks, floored)).as_py():
        raise ValueError(f"it has more than {target.room} digits of a second")


def _micros(values: pa.Array) -> pa.Array:
    import pyarrow as pa

    kind = values.type
    if pa.types.is_timestamp(kind):
        return values.cast(pa.timestamp("us", kind.tz), safe=True)
    return values.cast(pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us"), safe=True)


_ARROW = {"bool": "bool", **_INTEGERS, "float4": "float32", "float8": "float64", **_TIMES}


def _exact(values: pa.Array, kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_float64(values.type) and pa.types.is_float32(kind):
        raise ValueError("float64 does not fit")
    return values if values.type == kind else values.cast(kind, safe=True)


def _storage(values: pa.Array) -> pa.Array:
    """Without dictionary, extension and view wrappings."""
    import pyarrow as pa

    if isinstance(values.type, pa.BaseExtensionType):
        return _storage(values.storage)
    if pa.types.is_dictionary(values.type):
        return _storage(values.dictionary_decode())
    if pa.types.is_binary_view(values.type):
        return values.cast(pa.binary())
    return values


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))


def _text(values: pa.Array) -> pa.Array:
    """Strings, checked for NUL bytes: the server would refuse the whole load half-way."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = values if values.type == pa.string() else values.cast(pa.string())
    if not wire.characters(texts)[0].all():
        rows = pc.sum(pc.match_substring(texts, "\0")).as_py()
        if rows:
            raise NulBytesError(rows)
    return texts


def _numeric(values: pa.Array, plain: bool) -> pa.Array:  # noqa: FBT001 - one signature for all in _SPECIAL
    import pyarrow as pa

    if pa.types.is_integer(values.type):
        values = values.cast(pa.decimal128(20, 0))
    if plain and pa.types.is_decimal128(values.type):
        return values
    return wire.numeric_wire(_text(values))


def _uuid(values: pa.Array, plain: bool) -> pa.Array:  # noqa: ARG001, FBT001
    import pyarrow as pa

    if pa.types.is_fixed_size_binary(values.type) and values.type.byte_width == 16:
        return values.cast(pa.binary())
    return wire.uuid_wire(_text(values))


def json_texts(values: pa.Array) -> pa.Array:
    """Lists and structs as JSON."""
    import pyarrow as pa

    return pa.array([None if v is None else json.dumps(v, default=str) for v in values.to_pylist()], pa.string())


def _jsonb(values: pa.Array, plain: bool) -> pa.Array:  # noqa: ARG001, FBT001
    import pyarrow as pa

    return wire.jsonb_wire(_text(json_texts(values) if pa.types.is_nested(values.type) else values))


def _interval(values: pa.Array, plain: bool) -> pa.Array:  # noqa: FBT001
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_duration(values.type):
        return wire.interval_wire(values)
    micros = values.cast(pa.duration("us"), safe=True)
    if plain:
        return micros
    nanos = pc.multiply_checked(micros.view(pa.int64()), 1000).to_pylist()
    months = pa.array([None if n is None else (0, 0, n) for n in nanos], pa.month_day_nano_interval())
    return wire.interval_wire(months)


def _bytea(values: pa.Array, plain: bool) -> pa.Array:  # noqa: ARG001, FBT001
    import pyarrow as pa

    return values.cast(pa.binary())


_SPECIAL: dict[str, Callable[[pa.Array, bool], pa.Array]] = {
    "numeric": _numeric,
    "uuid": _uuid,
    "jsonb": _jsonb,
    "interval": _interval,
    "bytea": _bytea,
}


def _reason(error: Exception) -> str:
    """Arrow names the value that does not fit: only our own words are passed on."""
    import pyarrow as pa

    return "it does not fit" if isinstance(error, pa.ArrowException) else str(error)


__all__ = [
    "COPY_BINARY",
    "HEADER",
    "TRAILER",
    "CopyEncoder",
    "EncodedColumn",
    "WireType",
    "checked_wire",
    "json_texts",
    "takes",
    "to_wire",
]
