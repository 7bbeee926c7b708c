"""Cells as text and back, for CSV, JSON and the names of partition folders. Nothing is rounded on either way."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from penstock.schema import intervals
from penstock.schema.types import FLOATS, SIGNED, UNSIGNED, decimal_of, list_item, struct_fields, to_arrow_type

if TYPE_CHECKING:
    import pyarrow as pa

_LEADING_ZERO = r"^-?0[0-9]"
_EXACT_DIGITS_LENGTH = 15  # every number of so few digits survives float64
_ZERO, _MINUS = ord("0"), ord("-")
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_UUID = r"(?i)^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$"
_TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?$"


class BadCellError(ValueError):
    """A text is not a value of the column's type; `index` is its place in the array."""

    def __init__(self, index: int) -> None:
        self.index = index
        super().__init__(f"cell {index} does not fit")


def bad_cells(length: int, check: Callable[[int, int], object]) -> list[int]:
    """Which of so many cells are no values, by halving; `check(start, size)` raises BadCellError where one is none."""
    found: list[int] = []
    pending = [(0, length)]
    while pending:
        start, size = pending.pop()
        try:
            check(start, size)
        except BadCellError:
            half = size // 2
            if half:
                pending += [(start + half, size - half), (start, half)]
            else:
                found.append(start)
    return found


def is_nested(kind: str) -> bool:
    return list_item(kind) is not None or struct_fields(kind) is not None


def to_text(column: pa.Array, kind: str) -> pa.Array:
    """A column as strings that `from_text` reads back unchanged; lists and structs become JSON."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind == "interval":
        return intervals.to_texts(column)
    if is_nested(kind):
        return pa.array([None if v is None else to_json(v) for v in column.to_pylist()], pa.string())
    if kind == "binary":
        return pa.array([None if v is None else base64.b64encode(v).decode() for v in column.to_pylist()], pa.string())
    if decimal_of(kind) is not None:
        # Arrow writes 1E-7 for small decimals; digits are what every other reader takes.
        text = pc.cast(column, pa.string())
        return _spell_out(text) if _any(pc.match_substring(text, "E")) else text
    return pc.cast(column, pa.string())


def to_json(value: object) -> str:
    """A list or struct as JSON text; what JSON has no form for is the text that `from_text` reads."""
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> object:
    """A nested value as JSON has it; what JSON has no form for becomes the text `from_text` reads."""
    import pyarrow as pa

    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    from_python = pa.array([value])
    kind = "binary" if isinstance(value, bytes) else "interval" if isinstance(value, tuple) else "other"
    return to_text(from_python, kind)[0].as_py()


def _spell_out(text: pa.Array) -> pa.Array:
    import pyarrow as pa

    return pa.array([None if v is None else f"{Decimal(v):f}" for v in text.to_pylist()], pa.string())


def from_text(column: pa.Array, kind: str, *, strict: bool = False) -> pa.Array:
    """Strings as the type of that spelling. Raises BadCellError for the first that is no such value.

    `strict` also refuses what a type that nobody named would change: leading zeros, digits beyond a float64.
    """
    parse = _parser(kind, strict=strict)
    try:
        return parse(column)
    except BadCellError:
        raise
    except (ValueError, ArithmeticError) as error:
        raise BadCellError(_first_bad(column, parse)) from error


def _first_bad(column: pa.Array, parse: Callable[[pa.Array], pa.Array]) -> int:
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            parse(column.slice(low, middle - low))
            low = middle
        except (ValueError, ArithmeticError):
            high = middle
    return low


def _parser(kind: str, *, strict: bool) -> Callable[[pa.Array], pa.Array]:
    import pyarrow.compute as pc

    special: dict[str, Callable[[pa.Array], pa.Array]] = {
        "interval": intervals.from_texts,
        "binary": _parse_binary,
        "time": _parse_time,
        "numeric": _parse_numeric,
        "date": _parse_date,
        "timestamptz": _parse_zoned,
    }
    if kind in special:
        return special[kind]
    if kind in (*SIGNED, *UNSIGNED):
        return lambda column: _parse_int(column, kind, strict=strict)
    if kind in FLOATS:
        return lambda column: _parse_float(column, kind, strict=strict)
    if decimal_of(kind) is not None:
        return lambda column: _parse_decimal(column, kind, strict=strict)
    return lambda column: pc.cast(column, to_arrow_type(kind))


def _parse_int(column: pa.Array, kind: str, *, strict: bool) -> pa.Array:
    import pyarrow.compute as pc

    if strict:
        _refuse_leading_zeros(column)
    return pc.cast(column, to_arrow_type(kind))


def _parse_float(column: pa.Array, kind: str, *, strict: bool) -> pa.Array:
    import pyarrow.compute as pc

    values = pc.cast(column, to_arrow_type(kind))
    infinite = pc.is_inf(values)
    if _any(infinite):
        _refuse(pc.and_(infinite, pc.match_substring_regex(column, "[0-9]")))
    if strict:
        _refuse_leading_zeros(column)
        _refuse_rounding(column, values)
    return values


def _refuse_leading_zeros(column: pa.Array) -> None:
    """The pattern is tried where the bytes show such a number: it costs twenty times what the look does."""
    import pyarrow.compute as pc

    if _may_lead_with_zero(column):
        _refuse(pc.match_substring_regex(column, _LEADING_ZERO))


def _may_lead_with_zero(column: pa.Array) -> bool:
    """False only where no cell begins with a zero before another digit, sign or not; cells under NULL may say True."""
    import numpy as np

    _, offsets, content = column.buffers()
    if not len(column) or content is None or not content.size:
        return False
    marks = np.frombuffer(content, np.uint8)
    edges = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    low = np.flatnonzero(marks.take(edges[:-1], mode="clip") <= _ZERO)  # of digits and signs only 0, - and + are
    ends, at = edges[low + 1], edges[low]
    at = at + (marks.take(at, mode="clip") == _MINUS)
    has_zero = marks.take(at, mode="clip") == _ZERO
    has_digit = marks.take(at + 1, mode="clip") - _ZERO <= 9  # below "0" these bytes wrap round
    return bool((has_zero & has_digit & (at + 1 < ends)).any())


def _refuse_rounding(column: pa.Array, values: pa.Array) -> None:
    """A float64 is taken for a text only when its shortest spelling has the same value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # what has become a number is ASCII: bytes are characters
    long = pc.greater(pc.binary_length(column), _EXACT_DIGITS_LENGTH)
    if not _any(long):
        return
    rows = pc.indices_nonzero(long)
    doubtful = pc.not_equal(pc.cast(values.take(rows), pa.string()), column.take(rows))
    for index in rows.filter(doubtful).to_pylist():
        if not is_exact(column[index].as_py(), values[index].as_py()):
            raise BadCellError(index)


