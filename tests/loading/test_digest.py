"""Digests over typed values: of rows at a boundary, and of whole tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.loading.digest import TableDigest, digest_algorithm, is_comparable, row_digests

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "n": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
            "t": st.one_of(st.none(), st.text(max_size=5)),
            "f": st.one_of(st.none(), st.floats()),
        }
    ),
    max_size=20,
)
SCHEMA = pa.schema([("n", pa.int64()), ("t", pa.string()), ("f", pa.float64())])


def batch(rows: Sequence[dict[str, object]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=SCHEMA)


def table_digest(*batches: pa.RecordBatch) -> str:
    digest = TableDigest()
    for rows in batches:
        digest.add(rows)
    return str(digest)


def column(kind: pa.DataType, *values: object) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(values, kind)], names=["c"])


def row_digest(kind: pa.DataType, value: object, name: str = "c") -> str:
    rows = pa.RecordBatch.from_arrays([pa.array([value], kind), pa.array([1])], names=[name, "k"])
    (digest,) = row_digests(rows)
    return digest


@given(ROWS, st.data())
def test_order_of_rows_and_cuts_into_batches_do_not_matter(rows: list[dict[str, object]], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    assert table_digest(batch(shuffled[:cut]), batch(shuffled[cut:])) == table_digest(batch(rows))
    one, other = TableDigest(), TableDigest()
    one.add(batch(shuffled[:cut]))
    other.add(batch(shuffled[cut:]))
    one.combine(other)
    assert str(one) == table_digest(batch(rows))


def test_rows_that_waited_for_each_other_count_as_those_hashed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [batch([{"n": n, "t": "a" * n, "f": n / 3}]) for n in range(9)]
    together = table_digest(*batches)
    for size in (1, 40, 100):
        monkeypatch.setattr("penstock.loading.digest._BYTES_AT_ONCE", size)
        assert table_digest(*batches) == together


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([{"n": 1, "t": "a"}, {"n": 2, "t": "b"}], [{"n": 1, "t": "b"}, {"n": 2, "t": "a"}]),
        ([{"n": None, "t": ""}], [{"n": None, "t": None}]),
        ([{"n": 0, "t": None}], [{"n": None, "t": None}]),
        ([{"n": 1}], [{"n": 1}, {"n": 1}]),
        ([{"n": 1}, {"n": 1}], [{"n": 2}, {"n": 0}]),
        ([{"n": 0}], []),
        ([{"n": None, "t": None, "f": None}], []),
        ([{"f": 0.1}], [{"f": 0.1 + 2**-56}]),
    ],
)
def test_tables_that_differ_have_different_digests(
    one: list[dict[str, object]], other: list[dict[str, object]]
) -> None:
    assert table_digest(batch(one)) != table_digest(batch(other))


def test_values_moved_to_the_other_column_are_noticed() -> None:
    names = ["a", "b"]
    left = pa.RecordBatch.from_arrays([pa.array([1, 2]), pa.array([2, 1])], names=names)
    right = pa.RecordBatch.from_arrays([pa.array([1, 1]), pa.array([2, 2])], names=names)
    assert table_digest(left) != table_digest(right)


def test_all_nans_are_one_value_and_so_are_both_zeros() -> None:
    assert table_digest(column(pa.float64(), float("nan"))) == table_digest(column(pa.float64(), -float("nan")))
    assert table_digest(column(pa.float64(), 0.0)) == table_digest(column(pa.float64(), -0.0))
    assert row_digest(pa.float64(), 0.0) == row_digest(pa.float64(), -0.0)
    assert row_digest(pa.float64(), float("nan")) == row_digest(pa.float64(), -float("nan"))


def test_column_names_may_be_anything_and_repeat() -> None:
    strange = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=['a"b; drop table', ""])
    assert table_digest(strange).startswith(digest_algorithm())


def test_wide_decimals_intervals_nulls_and_nested_values_are_digested() -> None:
    for kind, value in (
        (pa.decimal256(60, 2), Decimal("1.50")),
        (pa.month_day_nano_interval(), pa.MonthDayNano([1, 2, 3])),
        (pa.null(), None),
        (pa.list_(pa.int32()), [1, None]),
        (pa.struct([("a", pa.string())]), {"a": "x"}),
        (pa.time64("us"), dt.time(1, 2, 3)),
        (pa.timestamp("us", "UTC"), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
    ):
        assert table_digest(column(kind, value, None)) != table_digest(column(kind, None))


def test_the_text_names_the_algorithm_and_what_it_depends_on() -> None:
    text = table_digest(batch([{"n": 1}]))
    algorithm, _, digits = text.partition(":")
    assert algorithm == digest_algorithm()
    assert (len(digits), set(digits) <= set("0123456789abcdef")) == (80, True)
    assert is_comparable(text)
    assert not is_comparable("duckdb-hash-0.1:" + digits)


@given(ROWS)
def test_row_digests_tell_rows_apart_exactly_where_their_values_differ(rows: list[dict[str, object]]) -> None:
    def canonical(row: dict[str, object]) -> str:
        f = row["f"]
        return repr((row["n"], row["t"], f if f else (0.0 if f is not None else None)))

    digests = row_digests(batch(rows))
    assert len(set(digests)) == len({canonical(row) for row in rows})
    assert all(len(digest) == 32 for digest in digests)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((pa.int32(), 5), (pa.int64(), 5)),
        ((pa.string(), "x"), (pa.large_string(), "x")),
        ((pa.decimal128(10, 2), Decimal("1.50")), (pa.decimal128(20, 5), Decimal("1.5"))),
        ((pa.decimal128(10, 2), Decimal("0.00")), (pa.decimal128(10, 0), Decimal(0))),
        ((pa.timestamp("ms"), dt.datetime(2024, 1, 1)), (pa.timestamp("us"), dt.datetime(2024, 1, 1))),
        ((pa.timestamp("us", "UTC"), 5), (pa.timestamp("us", "America/New_York"), 5)),
    ],
)
def test_equal_values_of_other_width_have_equal_row_digests(
    one: tuple[pa.DataType, object], other: tuple[pa.DataType, object]
) -> None:
    assert row_digest(*one) == row_digest(*other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((pa.string(), ""), (pa.string(), None)),
        ((pa.string(), "1"), (pa.int64(), 1)),
        ((pa.string(), "x"), (pa.binary(), b"x")),
        ((pa.timestamp("us"), 5), (pa.timestamp("us", "UTC"), 5)),
        ((pa.bool_(), True), (pa.int64(), 1)),
        ((pa.decimal128(10, 2), Decimal(10)), (pa.decimal128(10, 2), Decimal(1))),
        ((pa.list_(pa.string()), ["a", "b"]), (pa.list_(pa.string()), ["ab"])),
    ],
)
def test_values_that_differ_in_kind_have_different_row_digests(
    one: tuple[pa.DataType, object], other: tuple[pa.DataType, object]
) -> None:
    assert row_digest(*one) != row_digest(*other)


def test_timestamps_past_the_year_9999_have_row_digests() -> None:
    assert row_digest(pa.timestamp("us"), 2**60) != row_digest(pa.timestamp("us"), 2**60 + 1)


def test_a_new_empty_column_and_another_column_order_change_no_row_digest() -> None:
    rows = pa.RecordBatch.from_arrays([pa.array([1]), pa.array(["a"])], names=["id", "name"])
    wider = pa.RecordBatch.from_arrays(
        [pa.array(["a"]), pa.array([None], pa.int32()), pa.array([1])], names=["name", "added", "id"]
    )
    assert row_digests(rows) == row_digests(wider)
    assert row_digest(pa.int64(), 5) != row_digest(pa.int64(), 5, name="d")
