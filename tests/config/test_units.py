"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.units import parse_duration, parse_lookback, parse_size

DURATIONS = [("500ms", 0.5), ("60s", 60.0), ("15m", 900.0), ("1.5h", 5400.0), ("2 d", 172_800.0), ("1w", 604_800.0)]
SIZES = [
    ("96MB", 96 << 20),
    ("1.5GB", 1536 << 20),
    ("512 kB", 512 << 10),
    ("2GiB", 2 << 30),
    ("7B", 7),
    ("1T", 1 << 40),
]
NONE = ["", "h", "1y", "-5s", "1h30m", "96 XB", "1e3s", "٣s", "nan", "inf", "--", "1 h h"]


@pytest.mark.parametrize(("written", "seconds"), DURATIONS)
def test_a_duration_becomes_seconds(written: str, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(("written", "size_bytes"), SIZES)
def test_a_size_becomes_bytes(written: str, size_bytes: int) -> None:
    assert parse_size(written) == size_bytes


@pytest.mark.parametrize("written", NONE)
def test_what_is_no_amount_is_refused(written: str) -> None:
    for parse in (parse_duration, parse_size, parse_lookback):
        with pytest.raises(ValueError, match=r"a number|a look-back"):
            parse(written)


@given(st.floats(min_value=0, max_value=1e12))
def test_a_plain_number_is_itself(number: float) -> None:
    assert parse_duration(number) == number
    assert parse_lookback(number) == number
    assert parse_size(number) == int(number)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1, True])
def test_a_number_that_is_no_amount_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="expected a number"):
        parse_duration(number)
