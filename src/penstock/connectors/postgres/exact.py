"""Which texts a column type takes as they are, and which its input would cut, round or read in another zone."""

from __future__ import annotations

from penstock.connectors.postgres.identifiers import quote

_DAY = r"\d{4,6}-\d\d-\d\d"
_TIME = _DAY + r"[ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?"
_ZONE = r" ?(Z|[+-]\d\d(:?\d\d(:?\d\d)?)?)"
_BC = "( BC)?"


def _range(bound: str) -> str:
    bound = rf'("{bound}"|{bound}|-?infinity)?'
    return rf"^(empty|[\[(]{bound},{bound}[\])])$"


# Other texts than these must come out as they went in. A zone must not appear or vanish: '2024-05-06 07:08:09' read
# into a tstzrange is a moment that nobody named. Types that are not here take a text exactly, or refuse it themselves.
_AS_IT_IS = {
    "tsrange": _range(f"{_DAY}{_BC}|{_TIME}{_BC}"),
    "tstzrange": _range(_TIME + _ZONE + _BC),
    "daterange": _range(_DAY + _BC),
    "tsmultirange": None,
    "tstzmultirange": None,
    "datemultirange": None,
    "_tsrange": None,
    "_tstzrange": None,
    "_daterange": None,
    "timetz": r"^\d\d:\d\d(:\d\d(\.\d{1,6})?)?" + _ZONE + "$",
    "money": r"^-?\d+(\.\d{1,2})?$",
    "char": None,
}


def changed_text(column: str, typname: str, native: str) -> tuple[str, tuple[str, ...]]:
    """SQL that is true of a text which the type would change, and its parameters."""
    if typname not in _AS_IT_IS:
        return "false", ()
    cell, pattern = quote(column), _AS_IT_IS[typname]
    changed = f"{cell}::{native}::text IS DISTINCT FROM {cell}::text"
    return (changed, ()) if pattern is None else (f"({changed} AND {cell}::text !~ $1)", (pattern,))


__all__ = ["changed_text"]
