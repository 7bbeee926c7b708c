"""Every type comes back from every format as it went in."""

from __future__ import annotations

import datetime as dt
import math
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.schema.types import to_arrow_type
from penstock.values import Field, TableSchema
from tests.connectors.files.lake import Lake, table

pytestmark = pytest.mark.feature("M11r")
FORMATS: tuple[dict[str, Any], ...] = (
    {"format": "parquet"},
    {"format": "csv"},
    {"format": "csv", "delimiter": "|", "null_value": "\\N", "compression": "gzip"},
    {"format": "csv", "header": False, "compression": "zstd"},
    {"format": "jsonl"},
)
TRAPS = ["", "NULL", "\\N", "\\\\N", '"', '""', "a\nb", "a\r\nb", "\r", ",", "|", " ", "\t", "0123", "\ufeff", "\u2028"]
TEXT = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(TRAPS)
MICROSECONDS = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int8": st.integers(-128, 127),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "float32": st.floats(width=32),
    "float64": st.floats(),
    "decimal(12,2)": st.decimals(-(10**9), 10**9, places=2, allow_nan=False),
    "decimal(38,10)": st.decimals(-(10**27), 10**27, places=10, allow_nan=False),
    "decimal(60,20)": st.decimals(-(10**30), 10**30, places=20, allow_nan=False),
    "numeric": st.sampled_from(["NaN", "-Infinity", "1." + "0" * 50 + "1", "-12345678901234567890.5", "1e400", "0"]),
    "string": TEXT,
    "uuid": st.uuids().map(str),
    "json": st.sampled_from(['{"a": 1}', "[1,2]", '"x"', "null", "1.10", '{"b": "\\u0000"}']),
    "enum": TEXT,
    "binary": st.binary(max_size=8),
    "date": st.dates(),
    "time": st.times(),
    "timestamp": MICROSECONDS,
    "timestamptz": MICROSECONDS.map(lambda v: v.replace(tzinfo=dt.UTC)),
    "interval": st.tuples(st.integers(-1200, 1200), st.integers(-400, 400), st.integers(-(10**15), 10**15)).map(
        pa.MonthDayNano
    ),
}
NESTED: dict[str, st.SearchStrategy[Any]] = {
    "list<int64>": st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=3),
    "list<list<string>>": st.lists(st.lists(TEXT, max_size=2), max_size=2),
    "struct<a: int32, b: list<decimal(20,4)>, c: timestamp>": st.fixed_dictionaries(
        {
            "a": st.integers(-5, 5) | st.none(),
            "b": st.lists(st.decimals(-9999, 9999, places=4), max_size=2),
            "c": MICROSECONDS | st.none(),
        }
    ),
    "list<binary>": st.lists(st.binary(max_size=3), max_size=2),
    "list<float64>": st.lists(st.floats(allow_nan=False), max_size=2),
}


def same(left: Any, right: Any) -> bool:
    both_nan = isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right)
    return both_nan or (left == right and type(left) is type(right))


def check(kind: str, values: list[Any], extra: dict[str, Any]) -> None:
    """Beside a key, so that a NULL is never a line without a character, and alone, where it is."""
    for beside in (True, False):
        keys = (Field("id", "int64"),) if beside else ()
        schema = TableSchema((*keys, Field("v", kind)))
        columns = [list(range(len(values))), values] if beside else [values]
        with tempfile.TemporaryDirectory() as folder:
            lake = Lake(Path(folder) / "lake", extra)
            rows = table(schema, columns)
            lake.deliver(rows)
            assert lake.schema().field("v").type == kind
            found = [row["v"] for row in lake.read()]
        expected = pa.array(values, to_arrow_type(kind)).to_pylist()
        assert len(found) == len(expected)
        assert all(same(a, b) for a, b in zip(found, expected, strict=True)), (found, expected)


@pytest.mark.parametrize("extra", FORMATS, ids=str)
@pytest.mark.parametrize("kind", VALUES)
def test_every_scalar_type_comes_back_unchanged(kind: str, extra: dict[str, Any]) -> None:
    @settings(max_examples=5)
    @given(st.lists(VALUES[kind] | st.none(), min_size=1, max_size=6))
    def run(values: list[Any]) -> None:
        check(kind, values, extra)

    run()


@pytest.mark.parametrize("extra", FORMATS, ids=str)
@pytest.mark.parametrize("kind", NESTED)
def test_lists_and_structs_come_back_unchanged(kind: str, extra: dict[str, Any]) -> None:
    @settings(max_examples=5)
    @given(st.lists(NESTED[kind] | st.none(), min_size=1, max_size=4))
    def run(values: list[Any]) -> None:
        check(kind, values, extra)

    run()


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_the_extremes_of_dates_and_numbers_come_back(lake: Lake, kind: str) -> None:
    schema = TableSchema((Field("d", "date"), Field("t", "timestamptz"), Field("n", "decimal(38,38)")))
    last = dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC)
    rows = [
        (dt.date(1, 1, 1), dt.datetime(1, 1, 1, tzinfo=dt.UTC), Decimal("1E-38")),
        (dt.date(9999, 12, 31), last, Decimal("-0." + "9" * 38)),
    ]
    there = Lake(lake.root, {"format": kind})
    there.deliver(table(schema, list(zip(*rows, strict=True))))
    assert [tuple(row.values()) for row in there.read()] == rows
