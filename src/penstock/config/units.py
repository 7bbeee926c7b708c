"""Durations ("90s", "15m"), sizes ("96MB") and look-backs as people write them."""

from __future__ import annotations

import math
import re
import sys
from typing import Literal, TypeAlias

Lookback: TypeAlias = "float | Literal['all']"

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_DURATION = re.compile(rf"{_NUMBER}\s*(ms|s|m|h|d|w)")
_SIZE = re.compile(rf"{_NUMBER}\s*(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB|k|K|M|G|T)")
_PLAIN = re.compile(_NUMBER)
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
# The powers of two everybody means when a budget for memory is written as MB.
_POWERS = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4}

DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h|d|w)?$"
SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)? ?(B|[kKMGT]i?B?)?$"


def parse_duration(value: str | float) -> float:
    """Seconds. A number without a unit is seconds. Raises ValueError for anything else, and for a negative one."""
    number = _plain_number(value)
    if number is not None:
        return number
    match = _DURATION.fullmatch(str(value).strip())
    if match is None:
        raise ValueError("a duration is a number with a unit: 500ms, 60s, 15m, 2h, 1d, 1w")
    return float(match[1]) * SECONDS[match[2]]


def parse_size(value: str | float) -> int:
    """Bytes; 1 kB is 1024. A number without a unit is bytes. Raises ValueError for anything else."""
    number = _plain_number(value)
    if number is not None:
        return int(number)
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError("a size is a number with a unit: 512kB, 96MB, 2GB")
    return int(float(match[1]) * 1024 ** _POWERS[match[2][0].lower()])


def parse_lookback(value: str | float) -> Lookback:
    """`all`, seconds for a number with a unit, else the number itself in the cursor's own units."""
    if value == "all":
        return "all"
    try:
        return parse_duration(value)
    except ValueError:
        raise ValueError("a look-back is a duration (30m, 1h, 2d), a number in the cursor's units, or all") from None


def has_unit(value: object) -> bool:
    """Whether a look-back was written as a duration, so that only a time cursor can take it."""
    return isinstance(value, str) and _DURATION.fullmatch(value.strip()) is not None


def seconds_to_days(seconds: float) -> float:
    """Whole days, never less than was asked for."""
    return float(math.ceil(seconds / SECONDS["d"]))


def _plain_number(value: object) -> float | None:
    if isinstance(value, bool):
        raise ValueError("expected a number, found true or false")
    if isinstance(value, str) and _PLAIN.fullmatch(value.strip()):
        value = float(value)
    if not isinstance(value, int | float):
        return None
    if not 0 <= value <= sys.float_info.max:
        raise ValueError("expected a number that is not negative, and not beyond all bounds")
    return float(value)
