"""Rows as their columns were typed when others like them were delivered, so that the digests of then find them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING

from penstock.loading.digest import digest_kind, row_digests
from penstock.records import dataclass
from penstock.schema.texts import from_text, to_text
from penstock.schema.types import FLOATS, SIGNED, TEXTUAL, UNSIGNED, decimal_of, to_arrow_type

if TYPE_CHECKING:
    import pyarrow as pa

Convert = Callable[["pa.Array"], "pa.Array"]

_INTEGERS = (*SIGNED, *UNSIGNED)
_MOMENTS = ("date", "time", "timestamp", "timestamptz")
_MISFITS = (ValueError, ArithmeticError, TypeError, NotImplementedError)  # Arrow's own are among these
_TRUTHS = frozenset({"true", "false", "t", "f", "yes", "no", "y", "n", "on", "off", "1", "0"})
_DAY = 86_400_000_000  # microseconds
_WHOLE = {"float32": 2**24, "float64": 2**53}  # every smaller whole number has a float of its own
_SURE_DIGITS = 15  # decimals of so many digits have floats of their own


@dataclass(frozen=True, slots=True)
class Recalled:
    """Of each row: its digest in the old types, None where a cell has no value there, and the columns that leave doubt.

    A row without doubt and without a known digest cannot have been delivered before. `added` says which rows have a
    value in a column that is new.
    """

    digests: list[str | None]
    doubts: list[frozenset[str]]
    added: list[bool]


class Recall:
    """How the columns of a read (`new`) differ from those that known digests were made of (`old`), by house types.

    An empty `old` is unknown, and taken for `new`.
    """

    def __init__(self, old: Mapping[str, str], new: Mapping[str, str]) -> None:
        both = [name for name in new if name in old]
        self.retyped = {name: (old[name], new[name]) for name in both if _changes_digests(old[name], new[name])}
        self.dropped = frozenset(name for name, kind in old.items() if name not in new and kind != "null")
        self.added = tuple(name for name in new if name not in old) if old else ()

    @property
    def is_needed(self) -> bool:
        return bool(self.retyped or self.dropped or self.added)

    def recall(self, rows: pa.RecordBatch) -> Recalled:
        """A column that is gone may have held anything; one that is new held nothing."""
        new = [name for name in self.added if name in rows.schema.names]
        added = _any_valid(rows, new)
        rows = rows.drop_columns(new)
        missing, impossible = [False] * len(added), [False] * len(added)
        doubts = [set(self.dropped) for _ in added]
        for name in self.retyped.keys() & set(rows.schema.names):
            cells = _bring_back(rows.column(name), *self.retyped[name])
            rows = rows.set_column(rows.schema.get_field_index(name), name, cells.values)
            for number, failed in enumerate(cells.failed):
                missing[number] |= failed
                impossible[number] |= cells.impossible[number]
                if not cells.sure[number]:
                    doubts[number].add(name)
        digests = row_digests(rows) if rows.num_columns else [""] * len(added)
        return Recalled(
            [None if none or not digest else digest for none, digest in zip(missing, digests, strict=True)],
            [frozenset() if never else frozenset(doubt) for never, doubt in zip(impossible, doubts, strict=True)],
            added,
        )


@dataclass(frozen=True, slots=True)
class _Cells:
    """A column in its old type: NULL where that failed; `sure` of those that have one way back only."""

    values: pa.Array
    failed: list[bool]
    impossible: list[bool]
    sure: list[bool]


def _bring_back(column: pa.Array, old: str, new: str) -> _Cells:
    values, failed = _convert_each(column, _converter(old, new), to_arrow_type(old))
    cells = list(zip(column, failed, strict=True))
    impossible = [misfit and _is_impossible(old, new, cell) for cell, misfit in cells]
    return _Cells(values, failed, impossible, [not misfit and _is_sure(old, new, cell) for cell, misfit in cells])


def _any_valid(rows: pa.RecordBatch, names: Iterable[str]) -> list[bool]:
    found = [False] * rows.num_rows
    for name in names:
        found = [a or b for a, b in zip(found, rows.column(name).is_valid().to_pylist(), strict=True)]
    return found


def _changes_digests(old: str, new: str) -> bool:
    """Whether a value may have another digest: its kind is another, or the new type rounds or respells."""
    if old == new:
        return False
    if digest_kind(old) != digest_kind(new):
        return True
    if old in TEXTUAL:
        return new in ("uuid", "numeric") or "json" in (old, new)
    before, after = decimal_of(old), decimal_of(new)
    return (old, new) == ("float64", "float32") or bool(before and after and after[1] < before[1])


def _converter(old: str, new: str) -> Convert:
    """A column of the new type as the old; raises where a cell has no such value, or would not come back as it is."""
    if "null" in (old, new):
        return lambda column: _nulls(column, old)
    if new in TEXTUAL and old in TEXTUAL:
        return lambda column: _between_texts(column, old, new)
    if new in TEXTUAL:
        return lambda column: _read(_strings(column), old)
    if old in TEXTUAL:
        return lambda column: to_text(column, new)
    return lambda column: _cast_exactly(column, to_arrow_type(old))


def _convert_each(column: pa.Array, convert: Convert, kind: pa.DataType) -> tuple[pa.Array, list[bool]]:
    """The column converted, and which cells could not be: they are NULL."""
    import pyarrow as pa

    try:
        return convert(column), [False] * len(column)
    except _MISFITS:
        if len(column) <= 1:
            return pa.nulls(len(column), kind), [True] * len(column)
    half = len(column) // 2
    parts = [range(half), range(half, len(column))]
    # taken, not sliced: a slice of lists still holds the items of all, and they are cast too
    halves = [_convert_each(column.take(pa.array(part)), convert, kind) for part in parts]
    return pa.concat_arrays([values for values, _ in halves]), halves[0][1] + halves[1][1]


def _nulls(column: pa.Array, old: str) -> pa.Array:
    import pyarrow as pa

    if column.null_count < len(column):
        raise ValueError("a value in a column that held none")
    return pa.nulls(len(column), to_arrow_type(old))


def _strings(column: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.cast(column, pa.string())


def _between_texts(column: pa.Array, old: str, new: str) -> pa.Array:
    """The same characters, but that a text among JSON values is quoted."""
    import pyarrow as pa

    texts = _strings(column)
    if "json" not in (old, new):
        return texts
    change = _unquoted if new == "json" else _quoted
    return pa.array([None if text is None else change(text) for text in texts.to_pylist()], pa.string())


def _unquoted(text: str) -> str:
    import json

    return str(json.loads(text)) if text.startswith('"') else text


def _quoted(text: str) -> str:
    import json

    try:
        json.loads(text)
    except ValueError:
        return json.dumps(text, ensure_ascii=False)
    return text


def _read(texts: pa.Array, old: str) -> pa.Array:
    """Text as files read it; a cell that they would not take, as other systems spell it."""
    import pyarrow as pa

    try:
        return from_text(texts, old)
    except _MISFITS:
        if len(texts) != 1:  # comes again in halves
            raise
        return pa.array([_read_loosely(texts[0].as_py(), old)], to_arrow_type(old))


def _read_loosely(text: str, old: str) -> object:
    if old in _INTEGERS or decimal_of(old):
        number = Decimal(text)
        if old in _INTEGERS and number != int(number):
            raise ValueError("not a whole number")
        return int(number) if old in _INTEGERS else number.normalize()
    if old == "time":
        return time.fromisoformat(text)
    if old == "binary":
        return text.encode()
    if old not in _MOMENTS:
        raise ValueError("no other spelling")
    moment = datetime.fromisoformat(text)
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if old == "timestamptz":
        return aware
    if old == "date" and aware.timetz() != time(tzinfo=UTC):
        raise ValueError("not a day")
    return aware.date() if old == "date" else aware.replace(tzinfo=None)


def _cast_exactly(column: pa.Array, target: pa.DataType) -> pa.Array:
    """Arrow's cast, where casting back gives the same again."""
    result = _cast(column, target)
    if not _cast(result, column.type).equals(column):
        raise ValueError("a value would not come back as it is")
    return result


