"""Types of text cells from a sample: the narrowest type that keeps every cell as it is written."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from penstock.schema.texts import BadCellError, from_text

if TYPE_CHECKING:
    import pyarrow as pa

_INTEGER = r"^-?(0|[1-9][0-9]*)$"
_NUMBER = r"^-?((0|[1-9][0-9]*)(\.[0-9]+)?|\.[0-9]+)([eE][+-]?[0-9]+)?$|^(NaN|nan|-?(Infinity|inf))$"
_PLAIN_DIGITS = 38
_HEAD_CELLS = 64
_FORMS = (
    (r"(?i)^(true|false)$", "bool"),
    (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "date"),
    (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?$", "timestamp"),
    (
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)$",
        "timestamptz",
    ),
    (r"^[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?$", "time"),
)


def guess_kind(texts: pa.Array) -> str:
    """The kind of one sample: `null` without any value; `exact int` is an int64 that a float64 could not hold."""
    import pyarrow.compute as pc

    present = pc.drop_null(texts)
    if not len(present):
        return "null"
    if _all_match(present, _INTEGER):
        return _guess_integer(present)
    if _all_match(present, _NUMBER):
        return "float64" if _reads_as(present, "float64") else "numeric"
    for form, kind in _FORMS:
        if _all_match(present, form) and _reads_as(present, kind):
            return kind
    return "string"


def _guess_integer(texts: pa.Array) -> str:
    import pyarrow.compute as pc

    if _reads_as(texts, "int64"):
        return "int64" if _reads_as(texts, "float64") else "exact int"
    return "big int" if pc.max(pc.utf8_length(texts)).as_py() <= _PLAIN_DIGITS else "numeric"


def _all_match(texts: pa.Array, form: str) -> bool:
    """A few cells are tried first: most forms that do not hold fail there."""
    import pyarrow.compute as pc

    parts = (texts.slice(0, _HEAD_CELLS), texts.slice(_HEAD_CELLS))
    return all(pc.all(pc.match_substring_regex(part, form)).as_py() for part in parts if len(part))


def _reads_as(texts: pa.Array, kind: str) -> bool:
    try:
        from_text(texts, kind, strict=True)
    except BadCellError:
        return False
    return True


def settle(guesses: Iterable[str], mixture: str = "string") -> str:
    """One type for all samples of a column; `mixture` where they do not go together."""
    kinds = set(guesses) - {"null"}
    if not kinds:
        return "string"
    if len(kinds) == 1:
        return _spell(kinds.pop())
    if kinds == {"int64", "exact int"}:
        return "int64"
    if kinds <= {"int64", "exact int", "big int"}:
        return "decimal(38,0)"
    if kinds == {"int64", "float64"}:
        return "float64"
    if _within(kinds, ("int64", "exact int", "big int", "float64", "numeric")):
        return "numeric"
    return "timestamp" if kinds == {"date", "timestamp"} else mixture


def _spell(kind: str) -> str:
    return {"exact int": "int64", "big int": "decimal(38,0)"}.get(kind, kind)


def _within(kinds: Collection[str], allowed: tuple[str, ...]) -> bool:
    return all(kind in allowed for kind in kinds)
