"""Arrow columns from SQLite cells. A cell that is not of its column's type is an error, never a guess."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from penstock.errors import ExtractionError
from penstock.schema.types import decimal_of, to_arrow_type
from penstock.values import Field

if TYPE_CHECKING:
    import pyarrow as pa

_DURATION = re.compile(r"P(-?\d+)M(-?\d+)DT(-?)(\d+)\.(\d{9})S")
_FINE = re.compile(r"[.,]\d{6}0*[1-9]")  # more than microseconds
_TEXTS = ("string", "json", "uuid", "enum")


def to_column(values: Sequence[Any], field: Field, *, stream: str) -> pa.Array:
    """Raises ExtractionError with the number of cells that disagree, and the way out."""
    import pyarrow as pa

    try:
        fast = _fast(values, field.type)
        if fast is not None:
            return fast
    except (pa.ArrowException, TypeError, ValueError, OverflowError, InvalidOperation):
        pass  # not an absence: every cell is looked at below, and a bad one is counted
    convert = _CELLS.get("decimal" if decimal_of(field.type) else field.type, _plain)
    return _slow(values, field, convert, stream)


def _fast(values: Sequence[Any], kind: str) -> pa.Array | None:
    """The whole column at once, where Arrow's own checks are as strict as ours."""
    import pyarrow as pa

    target = to_arrow_type(kind)
    if kind in _TEXTS or kind in ("date", "timestamp", "timestamptz", "time"):
        if not set(map(type, values)) <= {str, type(None)}:
            return None
        texts = pa.array(values, pa.string())
        return texts if kind in _TEXTS else texts.cast(target)
    if kind == "binary":
        return pa.array(values, target) if set(map(type, values)) <= {bytes, type(None)} else None
    if kind == "float64" or (kind.startswith(("int", "uint")) and kind != "interval"):
        return pa.array(values, target)
    if decimal_of(kind):
        return pa.array([None if v is None else str(v) for v in values], pa.string()).cast(target)
    return None


def _slow(values: Sequence[Any], field: Field, convert: Callable[[Any, Field], Any], stream: str) -> pa.Array:
    import pyarrow as pa

    target = to_arrow_type(field.type)
    cells: list[Any] = []
    bad: set[str] = set()
    count = 0
    for value in values:
        try:
            cells.append(None if value is None else convert(value, field))
        except (ValueError, TypeError, ArithmeticError):
            count += 1
            bad.add(_STORAGE.get(type(value), "other"))
    if not count:
        try:
            return pa.array(cells, target)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            count, bad = len(cells), {"out of range"}
    declared = field.native or "without a type"
    raise ExtractionError(
        f"column {field.name!r} is declared {declared} and read as {field.type}; {count} of {len(values)} cells looked"
        f" at are something else ({', '.join(sorted(bad))})",
        where=stream,
        fix=f"give the column a type that takes them, as in columns: {{{field.name}: string}}",
    )


_STORAGE: dict[type, str] = {int: "integer", float: "real", str: "text", bytes: "blob"}


def _plain(value: Any, field: Field) -> Any:
    """Integers: a whole number, however stored; those past 64 bits with a sign lie as text."""
    del field
    if isinstance(value, str) and value == str(int(value)):
        return int(value)
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    raise ValueError


def _boolean(value: Any, field: Field) -> Any:
    del field
    if value in (0, 1) and isinstance(value, int):
        return bool(value)
    raise ValueError


def _float(value: Any, field: Field) -> Any:
    if isinstance(value, str) and value not in ("NaN", "Infinity", "-Infinity"):
        raise ValueError
    if isinstance(value, bytes) or (isinstance(value, int) and int(float(value)) != value):
        raise ValueError
    return float(value) if field.type == "float64" else _single(float(value))


def _single(value: float) -> Any:
    import numpy as np

    return np.float32(value)


def _text(value: Any, field: Field) -> Any:
    del field
    if isinstance(value, bytes):
        raise TypeError
    return value if isinstance(value, str) else repr(value)


def _number_text(value: Any, field: Field) -> Any:
    del field
    if isinstance(value, bytes):
        raise TypeError
    text = value if isinstance(value, str) else repr(value)
    Decimal(text)
    return text


def _decimal(value: Any, field: Field) -> Any:
    _, scale = decimal_of(field.type) or (0, 0)
    if isinstance(value, bytes):
        raise TypeError
    exact = Decimal(value if isinstance(value, str) else repr(value))
    if not exact.is_finite() or exact != round(exact, scale):
        raise ValueError
    return exact


def _blob(value: Any, field: Field) -> Any:
    del field
    if not isinstance(value, bytes):
        raise TypeError
    return value


def _date(value: Any, field: Field) -> Any:
    del field
    moment = _parsed(value)
    if moment.timetz() != time():
        raise ValueError
    return date(moment.year, moment.month, moment.day)


def _time(value: Any, field: Field) -> Any:
    del field
    if not isinstance(value, str) or _FINE.search(value):
        raise ValueError
    found = time.fromisoformat(value)
    if found.tzinfo is not None:
        raise ValueError
    return found


def _timestamp(value: Any, field: Field) -> Any:
    """A cell that says it is UTC loses only the word; another zone would lose the instant."""
    del field
    moment = _parsed(value)
    if moment.tzinfo is not None and moment.utcoffset():
        raise ValueError
    return moment.replace(tzinfo=None)


def _timestamptz(value: Any, field: Field) -> Any:
    """Without a zone it is UTC, as SQLite's own date functions have it."""
    del field
    moment = _parsed(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _parsed(value: Any) -> datetime:
    if not isinstance(value, str) or _FINE.search(value):
        raise ValueError
    return datetime.fromisoformat(value)


def _interval(value: Any, field: Field) -> Any:
    import pyarrow as pa

    del field
    match = _DURATION.fullmatch(value)
    if match is None:
        raise ValueError
    nanoseconds = int(match[4]) * 1_000_000_000 + int(match[5])
    return pa.MonthDayNano([int(match[1]), int(match[2]), -nanoseconds if match[3] else nanoseconds])


def _nothing(value: Any, field: Field) -> Any:
    raise ValueError(f"column {field.name!r} should be empty, and holds {type(value).__name__}")


_CELLS: dict[str, Callable[[Any, Field], Any]] = {
    "bool": _boolean,
    "float32": _float,
    "float64": _float,
    "string": _text,
    "json": _text,
    "uuid": _text,
    "enum": _text,
    "numeric": _number_text,
    "decimal": _decimal,
    "binary": _blob,
    "date": _date,
    "time": _time,
    "timestamp": _timestamp,
    "timestamptz": _timestamptz,
    "interval": _interval,
    "null": _nothing,
}
