"""Files read from a cursor on: bounds, boundaries, lookback, NULL cursors."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.errors import ConfigError, ExtractionError
from penstock.values import START, Bounds, Cursor, CursorSpec, Position, ReadRequest, StreamName, Window
from tests.connectors.files.lake import Lake

pytestmark = pytest.mark.feature("M3", "M11r")
V = CursorSpec(("v",))


def probe(lake: Lake, name: str, **wishes: Any) -> Bounds:
    (bounds,) = lake.source.probe([ReadRequest(StreamName(name), **wishes)])
    return bounds


def put(lake: Lake, name: str, values: list[Any], **options: Any) -> None:
    path = lake.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"v": values}), path, **options)


def after(value: Any, kind: Any = "int") -> Position:
    return Position(Cursor(kind, value), Cursor(kind, value))


@pytest.mark.parametrize(
    ("text", "kind", "lower", "found"),
    [
        ("1\n2\n3\n", "int", 2, [2, 3]),
        ("2024-01-01\n2024-01-02\n", "date", dt.date(2024, 1, 2), [dt.date(2024, 1, 2)]),
        (
            "2024-01-01 00:00:00\n2024-01-01 00:00:01\n",
            "datetime",
            dt.datetime(2024, 1, 1, 0, 0, 1),
            [dt.datetime(2024, 1, 1, 0, 0, 1)],
        ),
        (
            "2024-01-01T00:00:00Z\n2024-01-01T02:00:01+02:00\n",
            "datetime",
            dt.datetime(2024, 1, 1, 0, 0, 1, tzinfo=dt.UTC),
            [dt.datetime(2024, 1, 1, 0, 0, 1, tzinfo=dt.UTC)],
        ),
        ("a\nb\nc\n", "string", "b", ["b", "c"]),
        ("99999999999999999998\n99999999999999999999\n", "decimal", Decimal(10**20 - 1), [Decimal(10**20 - 1)]),
    ],
)
def test_a_read_starts_at_its_position_inclusive_whatever_the_type(
    lake: Lake, text: str, kind: Any, lower: Any, found: list[Any]
) -> None:
    lake.put("x.csv", "v\n" + text)
    request = ReadRequest(StreamName("x.csv"), cursor=V, after=after(lower, kind))
    batches = list(lake.batches(request))
    assert [row["v"] for b in batches for row in b.rows.to_pylist()] == found
    assert batches[-1].reached == Cursor(kind, found[-1])


def test_parquet_tells_its_bound_without_being_read(lake: Lake) -> None:
    put(lake, "d/1.parquet", [1, 9])
    put(lake, "d/2.parquet", [4])
    bounds = probe(lake, "d", cursor=V, after=START)
    assert (bounds.upper, bounds.position) == (Cursor("int", 9), after(9))


def test_a_file_without_statistics_is_bounded_by_reading(lake: Lake) -> None:
    put(lake, "x.parquet", [1, 9], write_statistics=False)
    assert probe(lake, "x.parquet", cursor=V, after=START).upper is None
    (batch,) = lake.batches(ReadRequest(StreamName("x.parquet"), cursor=V, after=START))
    assert batch.reached == Cursor("int", 9)


def test_nothing_at_or_past_the_position_is_idle(lake: Lake) -> None:
    put(lake, "x.parquet", [1, 9])
    assert probe(lake, "x.parquet", cursor=V, after=after(9)).idle is None
    assert probe(lake, "x.parquet", cursor=V, after=after(10)).idle is True


def test_a_position_never_goes_back_when_files_are_taken_away(lake: Lake) -> None:
    put(lake, "x.parquet", [1, 9])
    assert probe(lake, "x.parquet", cursor=V, after=after(50)).position == after(50)


def test_row_groups_before_the_position_are_not_read(lake: Lake) -> None:
    put(lake, "x.parquet", list(range(1_000)), row_group_size=100)
    request = ReadRequest(StreamName("x.parquet"), cursor=V, after=after(850))
    with lake.source.open([request]) as session:
        files: Any = session.splits[0].work["files"]
        assert [file["row_groups"] for file in files] == [[8, 9]]
        rows = [b.rows.num_rows for s in session.splits for b in lake.source.reader().read(s)]
    assert sum(rows) == 150


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_lookback_moves_the_next_start_and_not_the_cursor(lake: Lake, kind: str) -> None:
    put(lake, "x.parquet", [1, 500])
    lake.put("x.csv", "v\n1\n500\n")
    bounds = probe(lake, f"x.{kind}", cursor=CursorSpec(("v",), lookback=100), after=START)
    assert bounds.position == Position(Cursor("int", 500), Cursor("int", 400))


def test_a_row_without_cursor_fails_the_read_unless_it_may_be_skipped(lake: Lake) -> None:
    lake.put("x.csv", "v,w\n1,1\n,2\n")
    with pytest.raises(ExtractionError, match=r"x\.csv, line 3: 1 row without a cursor in v") as caught:
        lake.read("*.csv", cursor=V, after=START)
    assert caught.value.where == "x.csv:3"
    assert lake.read("x.csv", cursor=CursorSpec(("v",), nulls="skip"), after=START) == [{"v": 1, "w": 1}]
    with pytest.raises(ConfigError, match="null_cursors include"):
        lake.read("x.csv", cursor=CursorSpec(("v",), nulls="include"), after=START)


BAD_CURSORS = {
    "csv": ('v,w\n1,"two\nlines"\nx2,1\n', "line 4: a cursor that is no int in v", "y.csv:4"),
    "jsonl": ('{"v": "1"}\n\n{"v": "x2"}\n', "line 3: a cursor that is no int in v", "y.jsonl:3"),
}


@pytest.mark.parametrize("kind", BAD_CURSORS)
def test_a_cursor_of_another_type_names_file_and_line(lake: Lake, kind: str) -> None:
    lake.put(f"x.{kind}", {"csv": "v,w\n1,1\n", "jsonl": '{"v": "1"}\n'}[kind])
    text, told, where = BAD_CURSORS[kind]
    lake.put(f"y.{kind}", text)
    with pytest.raises(ExtractionError, match=told) as caught:
        lake.read(f"*.{kind}", cursor=CursorSpec(("v",), type="int"), after=START)
    assert caught.value.where == where


def test_the_first_of_several_rows_without_cursor_is_named_across_batches(lake: Lake) -> None:
    lake.put("x.jsonl", "".join(f'{{"v": {n}, "w": 1}}\n' for n in range(9)) + '{"w": 2}\n' * 3)
    with pytest.raises(ExtractionError, match=r"x\.jsonl, line 10: the first of \d rows without a cursor") as caught:
        lake.read("x.jsonl", cursor=V, after=START, batch_rows=4)
    assert caught.value.where == "x.jsonl:10"


def test_in_a_parquet_file_the_row_is_counted(lake: Lake) -> None:
    put(lake, "x.parquet", [1, None, 3])
    with pytest.raises(ExtractionError, match=r"x\.parquet, row 2: 1 row without a cursor in v"):
        lake.read("x.parquet", cursor=V, after=START)


def test_of_several_cursor_columns_the_greatest_counts(lake: Lake) -> None:
    lake.put("x.csv", "a,b\n1,5\n6,\n2,3\n")
    spec = CursorSpec(("a", "b"))
    batches = list(lake.batches(ReadRequest(StreamName("x.csv"), cursor=spec, after=after(5))))
    assert [b.cursors.to_pylist() for b in batches if b.cursors is not None] == [[5, 6]]


def test_a_window_takes_its_lower_end_and_not_its_upper(lake: Lake) -> None:
    lake.put("x.csv", "v\n1\n2\n3\n")
    window = Window(Cursor("int", 1), Cursor("int", 3))
    assert [row["v"] for row in lake.read("x.csv", cursor=V, window=window)] == [1, 2]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (CursorSpec(expression="v + 1"), "expression"),
        (CursorSpec(("nope",)), "'nope'"),
        (CursorSpec(("f",)), "float64 column cannot be a cursor"),
        (CursorSpec(("v", "s")), "different types"),
    ],
)
def test_cursors_that_files_cannot_follow_are_refused(lake: Lake, spec: CursorSpec, text: str) -> None:
    lake.put("x.csv", "v,f,s\n1,1.5,x\n")
    with pytest.raises(ConfigError, match=text):
        probe(lake, "x.csv", cursor=spec, after=START)


def test_a_cursor_whose_type_changed_is_refused(lake: Lake) -> None:
    lake.put("x.csv", "v\nx\n")
    with pytest.raises(ConfigError, match="the stored position is a int"):
        probe(lake, "x.csv", cursor=V, after=after(1))


def test_text_is_a_moment_where_the_user_says_so(lake: Lake) -> None:
    lake.put("x.jsonl", '{"v": "2024-01-01T00:00:00"}\n{"v": "2024-01-02T00:00:00"}\n')
    position = after(dt.datetime(2024, 1, 2), "datetime")
    assert len(lake.read("x.jsonl", cursor=CursorSpec(("v",), type="datetime"), after=position)) == 1
