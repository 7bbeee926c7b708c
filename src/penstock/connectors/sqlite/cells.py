"""SQLite cells from Arrow columns, for writing: exact, one text form per type, so that text order is value order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from penstock.connectors.sql.link import Value
from penstock.schema.types import decimal_of

if TYPE_CHECKING:
    import pyarrow as pa


def timestamp_text(value: datetime) -> str:
    """`2024-01-02 03:04:05.000006`; with a zone, in UTC and with `+00:00` after it."""
    if value.tzinfo is None:
        return value.isoformat(" ", "microseconds")
    return value.astimezone(UTC).isoformat(" ", "microseconds")


def to_cell(value: Value) -> Value:
    """A parameter in the form its column is stored in."""
    if isinstance(value, datetime):
        return timestamp_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return value.isoformat("microseconds")
    if isinstance(value, Decimal):
        return format(value, "f")
    return int(value) if isinstance(value, bool) else value


def to_cells(column: pa.Array, kind: str) -> list[Any]:
    """The column's values as sqlite3 binds them."""
    convert = _CONVERT.get("decimal" if decimal_of(kind) else kind)
    values: list[Any] = convert(column) if convert else column.to_pylist()
    return values


def _bools(column: pa.Array) -> list[Any]:
    import pyarrow as pa

    return list(column.cast(pa.int8()).to_pylist())


def _texts(column: pa.Array) -> list[Any]:
    import pyarrow as pa

    return list(column.cast(pa.string()).to_pylist())


def _zoned(column: pa.Array) -> list[Any]:
    import pyarrow as pa

    naive = column.cast(pa.timestamp("us", "UTC")).view(pa.int64()).view(pa.timestamp("us"))
    return [None if text is None else text + "+00:00" for text in naive.cast(pa.string()).to_pylist()]


def _decimals(column: pa.Array) -> list[Any]:
    # Arrow prints small decimals as 1E-8, which is no decimal literal in SQL.
    return [None if value is None else format(value, "f") for value in column.to_pylist()]


def _floats(column: pa.Array) -> list[Any]:
    # SQLite stores a bound NaN as NULL; as text it stays NaN.
    return ["NaN" if value != value else value for value in column.to_pylist()]  # noqa: PLR0124


def _intervals(column: pa.Array) -> list[Any]:
    return [None if value is None else interval_text(*value) for value in column.to_pylist()]


def interval_text(months: int, days: int, nanoseconds: int) -> str:
    """ISO 8601, each part with its own sign: `P1M-2DT3.000000004S`."""
    sign = "-" if nanoseconds < 0 else ""
    seconds, rest = divmod(abs(nanoseconds), 1_000_000_000)
    return f"P{months}M{days}DT{sign}{seconds}.{rest:09d}S"


_CONVERT: dict[str, Callable[[Any], list[Any]]] = {
    "bool": _bools,
    "date": _texts,
    "time": _texts,
    "timestamp": _texts,
    "timestamptz": _zoned,
    "decimal": _decimals,
    "uint64": lambda column: [None if value is None else str(value) for value in column.to_pylist()],
    "float32": _floats,
    "float64": _floats,
    "interval": _intervals,
}