def _cast(column: pa.Array, target: pa.DataType) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_integer(column.type) and pa.types.is_decimal(target):  # Arrow wants room for any integer
        column = pc.cast(column, pa.decimal256(76, target.scale))
    if pa.types.is_floating(column.type) and pa.types.is_decimal(target):
        exact = [None if cell is None else Decimal(repr(cell)) for cell in column.to_pylist()]
        return pa.array([None if d is None else round(d, target.scale) for d in exact], target)
    if pa.types.is_decimal(column.type) and pa.types.is_floating(target):  # Arrow's own is off in the last digit
        return pa.array([None if d is None else float(d) for d in column.to_pylist()], target)
    return pc.cast(column, target)


def _is_sure(old: str, new: str, cell: pa.Scalar) -> bool:
    """Whether only one value of `old` becomes this cell, in any system."""
    decimal = decimal_of(old)
    if new == "null":
        return False
    if old == "null" or not cell.is_valid:
        return True
    if new in TEXTUAL:  # a float's text may have fewer digits than the float
        return old in _INTEGERS or old == "bool" or decimal is not None or old in _MOMENTS
    if old in _INTEGERS and new in FLOATS:
        return bool(abs(cell.as_py()) < _WHOLE[new])
    if old in _INTEGERS or old == "bool":
        return new in _INTEGERS or (decimal_of(new) or (0, -1))[1] >= 0
    if decimal is not None:
        return new == "float64" and decimal[0] <= _SURE_DIGITS
    return (old, new) == ("date", "timestamp")


def _is_impossible(old: str, new: str, cell: pa.Scalar) -> bool:
    """Whether no value of `old` becomes this cell, in any system: more than that it could not be brought back."""
    if old == "null":
        return True
    if new in TEXTUAL:
        return _is_impossible_text(old, str(cell.as_py()).strip().lower())
    if (old, new) == ("date", "timestamp"):
        return bool(cell.value % _DAY)
    is_number = new in _INTEGERS or new in FLOATS or decimal_of(new) is not None
    if not is_number or (old not in _INTEGERS and old != "bool"):
        return False
    number = cell.as_py()
    return bool(number % 1) or (old == "bool" and number not in (0, 1))  # NaN is no whole number either


def _is_impossible_text(old: str, text: str) -> bool:
    if old == "bool":
        return text not in _TRUTHS
    if old in _MOMENTS:
        return not any(letter.isdigit() for letter in text) and "inf" not in text
    if old not in _INTEGERS and old not in FLOATS and decimal_of(old) is None:
        return False
    try:
        number = Decimal(text)
    except ArithmeticError:
        return True
    return old in _INTEGERS and number.is_finite() and bool(number % 1)