def is_exact(text: str, value: float) -> bool:
    """Whether a float stands for the number that was written, digit for digit."""
    try:
        return Decimal(text) == Decimal(repr(value))
    except InvalidOperation:
        return value != value or value in (float("inf"), float("-inf"))  # noqa: PLR0124 - NaN


def _parse_decimal(column: pa.Array, kind: str, *, strict: bool) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if strict:
        _refuse_leading_zeros(column)
    target = to_arrow_type(kind)
    if pa.types.is_decimal128(target):
        return pc.cast(column, target)
    return pa.array([None if t is None else Decimal(t) for t in column.to_pylist()], target)


def _parse_numeric(column: pa.Array) -> pa.Array:
    """Any decimal number as it is written, or NaN or an infinity."""
    import pyarrow.compute as pc

    form = r"(?i)^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,4})?$|^[+-]?(nan|inf|infinity)$"
    _refuse(pc.invert(pc.match_substring_regex(column, form)))
    return column


def refuse_no_uuid(column: pa.Array) -> None:
    """Raises BadCellError for the first text that is no uuid."""
    import pyarrow.compute as pc

    _refuse(pc.invert(pc.match_substring_regex(column, _UUID)))


def _parse_date(column: pa.Array) -> pa.Array:
    """Arrow takes days of exactly this form; the pattern says which cell is none."""
    import pyarrow.compute as pc

    try:
        return pc.cast(column, to_arrow_type("date"))
    except ValueError:
        _refuse(pc.invert(pc.match_substring_regex(column, _DATE)))
        raise


def _parse_zoned(column: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.cast(column, to_arrow_type("timestamptz"))


def _parse_time(column: pa.Array) -> pa.Array:
    """Arrow has no cast from text to time: read it as a moment of one day and take the time of it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    _refuse(pc.invert(pc.match_substring_regex(column, _TIME)))
    day = pa.array(["1970-01-01T"] * len(column), pa.string())
    moments = pc.cast(pc.binary_join_element_wise(day, column, ""), pa.timestamp("us"))
    return pc.cast(moments, pa.time64("us"))


def _parse_binary(column: pa.Array) -> pa.Array:
    import pyarrow as pa

    try:
        decoded = [None if t is None else base64.b64decode(t, validate=True) for t in column.to_pylist()]
    except binascii.Error as error:
        raise ValueError("not base64") from error
    return pa.array(decoded, pa.binary())


def _refuse(wrong: pa.Array) -> None:
    import pyarrow.compute as pc

    if _any(wrong):
        raise BadCellError(pc.index(wrong, value=True).as_py())


def _any(flags: pa.Array) -> bool:
    import pyarrow.compute as pc

    return bool(pc.any(flags).as_py())
