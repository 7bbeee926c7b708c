"""Rows at the edge are recognised after their columns changed, or it is said that they may not have been."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penstock.loading.boundary import BoundaryFilter
from penstock.loading.digest import digest_kind
from penstock.loading.recall import Recall
from penstock.schema.texts import to_text
from penstock.schema.types import from_arrow_type, to_arrow_type
from penstock.values import Batch, Boundary, BoundaryRule, Cursor, StreamName

EDGE = Cursor("int", 6)


def rows_of(**columns: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def types_of(rows: pa.RecordBatch, **spelled: str) -> dict[str, str]:
    return {field.name: spelled.get(field.name) or from_arrow_type(field.type) for field in rows.schema}


def read_again(
    before: pa.RecordBatch, now: pa.RecordBatch, old: str | None = None, new: str | None = None
) -> tuple[list[int], tuple[str, ...]]:
    """Ids that a second read at the edge delivers, and the columns that leave its rows in doubt."""
    then = {} if old is None else {"v": old}
    first = BoundaryFilter(BoundaryRule(types=types_of(before, **then)))
    first.filter(Batch(StreamName("s"), before, before.column("c")))
    spelled = {} if new is None else {"v": new}
    rule = BoundaryRule(first.collected(), lower=EDGE, types=types_of(now, **spelled), reached=EDGE)
    second = BoundaryFilter(rule)
    kept = second.filter(Batch(StreamName("s"), now, now.column("c")))
    assert second.collected().types == types_of(now, **spelled)
    return kept.rows.column("id").to_pylist(), second.unrecognised()


def edge_of(values: pa.Array, first_id: int = 1, cursor: int = 6) -> pa.RecordBatch:
    ids = pa.array(range(first_id, first_id + len(values)), pa.int64())
    return rows_of(id=ids, c=pa.array([cursor] * len(values), pa.int64()), v=values)


@dataclass(frozen=True)
class Change:
    old: str
    new: str
    before: Sequence[object]
    now: Sequence[object]
    """The values of before, and one more."""


DAY = dt.date(2024, 1, 2)
NOON = dt.datetime(2024, 1, 2, 12)
CHANGES = [
    Change("float64", "string", [2.25, float("inf"), None], ["2.250", "inf", None, "n/a"]),
    Change("float32", "string", [0.1, 1e20], ["0.1", "1e+20", "0.2"]),
    Change("int64", "string", [2, -3], ["2", "-3.0", "x"]),
    Change("int16", "numeric", [2, 300], ["2", "3e2", "NaN"]),
    Change("decimal(9,2)", "numeric", [Decimal("1.50"), Decimal(2)], ["1.5", "2.0000", "1.505"]),
    Change("decimal(50,2)", "string", [Decimal("1.50")], ["1.50", "x"]),
    Change("bool", "string", [True, False], ["TRUE", "0", "2"]),
    Change("bool", "int64", [True, False], [1, 0, 2]),
    Change("date", "string", [DAY], ["2024-01-02 00:00:00", "2024-01-03"]),
    Change("date", "timestamp", [DAY], [dt.datetime(2024, 1, 2), NOON]),
    Change("timestamp", "date", [dt.datetime(2024, 1, 2)], [DAY, dt.date(2024, 1, 3)]),
    Change("timestamp", "string", [NOON, NOON], ["2024-01-02T12:00:00Z", "2024-01-02 12:00", "noon"]),
    Change("timestamp", "timestamptz", [NOON], [NOON.replace(tzinfo=dt.UTC), None]),
    Change("timestamptz", "string", [NOON.replace(tzinfo=dt.UTC)], ["2024-01-02 14:00:00+02", "noon"]),
    Change("time", "string", [dt.time(10), dt.time(10, 0, 1)], ["10:00", "10:00:01", "ten"]),
    Change("int64", "float64", [2, None], [2.0, None, 2.5]),
    Change("int32", "decimal(12,3)", [2], [Decimal("2.000"), Decimal("2.001")]),
    Change("decimal(9,2)", "float64", [Decimal("1.10")], [1.1, 1.111]),
    Change("decimal(10,2)", "float64", [Decimal("6.10")], [6.1, 6.2]),
    Change("float64", "decimal(9,2)", [1.5], [Decimal("1.50"), Decimal("1.51")]),
    Change("float64", "int64", [3.0], [3, 4]),
    Change("float64", "float32", [0.5], [0.5, 0.25]),
    Change("decimal(9,2)", "decimal(9,1)", [Decimal("1.50")], [Decimal("1.5"), Decimal("1.6")]),
    Change("string", "int64", ["2"], [2, 3]),
    Change("string", "float64", ["2.5"], [2.5, 3.5]),
    Change("string", "json", ["a", "5"], ['"a"', '"5"', "5"]),
    Change("json", "string", ['"a"', '{"b": 1}'], ["a", '{"b": 1}', "c"]),
    Change("int64", "json", [5], ["5", "[5]"]),
    Change("numeric", "string", ["1.50"], ["1.50", "x"]),
    Change("binary", "string", [b"abcd", b"a-c"], ["YWJjZA==", "a-c", "x"]),
    Change("null", "int64", [None], [None, 5]),
    Change("list<int32>", "list<int64>", [[1, 2]], [[1, 2], [3]]),
]


@pytest.mark.feature("M3")
@pytest.mark.parametrize("change", CHANGES, ids=lambda c: f"{c.old} to {c.new}")
def test_rows_come_back_from_the_new_type_and_another_one_is_delivered(change: Change) -> None:
    before = edge_of(pa.array(change.before, to_arrow_type(change.old)))
    now = edge_of(pa.array(change.now, to_arrow_type(change.new)))
    assert read_again(before, now, change.old, change.new) == ([len(change.now)], ())


LOSSES = [
    Change("float64", "int64", [2.25], [2]),
    Change("float64", "decimal(9,1)", [2.25], [Decimal("2.3")]),
    Change("float64", "string", [0.1 + 0.2], ["0.3"]),
    Change("float64", "float32", [0.1], [0.1]),
    Change("int64", "float64", [2**53 + 1], [2.0**53]),
    Change("int64", "float64", [2**63 - 1], [2.0**63]),
    Change("decimal(9,2)", "decimal(9,1)", [Decimal("1.25")], [Decimal("1.3")]),
    Change("decimal(20,2)", "float64", [Decimal("123456789012345678.25")], [123456789012345678.25]),
    Change("timestamp", "date", [NOON], [DAY]),
    Change("timestamp", "string", [NOON], ["02.01.2024 12:00"]),
    Change("interval", "string", [pa.MonthDayNano([1, 2, 3])], ["1 month 2 days"]),
    Change("string", "float64", ["2.50"], [2.5]),
    Change("string", "int64", ["007"], [7]),
    Change("list<int32>", "string", [[1]], ["[1]"]),
    Change("int64", "null", [2], [None]),
]


@pytest.mark.feature("M3")
@pytest.mark.parametrize("change", LOSSES, ids=lambda c: f"{c.old} to {c.new}")
def test_a_row_that_may_have_been_delivered_in_another_spelling_is_told(change: Change) -> None:
    before = edge_of(pa.array(change.before, to_arrow_type(change.old)))
    now = edge_of(pa.array(change.now, to_arrow_type(change.new)))
    assert read_again(before, now, change.old, change.new) == ([1], ("v",))


@pytest.mark.parametrize("change", LOSSES, ids=lambda c: f"{c.old} to {c.new}")
def test_rows_past_the_last_cursor_leave_nothing_in_doubt(change: Change) -> None:
    before = edge_of(pa.array(change.before, to_arrow_type(change.old)))
    now = edge_of(pa.array(change.now, to_arrow_type(change.new)), cursor=7)
    assert read_again(before, now, change.old, change.new) == ([1], ())


def test_a_cursor_that_was_a_float_is_no_reason_to_pass_over_the_edge() -> None:
    before = rows_of(id=pa.array([1]), c=pa.array([6.1]))
    now = rows_of(id=pa.array([1, 2]), c=pa.array([Decimal("6.10"), Decimal("6.10")]))
    reached = Cursor("decimal", Decimal.from_float(6.1))
    rule = BoundaryRule(_known(before), lower=reached, types=types_of(now), reached=reached)
    kept = BoundaryFilter(rule).filter(Batch(StreamName("s"), now, now.column("c")))
    assert kept.rows.column("id").to_pylist() == [2]


def test_a_row_with_a_cell_that_no_old_row_can_have_is_not_in_doubt_whatever_else_is_gone() -> None:
    gone = edge_of(pa.array([2, 3], pa.int64()))
    assert read_again(gone, edge_of(pa.array(["n/a", "2.5"]))) == ([1, 2], ())


def test_a_dropped_column_is_told_where_rows_at_the_edge_are_not_found_again() -> None:
    before = edge_of(pa.array([1, None], pa.int64()))
    assert read_again(before, before.drop_columns(["v"])) == ([1], ("v",))
    assert read_again(before.slice(1), before.drop_columns(["v"]).slice(1)) == ([], ())


def test_a_new_column_is_left_out_of_what_was_delivered() -> None:
    now = edge_of(pa.array(["x", None, "x"]))
    before = now.drop_columns(["v"]).slice(0, 2)
    assert read_again(before, now) == ([3], ())


def test_a_row_that_stood_in_for_a_delivered_one_is_told_once_the_other_comes() -> None:
    now = rows_of(id=pa.array([1, 1]), c=pa.array([6, 6]), v=pa.array(["x", None]))
    before = now.drop_columns(["v"]).slice(0, 1)
    assert read_again(before, now) == ([1], ("v",))
    assert read_again(before, now.take(pa.array([1, 0]))) == ([1], ())


def test_other_columns_without_one_in_common_are_told() -> None:
    before = rows_of(id=pa.array([1]), c=pa.array([6]))
    now = rows_of(b=pa.array([1]))
    second = BoundaryFilter(BoundaryRule(_known(before), lower=EDGE, types=types_of(now), reached=EDGE))
    assert second.filter(Batch(StreamName("s"), now, pa.array([6]))).rows.num_rows == 1
    assert second.unrecognised() == ("c", "id")


def _known(before: pa.RecordBatch) -> Boundary:
    first = BoundaryFilter(BoundaryRule(types=types_of(before)))
    first.filter(Batch(StreamName("s"), before, before.column("c")))
    return first.collected()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"v": "string"}),
        ({"v": "int16"}, {"v": "uint64"}),
        ({"v": "float32"}, {"v": "float64"}),
        ({"v": "decimal(9,2)"}, {"v": "decimal(38,9)"}),
        ({"v": "uuid"}, {"v": "string"}),
        ({"v": "struct<a: int32>"}, {"v": "struct<a: int64>"}),
    ],
)
def test_what_changes_no_digest_needs_no_recall(old: dict[str, str], new: dict[str, str]) -> None:
    assert not Recall(old, new).is_needed


def test_the_kind_of_a_digest_tells_nested_types_apart() -> None:
    assert digest_kind("list<int32>") == digest_kind("list<uint8>") != digest_kind("list<string>")
    assert digest_kind("struct<a: int32>") != digest_kind("struct<b: int32>")


VALUES = {
    "int64": st.one_of(st.integers(-3, 3), st.integers(2**53, 2**53 + 3)),
    "float64": st.one_of(st.sampled_from([0.0, 0.5, 1.0, 2.25, 0.1 + 0.2, 1e20]), st.floats(allow_nan=False, width=32)),
    "decimal(20,3)": st.decimals(-9999, 9999, places=3),
    "bool": st.booleans(),
    "date": st.dates(dt.date(1999, 12, 30), dt.date(2000, 1, 2)),
    "timestamp": st.datetimes(dt.datetime(1999, 12, 31), dt.datetime(2000, 1, 1)),
    "string": st.sampled_from(["", "0", "1", "01", "1.0", "2.25", "true", "2000-01-01", "x"]),
}


def changed(column: pa.Array, old: str, new: str) -> pa.Array:
    """As a system changes a column's type; unlike Arrow's default it may round."""
    if new == "string":
        return to_text(column, old)
    try:
        return pc.cast(column, to_arrow_type(new), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        assume(False)
        raise


@pytest.mark.feature("M3")
@given(st.data())
def test_whatever_becomes_of_a_column_each_row_comes_once_or_the_doubt_is_told(data: st.DataObject) -> None:
    old, new = data.draw(st.sampled_from(list(VALUES))), data.draw(st.sampled_from(list(VALUES)))
    cells = data.draw(st.lists(st.one_of(st.none(), VALUES[old]), min_size=1, max_size=6))
    before = edge_of(pa.array(cells, to_arrow_type(old)))
    left = data.draw(st.lists(st.booleans(), min_size=len(cells), max_size=len(cells)))
    stayed = edge_of(changed(before.column("v"), old, new)).filter(pa.array(left))
    fresh = data.draw(st.lists(st.one_of(st.none(), VALUES[new]), max_size=6))
    added = edge_of(pa.array(fresh, to_arrow_type(new)), first_id=100)
    table = pa.Table.from_batches([stayed, added]).combine_chunks()
    shuffled = table.take(data.draw(st.permutations(range(table.num_rows)))) if table.num_rows else table
    what = data.draw(st.sampled_from(["retyped", "dropped", "renamed", "added"]))
    if what in ("dropped", "renamed"):
        shuffled = shuffled.drop_columns(["v"]) if what == "dropped" else shuffled.rename_columns(["id", "c", "w"])
    (now,) = shuffled.to_batches() or [pa.RecordBatch.from_pylist([], shuffled.schema)]
    then = before.drop_columns(["v"]) if what == "added" else before
    delivered, in_doubt = read_again(then, now)
    expected = Counter(range(100, 100 + len(fresh)))
    assert Counter(delivered) == expected or in_doubt
    assert set(expected) <= set(delivered), "a row was lost"
    if all(left) and what in ("retyped", "added") and (what == "added" or _is_lossless(before.column("v"), old, new)):
        assert not in_doubt


def _is_lossless(column: pa.Array, old: str, new: str) -> bool:
    """Whether Arrow itself brings the values back, so that nobody has a reason to doubt."""
    try:
        back = pc.cast(pc.cast(column, to_arrow_type(new)), to_arrow_type(old))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return bool(back.equals(column))
