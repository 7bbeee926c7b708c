"""Intervals as ISO 8601 text and back: neither Parquet, CSV nor JSON has a type for months, days and nanoseconds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_NANOS = 1_000_000_000
_FORM = re.compile(
    r"P(?:(?P<years>-?\d+)Y)?(?:(?P<months>-?\d+)M)?(?:(?P<weeks>-?\d+)W)?(?:(?P<days>-?\d+)D)?"
    r"(?:T(?:(?P<hours>-?\d+)H)?(?:(?P<minutes>-?\d+)M)?(?:(?P<sign>-?)(?P<seconds>\d+)(?:\.(?P<fraction>\d{1,9}))?S)?)?"
)


def to_iso(months: int, days: int, nanoseconds: int) -> str:
    """`P14M3DT4.5S`: months, days and seconds are kept apart, each with its own sign."""
    seconds, fraction = divmod(abs(nanoseconds), _NANOS)
    tail = f".{fraction:09d}".rstrip("0") if fraction else ""
    sign = "-" if nanoseconds < 0 else ""
    return f"P{months}M{days}DT{sign}{seconds}{tail}S"


def from_iso(text: str) -> tuple[int, int, int]:
    """(months, days, nanoseconds). Raises ValueError for anything else."""
    match = _FORM.fullmatch(text)
    if match is None or text in ("P", "PT") or text.endswith("T"):
        raise ValueError("not an ISO 8601 duration")
    part = {name: int(value) for name, value in match.groupdict().items() if value and name not in ("sign", "fraction")}
    seconds = part.get("seconds", 0) * _NANOS + int((match["fraction"] or "").ljust(9, "0"))
    seconds = -seconds if match["sign"] == "-" else seconds
    nanoseconds = (part.get("hours", 0) * 3600 + part.get("minutes", 0) * 60) * _NANOS + seconds
    return (
        part.get("years", 0) * 12 + part.get("months", 0),
        part.get("weeks", 0) * 7 + part.get("days", 0),
        nanoseconds,
    )


def to_texts(column: pa.Array) -> pa.Array:
    """Intervals as text, NULL as NULL."""
    import pyarrow as pa

    return pa.array([None if v is None else to_iso(*v) for v in column.to_pylist()], pa.string())


def from_texts(column: pa.Array) -> pa.Array:
    """Raises ValueError where a text is not an interval."""
    import pyarrow as pa

    values = [None if t is None else pa.MonthDayNano(from_iso(t)) for t in column.to_pylist()]
    return pa.array(values, pa.month_day_nano_interval())
