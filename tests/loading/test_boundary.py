"""Rows at the edge of the last read are recognised by content, and the new edge is found."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ConfigError, ExtractionError
from penstock.loading.boundary import BoundaryFilter
from penstock.loading.digest import row_digests
from penstock.values import Batch, Boundary, BoundaryRule, Cursor, CursorType, CursorValue, StreamName


def batch(rows: list[tuple[int | None, str]]) -> Batch:
    cursors = pa.array([cursor for cursor, _ in rows], pa.int64())
    names = pa.array([name for _, name in rows], pa.string())
    return Batch(StreamName("s"), pa.RecordBatch.from_arrays([cursors, names], names=["c", "n"]), cursors)


def digests(rows: list[tuple[int | None, str]]) -> Boundary:
    return Boundary(dict(Counter(row_digests(batch(rows).rows))))


def kept(found: Batch) -> list[tuple[int | None, str]]:
    assert found.cursors is not None
    rows = [(row["c"], row["n"]) for row in found.rows.to_pylist()]
    assert found.cursors.to_pylist() == [cursor for cursor, _ in rows]
    return rows


@pytest.mark.feature("M3")
def test_a_row_is_dropped_as_often_as_it_was_delivered() -> None:
    boundary = BoundaryFilter(BoundaryRule(digests([(5, "a"), (5, "a"), (5, "b")]), lower=Cursor("int", 5)))
    first = kept(boundary.filter(batch([(5, "a"), (5, "c")])))
    second = kept(boundary.filter(batch([(5, "a"), (5, "a"), (5, "b"), (6, "a")])))
    assert (first, second) == ([(5, "c")], [(5, "a"), (6, "a")])


def test_rows_below_the_lower_bound_are_never_taken_for_known() -> None:
    boundary = BoundaryFilter(BoundaryRule(digests([(4, "a")]), lower=Cursor("int", 5)))
    assert kept(boundary.filter(batch([(4, "a"), (5, "a")]))) == [(4, "a"), (5, "a")]


def test_without_keep_from_the_edge_is_the_highest_cursor_over_all_batches() -> None:
    boundary = BoundaryFilter(BoundaryRule())
    for rows in ([(1, "a"), (7, "b")], [(3, "c"), (7, "d")], [(2, "e")]):
        boundary.filter(batch(rows))  # type: ignore[arg-type]
    assert boundary.collected() == digests([(7, "b"), (7, "d")])


def test_with_keep_from_the_edge_is_all_that_lies_above_and_dropped_rows_belong_to_it() -> None:
    known = digests([(5, "a")])
    boundary = BoundaryFilter(BoundaryRule(known, lower=Cursor("int", 5), keep_from=Cursor("int", 5)))
    assert kept(boundary.filter(batch([(5, "a"), (4, "x"), (9, "b")]))) == [(4, "x"), (9, "b")]
    assert boundary.collected() == digests([(5, "a"), (9, "b")])


def test_rows_without_a_cursor_are_always_kept_in_mind() -> None:
    boundary = BoundaryFilter(BoundaryRule(digests([(None, "a")]), lower=Cursor("int", 5)))
    assert kept(boundary.filter(batch([(None, "a"), (None, "b"), (8, "c")]))) == [(None, "b"), (8, "c")]
    assert boundary.collected() == digests([(None, "a"), (None, "b"), (8, "c")])


def test_too_wide_a_boundary_is_an_error_with_the_ways_out() -> None:
    boundary = BoundaryFilter(BoundaryRule(limit=2))
    with pytest.raises(ConfigError, match=r"(?s)more than 2 rows.*write_key"):
        boundary.filter(batch([(1, "a"), (1, "b"), (1, "c")]))


def test_a_cursor_that_became_text_is_a_mistake_of_the_project() -> None:
    rows = pa.RecordBatch.from_arrays([pa.array(["5", "6"])], names=["c"])
    boundary = BoundaryFilter(BoundaryRule(keep_from=Cursor("int", 5)))
    with pytest.raises(ConfigError, match="type string now, and the stored position is of type int"):
        boundary.filter(Batch(StreamName("s"), rows, rows.column(0)))


def test_a_source_that_gives_no_cursors_cannot_have_a_boundary() -> None:
    rows = batch([(1, "a")]).rows
    with pytest.raises(ExtractionError, match="no cursors"):
        BoundaryFilter(BoundaryRule()).filter(Batch(StreamName("s"), rows))


@pytest.mark.parametrize(
    ("kind", "bound", "values"),
    [
        ("int", 5, pa.array([4, 5, 6], pa.int16())),
        ("int", 5, pa.array([4, 5, 6], pa.uint64())),
        ("decimal", Decimal("6.1"), pa.array([6.0, 6.1, 6.2])),
        ("decimal", Decimal("5.00"), pa.array([Decimal("4.9"), Decimal("5.0"), Decimal("5.1")])),
        ("date", dt.date(2024, 1, 5), pa.array([dt.date(2024, 1, d) for d in (4, 5, 6)])),
        (
            "datetime",
            dt.datetime(2024, 1, 5),
            pa.array([dt.datetime(2024, 1, d) for d in (4, 5, 6)], pa.timestamp("us")),
        ),
        (
            "datetime",
            dt.datetime(2024, 1, 5, tzinfo=dt.UTC),
            pa.array([dt.datetime(2024, 1, d) for d in (4, 5, 6)], pa.timestamp("us", "UTC")),
        ),
        (
            "datetime",
            dt.datetime(2024, 1, 5),
            pa.array([dt.datetime(2024, 1, d) for d in (4, 5, 6)], pa.timestamp("ms")),
        ),
        ("string", "b", pa.array(["a", "b", "c"])),
    ],
)
def test_cursors_of_every_type_are_compared_as_their_type(
    kind: CursorType, bound: CursorValue, values: pa.Array
) -> None:
    rows = pa.RecordBatch.from_arrays([values], names=["c"])
    boundary = BoundaryFilter(BoundaryRule(keep_from=Cursor(kind, bound)))
    boundary.filter(Batch(StreamName("s"), rows, values))
    assert sum(boundary.collected().rows.values()) == 2


ROWS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab")), max_size=12)


@pytest.mark.feature("M3")
@given(ROWS, ROWS, st.integers(0, 12))
def test_reading_twice_delivers_each_row_exactly_once(
    before: list[tuple[int, str]], added: list[tuple[int, str]], cut: int
) -> None:
    first = BoundaryFilter(BoundaryRule())
    delivered = Counter(kept(first.filter(batch(list(before)))))
    highest = max((cursor for cursor, _ in before), default=None)
    arrived = before + [row for row in added if highest is None or row[0] >= highest]
    seen = [row for row in arrived if highest is None or row[0] >= highest]
    lower = None if highest is None else Cursor("int", highest)
    second = BoundaryFilter(BoundaryRule(first.collected(), lower=lower))
    for part in (seen[:cut], seen[cut:]):
        delivered.update(kept(second.filter(batch(list(part)))))
    assert delivered == Counter(arrived)
