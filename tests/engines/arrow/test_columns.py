"""`mkpipe_id` is what Spark computes; the vectors were taken from Spark itself, session zone UTC."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engines.arrow.columns import content_ids, with_added
from penstock.engines.arrow.text import to_spark_text
from penstock.errors import ConfigError
from penstock.values import Shape, TableSchema
from tests.engines.arrow.pipes import rows_of

MASK = (1 << 64) - 1
P1, P2, P3, P4, P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)


def reference_xxh64(text: bytes, seed: int) -> int:
    """XXH64 as its specification words it, one byte string at a time."""

    def rotl(value: int, bits: int) -> int:
        return ((value << bits) | (value >> (64 - bits))) & MASK

    def step(acc: int, lane: int) -> int:
        return rotl((acc + lane * P2) & MASK, 31) * P1 & MASK

    rest = text
    if len(text) >= 32:
        accs = [(seed + P1 + P2) & MASK, (seed + P2) & MASK, seed, (seed - P1) & MASK]
        while len(rest) >= 32:
            accs = [step(acc, int.from_bytes(rest[8 * i : 8 * i + 8], "little")) for i, acc in enumerate(accs)]
            rest = rest[32:]
        total = sum(rotl(acc, bits) for acc, bits in zip(accs, (1, 7, 12, 18), strict=True)) & MASK
        for acc in accs:
            total = ((total ^ step(0, acc)) * P1 + P4) & MASK
    else:
        total = (seed + P5) & MASK
    total = (total + len(text)) & MASK
    while len(rest) >= 8:
        total = (rotl(total ^ step(0, int.from_bytes(rest[:8], "little")), 27) * P1 + P4) & MASK
        rest = rest[8:]
    if len(rest) >= 4:
        total = (rotl(total ^ (int.from_bytes(rest[:4], "little") * P1 & MASK), 23) * P2 + P3) & MASK
        rest = rest[4:]
    for byte in rest:
        total = rotl(total ^ (byte * P5 & MASK), 11) * P1 & MASK
    total = ((total ^ (total >> 33)) * P2) & MASK
    total = ((total ^ (total >> 29)) * P3) & MASK
    return total ^ (total >> 32)


def ids_of(*columns: pa.Array) -> list[int]:
    names = [f"c{number}" for number in range(len(columns))]
    found: list[int] = content_ids(pa.RecordBatch.from_arrays(list(columns), names=names), names).to_pylist()
    return found


def one(value: object, kind: pa.DataType | None = None) -> pa.Array:
    return pa.array([value], kind or pa.string())


@pytest.mark.feature("M6")
@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([one(""), one("a")], 1979481744154050945),
        ([one(None), one("a")], 1979481744154050945),
        ([one("ab"), one("c")], -1301481789560085859),
        ([one("a"), one("bc")], 714843003905237701),
        ([one("abc")], 1423657621850124518),
        ([one(b"abc", pa.binary())], 1423657621850124518),
        ([one("abc", pa.large_string())], 1423657621850124518),
        ([one("abc", pa.string_view())], 1423657621850124518),
        ([one("abc").dictionary_encode()], 1423657621850124518),
        ([one(1, pa.int32())], -928762887014768240),
        ([one(1, pa.int64()), one("abc")], -6411935762132054400),
        ([one(1.5, pa.float64())], 3258831802764358886),
        ([one(1e10, pa.float64())], 3765150541361790043),
        ([one(Decimal("12.30"), pa.decimal128(10, 2))], -8010573365267961004),
        ([one(True, pa.bool_())], 6088520763082456498),
        ([one(dt.datetime(2024, 1, 2, 3, 4, 5), pa.timestamp("us"))], -7362171992639648911),
        ([one(dt.datetime(2024, 1, 2, 3, 4, 5, 678900), pa.timestamp("us", "UTC"))], 9009921080126517608),
        ([one(dt.date(2024, 1, 2), pa.date32())], -6025462362332713156),
    ],
)
def test_ids_equal_those_spark_computed(columns: list[pa.Array], expected: int) -> None:
    assert ids_of(*columns) == [expected]


@pytest.mark.feature("M6")
@given(st.lists(st.tuples(st.one_of(st.none(), st.text(max_size=80)), st.one_of(st.none(), st.text(max_size=9)))))
def test_a_column_at_a_time_gives_what_the_specification_gives_one_by_one(
    rows: list[tuple[str | None, str | None]],
) -> None:
    first, second = pa.array([a for a, _ in rows], pa.string()), pa.array([b for _, b in rows], pa.large_string())
    chained = [reference_xxh64((b or "").encode(), reference_xxh64((a or "").encode(), 42)) for a, b in rows]
    assert [found & MASK for found in ids_of(first, second)] == chained


@given(st.lists(st.binary(max_size=300), min_size=3), st.integers(0, 2))
def test_a_slice_hashes_like_its_rows(cells: list[bytes], start: int) -> None:
    assert ids_of(pa.array(cells, pa.binary()))[start:] == ids_of(pa.array(cells, pa.binary()).slice(start))


def test_cells_too_long_to_vectorise_hash_like_all_others() -> None:
    cells = [b"x" * 5_000, bytes(range(256)) * 40, b"short", b"y" * 4_127]
    assert [i & MASK for i in ids_of(pa.array(cells))] == [reference_xxh64(cell, 42) for cell in cells]


def test_no_rows_give_no_ids() -> None:
    assert ids_of(pa.array([], pa.string())) == []
    assert ids_of(pa.array([], pa.int32()), pa.array([], pa.float64())) == []


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (pa.float64(), 0.001, "0.001"),
        (pa.float64(), 0.00099, "9.9E-4"),
        (pa.float64(), 9999999.0, "9999999.0"),
        (pa.float64(), 1e7, "1.0E7"),
        (pa.float64(), -1.25e-300, "-1.25E-300"),
        (pa.float64(), 1.7976931348623157e308, "1.7976931348623157E308"),
        (pa.float64(), 0.0, "0.0"),
        (pa.float64(), -0.0, "-0.0"),
        (pa.float64(), 123456.789, "123456.789"),
        (pa.float64(), float("nan"), "NaN"),
        (pa.float64(), float("-inf"), "-Infinity"),
        (pa.float32(), 0.1, "0.1"),
        (pa.float32(), 16777216.0, "1.6777216E7"),
        (pa.decimal128(20, 10), Decimal("0.0000000001"), "0.0000000001"),
        (pa.decimal128(20, 10), Decimal("-5"), "-5.0000000000"),
        (pa.decimal256(50, 0), Decimal(10) ** 45, "1" + "0" * 45),
        (pa.timestamp("us"), dt.datetime(1960, 1, 1, 0, 0, 0, 100), "1960-01-01 00:00:00.0001"),
        (pa.timestamp("ns"), dt.datetime(2024, 5, 6, 10, 20, 30), "2024-05-06 10:20:30"),
        (pa.timestamp("us", "America/New_York"), dt.datetime(2024, 5, 6, 10, 20, 30), "2024-05-06 10:20:30"),
        (pa.int64(), -5, "-5"),
        (pa.time64("us"), dt.time(10, 20, 0, 500000), "10:20:00.5"),
        (pa.uint64(), 2**64 - 1, "18446744073709551615"),
        (pa.bool_(), False, "false"),
        (pa.list_(pa.int32()), [1, None, 3], "[1, null, 3]"),
        (pa.list_(pa.int32()), [], "[]"),
        (pa.struct([("a", pa.int32()), ("b", pa.string())]), {"a": 1, "b": None}, "{1, null}"),
        (pa.string(), " as it is ", " as it is "),
    ],
)
def test_values_are_written_as_spark_casts_them(kind: pa.DataType, value: object, text: str) -> None:
    column = pa.array([None, value, None], kind)
    assert to_spark_text(column, "c").to_pylist() == [None, text, None]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_doubles_are_read_back_as_they_were(values: list[float]) -> None:
    assert [float(text) for text in to_spark_text(pa.array(values), "c").to_pylist()] == values


def test_years_past_9999_carry_a_plus_sign() -> None:
    days = pa.array([2932896, 2932897], pa.int32()).cast(pa.date32())
    assert to_spark_text(days, "c").to_pylist() == ["9999-12-31", "+10000-01-01"]


def test_an_interval_has_no_text_and_is_refused_by_name() -> None:
    column = pa.array([pa.MonthDayNano([1, 2, 3])])
    with pytest.raises(ConfigError, match="'i'"):
        content_ids(pa.RecordBatch.from_arrays([column], names=["i"]), ["i"])


def test_a_dedup_column_that_is_not_there_is_an_error_naming_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"(?s)'nme'.*name, age"):
        content_ids(rows_of(name=["a"], age=[1]), ["nme"])


@pytest.mark.feature("M6")
def test_added_columns_keep_their_configured_case_while_the_others_are_renamed() -> None:
    moment = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    shape = Shape(
        TableSchema(()),
        dedup_columns=("name",),
        id_column="RowId",
        ingested_at=("Loaded_At", moment),
        renames={"name": "NAME"},
    )
    added = with_added(rows_of(name=["abc"], Loaded_At=["old"]), shape)
    assert added.to_pylist() == [{"NAME": "abc", "RowId": 1423657621850124518, "Loaded_At": moment}]
