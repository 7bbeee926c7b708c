"""Parquet of other writers: what becomes of each type, and which files are refused."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.errors import ExtractionError
from penstock.values import ReadRequest, StreamName
from tests.connectors.files.lake import Lake

pytestmark = pytest.mark.feature("M11r")
NOON = dt.datetime(2024, 2, 29, 12, 0, 0, 123456)


def put(lake: Lake, name: str, columns: dict[str, Any], **options: Any) -> Path:
    path = lake.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


@pytest.mark.parametrize(
    ("array", "kind", "value"),
    [
        (pa.array(["a"]).dictionary_encode(), "string", "a"),
        (pa.array(["a"], pa.large_string()), "string", "a"),
        (pa.array([b"a"], pa.binary(1)), "binary", b"a"),
        (pa.array([NOON], pa.timestamp("ns")), "timestamp", NOON),
        (pa.array([NOON.replace(microsecond=0)], pa.timestamp("s")), "timestamp", NOON.replace(microsecond=0)),
        (pa.array([dt.time(1)], pa.time32("s")), "time", dt.time(1)),
        (pa.array([1.5], pa.float16()), "float32", 1.5),
        (pa.array([2**64 - 1], pa.uint64()), "uint64", 2**64 - 1),
        (pa.array([Decimal("1.10")], pa.decimal256(50, 2)), "decimal(50,2)", Decimal("1.10")),
        (pa.array([dt.timedelta(seconds=1)]), "interval", pa.MonthDayNano((0, 0, 10**9))),
        (pa.array([[1, None]], pa.large_list(pa.int8())), "list<int8>", [1, None]),
        (pa.array([{"a": [{"b": "x"}]}]), "struct<a: list<struct<b: string>>>", {"a": [{"b": "x"}]}),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else None,
)
def test_types_of_other_writers(lake: Lake, array: pa.Array, kind: str, value: object) -> None:
    put(lake, "x.parquet", {"v": array})
    assert lake.kinds("x.parquet") == {"v": kind}
    assert lake.read("x.parquet") == [{"v": value}]


def test_int96_timestamps_keep_microseconds_of_far_years(lake: Lake) -> None:
    far = dt.datetime(1700, 1, 1, 0, 0, 0, 1)
    put(lake, "x.parquet", {"v": pa.array([far], pa.timestamp("us"))}, use_deprecated_int96_timestamps=True)
    assert lake.read("x.parquet") == [{"v": far}]


def test_nanoseconds_that_would_be_cut_off_are_an_error(lake: Lake) -> None:
    put(lake, "x.parquet", {"v": pa.array([0, 1], pa.timestamp("ns"))})
    with pytest.raises(ExtractionError, match=r"x\.parquet, row 2, column 'v'"):
        lake.read("x.parquet")
    assert lake.read("x.parquet", types={"v": "string"})[1] == {"v": "1970-01-01 00:00:00.000000001"}


def test_a_map_is_refused_by_name(lake: Lake) -> None:
    put(lake, "x.parquet", {"m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))})
    with pytest.raises(ExtractionError, match="column 'm'"):
        lake.read("x.parquet")


def test_an_unfinished_file_is_refused_whatever_its_length(lake: Lake) -> None:
    data = put(lake, "whole.parquet", {"v": list(range(50))}).read_bytes()
    for cut in range(0, len(data), 7):
        lake.put("x.parquet", data[:cut])
        with pytest.raises(ExtractionError, match=r"x\.parquet"):
            lake.read("x.parquet")


def test_another_format_under_the_name_of_parquet_is_refused(lake: Lake) -> None:
    lake.put("x.parquet", "a,b\n1,2\n" * 100)
    with pytest.raises(ExtractionError, match="not a whole Parquet file"):
        lake.read("x.parquet")


def test_a_file_without_row_groups_is_no_row(lake: Lake) -> None:
    put(lake, "x.parquet", {"v": pa.array([], pa.int32())})
    assert lake.read("x.parquet") == []
    assert lake.kinds("x.parquet") == {"v": "int32"}


def test_files_of_several_shapes_are_united_by_name(lake: Lake) -> None:
    put(lake, "d/1.parquet", {"a": pa.array([1], pa.int32()), "b": ["x"]})
    put(lake, "d/2.parquet", {"c": [True], "a": pa.array([2**40])})
    assert lake.kinds("d") == {"a": "int64", "b": "string", "c": "bool"}
    assert lake.read("d") == [{"a": 1, "b": "x", "c": None}, {"a": 2**40, "b": None, "c": True}]


def test_types_that_only_a_lossy_one_could_unite_are_refused_with_the_way_out(lake: Lake) -> None:
    put(lake, "d/1.parquet", {"a": [1]})
    put(lake, "d/2.parquet", {"a": [True]})
    with pytest.raises(ExtractionError, match=r"columns: \{a: string\}"):
        lake.read("d")
    assert lake.read("d", types={"a": "string"}) == [{"a": "1"}, {"a": "true"}]


def test_the_rows_are_counted_by_the_footers(lake: Lake) -> None:
    for number in range(3):
        put(lake, f"d/{number}.parquet", {"v": list(range(10))})
    (bounds,) = lake.source.probe([ReadRequest(StreamName("d"))])
    assert bounds.rows == 30


def test_a_big_file_is_cut_by_row_groups(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.connectors.files.source._GROUP_BYTES", 2_000)
    monkeypatch.setattr("penstock.connectors.files.source._SMALL_BYTES", 1_000)
    put(lake, "x.parquet", {"v": list(range(5_000))}, row_group_size=500)
    with lake.source.open([ReadRequest(StreamName("x.parquet"))]) as session:
        assert len(session.splits) == 10
        assert sum(s.rows_estimate or 0 for s in session.splits) == 5_000
    assert [row["v"] for row in lake.read("x.parquet")] == list(range(5_000))


def test_many_small_files_share_splits(lake: Lake) -> None:
    for number in range(300):
        lake.put(f"d/{number:03d}.csv", f"v\n{number}\n")
    with lake.source.open([ReadRequest(StreamName("d"))]) as session:
        assert len(session.splits) == 1
    assert [row["v"] for row in lake.read("d")] == list(range(300))
