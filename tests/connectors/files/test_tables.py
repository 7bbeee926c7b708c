"""What lies on disk after loads: names, folders of partitions, sizes, rights, and what other programs read there."""

from __future__ import annotations

import datetime as dt
import json
import os
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from penstock.errors import ConfigError, ContractError, LoadError
from penstock.schema.types import from_arrow_schema
from penstock.testing.loads import account_for, batches_of, write
from penstock.testing.suites.rows import SCHEMA, as_table, make_rows
from penstock.values import (
    START,
    AddColumns,
    Field,
    Insert,
    LedgerHead,
    SplitId,
    StreamName,
    TableName,
    TableSchema,
    Upsert,
    WidenColumns,
)
from tests.connectors.files.lake import Lake, table

pytestmark = pytest.mark.feature("M5", "M11r")
SALES = pa.table(
    {
        "id": [1, 2, 3, 4],
        "day": [dt.date(2024, 1, 1), dt.date(2024, 1, 2), dt.date(2024, 1, 1), None],
        "region": ["a/b", "", "ü=?", "x"],
    }
)


def parts(lake: Lake, target: str = "t") -> list[str]:
    return sorted(str(p.relative_to(lake.root / target)) for p in (lake.root / target).rglob("part-*"))


def test_parts_are_named_by_load_and_split(lake: Lake) -> None:
    receipt = lake.deliver(as_table(make_rows(0, 3)))
    assert parts(lake) == [f"part-{receipt.load_id[:12]}-0.parquet"]


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        ({"format": "csv"}, "csv"),
        ({"format": "csv", "compression": "gzip"}, "csv.gz"),
        ({"format": "jsonl", "compression": "zstd"}, "jsonl.zst"),
    ],
)
def test_the_name_tells_format_and_compression(lake: Lake, extra: dict[str, str], name: str) -> None:
    there = Lake(lake.root, extra)
    there.deliver(as_table(make_rows(0, 3)))
    (part,) = parts(there)
    assert part.partition(".")[2] == name


def test_csv_is_read_by_duckdb_with_null_and_empty_apart(lake: Lake) -> None:
    there = Lake(lake.root, {"format": "csv"})
    there.deliver(pa.table({"id": [1, 2, 3], "s": ["", None, 'a "b",\nc']}))
    assert (lake.root / "t" / parts(there)[0]).read_text() == 'id,s\n1,""\n2,\n3,"a ""b"",\nc"\n'


def test_json_lines_are_what_json_reads(lake: Lake) -> None:
    there = Lake(lake.root, {"format": "jsonl"})
    schema = TableSchema((Field("n", "decimal(20,2)"), Field("f", "float64"), Field("t", "timestamptz")))
    rows = pa.table({"n": pa.array([None, 1], pa.decimal128(20, 2)), "f": [float("nan"), 0.5]})
    rows = rows.append_column("t", pa.array([0, None], pa.timestamp("us", "UTC")))
    assert from_arrow_schema(rows.schema) == schema
    there.deliver(rows)
    lines = [json.loads(line) for line in (lake.root / "t" / parts(there)[0]).read_text().splitlines()]
    assert lines == [{"n": None, "f": "nan", "t": "1970-01-01 00:00:00.000000Z"}, {"n": 1.0, "f": 0.5, "t": None}]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_partitions_lie_as_hive_lays_them_and_come_back_exactly(lake: Lake, kind: str) -> None:
    there = Lake(lake.root, {"format": kind})
    there.deliver(SALES, partition_by=("day", "region"))
    folders = {str(Path(p).parent) for p in parts(there)}
    assert folders == {
        "day=2024-01-01/region=a%2Fb",
        "day=2024-01-02/region=",
        "day=2024-01-01/region=%C3%BC%3D%3F",
        "day=__HIVE_DEFAULT_PARTITION__/region=x",
    }
    assert sorted(there.read(), key=lambda row: row["id"]) == SALES.to_pylist()


def test_duckdb_and_pyarrow_read_the_partitions(lake: Lake) -> None:
    rows = pa.table({"id": [1, 2, 3], "day": ["2024-01-01", "2024-01-02", None], "region": ["a/b", "c", "c"]})
    lake.deliver(rows, partition_by=("day", "region"))
    glob = str(lake.root / "t" / "*" / "*" / "*.parquet")
    found = duckdb.sql(
        f"SELECT id, day::VARCHAR, region FROM read_parquet('{glob}', hive_partitioning => true) ORDER BY id"
    ).fetchall()
    assert found == [(1, "2024-01-01", "a/b"), (2, "2024-01-02", "c"), (3, None, "c")]
    scanned = ds.dataset(lake.root / "t", format="parquet", partitioning="hive").to_table()
    assert sorted((r["id"], r["region"]) for r in scanned.to_pylist()) == [(1, "a/b"), (2, "c"), (3, "c")]


def test_replacing_takes_away_the_old_files_and_their_folders(lake: Lake) -> None:
    lake.deliver(SALES, "replace", partition_by=("day",))
    lake.deliver(SALES.slice(0, 1), "replace", partition_by=("day",))
    assert [p.name for p in (lake.root / "t").iterdir() if p.name != "_penstock"] == ["day=2024-01-01"]


def test_another_layout_needs_a_full_refresh(lake: Lake) -> None:
    lake.deliver(SALES, partition_by=("day",))
    with pytest.raises(ConfigError, match="laid out by day"):
        lake.deliver(SALES)
    lake.deliver(SALES, "replace")
    assert len(parts(lake)) == 1


@pytest.mark.parametrize(
    ("columns", "text"), [(("nope",), "not a column"), (("f",), "float64"), (("id", "f"), "float64")]
)
def test_columns_that_cannot_name_folders_are_refused(lake: Lake, columns: tuple[str, ...], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        lake.deliver(pa.table({"id": [1], "f": [1.5]}), partition_by=columns)


def test_many_partitions_keep_few_files_open(lake: Lake) -> None:
    rows = pa.table({"id": list(range(3_000)), "p": [i % 300 for i in range(3_000)]})
    loads = lake.loads()
    plan = replace(loads.plan(from_arrow_schema(rows.schema)), partition_by=("p",))
    session = loads.destination.begin(plan)
    before = len(list(Path("/proc/self/fd").iterdir()))
    most = 0

    def watch() -> object:
        nonlocal most
        for batch in batches_of(rows, 100):
            yield batch
            most = max(most, len(list(Path("/proc/self/fd").iterdir())) - before)

    piece = session.write(SplitId("0"), 1, watch())  # type: ignore[arg-type]
    session.commit([piece], account_for([piece]))
    session.abort()
    assert most <= 40
    assert sorted(row["id"] for row in lake.read()) == list(range(3_000))


def test_a_file_that_has_grown_is_followed_by_another(lake: Lake) -> None:
    there = Lake(lake.root, {"format": "csv", "max_file_bytes": 1_000_000})
    rows = pa.table({"id": list(range(400_000))})
    there.deliver(rows)
    names = parts(there)
    assert len(names) > 1
    assert names[0].endswith("-0-1.csv") or names[0].endswith("-0.csv")
    assert sum(1 for _ in there.read()) == 400_000
    assert max((lake.root / "t" / name).stat().st_size for name in names) < 2_000_000


def test_rights_follow_the_umask(lake: Lake) -> None:
    before = os.umask(0o027)
    try:
        lake.deliver(as_table(make_rows(0, 1)))
    finally:
        os.umask(before)
    modes = {oct(p.stat().st_mode & 0o777) for p in (lake.root / "t").rglob("*") if p.is_file()}
    assert modes == {"0o640"}


def test_row_groups_stay_small_however_large_the_batches(lake: Lake) -> None:
    rows = pa.table({"id": list(range(300_000))})
    lake.deliver(rows)
    metadata = pq.read_metadata(lake.root / "t" / parts(lake)[0])
    assert max(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)) <= 132_000
    assert metadata.num_row_groups == 3


def test_a_null_in_a_column_that_promises_none_fails_the_load(lake: Lake) -> None:
    schema = TableSchema((Field("id", "int64", nullable=False),))
    loads = lake.loads()
    session = loads.destination.begin(loads.plan(schema))
    with pytest.raises(ContractError, match="no value in 1 row"):
        write(session, "0", pa.table({"id": pa.array([None], pa.int64())}))
    session.abort()


def test_the_hidden_column_that_orders_rows_stays_out(lake: Lake) -> None:
    lake.deliver(pa.table({"id": [1], "_order": [5]}), order_column="_order")
    assert lake.read() == [{"id": 1}]


def test_keyed_steps_are_refused_before_anything_is_touched(lake: Lake) -> None:
    loads = lake.loads()
    with pytest.raises(ConfigError, match="append or replace"):
        loads.destination.begin(replace(loads.plan(SCHEMA), steps=(Upsert(("id",)),)))
    assert list(lake.root.iterdir()) == []


def test_rows_cannot_be_quarantined_yet(lake: Lake) -> None:
    loads = lake.loads()
    session = loads.destination.begin(loads.plan(SCHEMA))
    with pytest.raises(LoadError, match="quarantined"):
        session.write(SplitId("0"), 1, batches_of(as_table(make_rows(0, 1))), into="quarantine")
    session.abort()


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_columns_added_and_widened_read_as_one_table(lake: Lake, kind: str) -> None:
    there = Lake(lake.root, {"format": kind})
    there.deliver(pa.table({"id": pa.array([1], pa.int32())}))
    added, wide = Field("note", "string"), Field("id", "int64")
    loads = there.loads()
    plan = loads.plan(TableSchema((wide, added)), steps=[AddColumns((added,)), WidenColumns((wide,)), Insert()])
    loads.deliver(pa.table({"id": [2**40], "note": ["x"]}), plan=plan)
    assert there.kinds() == {"id": "int64", "note": "string"}
    assert there.read() == [{"id": 1, "note": None}, {"id": 2**40, "note": "x"}]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize(
    ("narrow", "wide", "before", "after"),
    [
        ("int64", "decimal(20,0)", 7, Decimal(7)),
        ("int64", "numeric", 7, "7"),
        ("int64", "string", 7, "7"),
        ("int32", "float64", 7, 7.0),
        ("float32", "float64", 0.5, 0.5),
        ("decimal(5,2)", "decimal(12,4)", Decimal("1.25"), Decimal("1.2500")),
        ("decimal(5,2)", "string", Decimal("1.25"), "1.25"),
        ("date", "timestamp", dt.date(2024, 1, 2), dt.datetime(2024, 1, 2)),
        ("list<int64>", "json", [1, None], "[1,null]"),
    ],
)
def test_values_from_before_a_widening_are_read_as_the_wider_type(
    lake: Lake, kind: str, narrow: str, wide: str, before: object, after: object
) -> None:
    there = Lake(lake.root, {"format": kind})
    there.deliver(table(TableSchema((Field("v", narrow),)), [[before]]))
    field = Field("v", wide)
    loads = there.loads()
    plan = loads.plan(TableSchema((field,)), steps=[WidenColumns((field,)), Insert()])
    loads.deliver(table(TableSchema((field,)), [[after]]), plan=plan)
    assert there.read() == [{"v": after}, {"v": after}]


@pytest.mark.parametrize("name", ["old.parquet", "old.csv", "old.jsonl", "day=2024-01-01/old.csv"])
def test_files_that_were_there_first_become_part_of_the_table(lake: Lake, name: str) -> None:
    if name.endswith("parquet"):
        (lake.root / "t").mkdir()
        pq.write_table(pa.table({"id": [1]}), lake.root / "t" / name)
    else:
        lake.put(f"t/{name}", '{"id": 1}\n' if name.endswith("jsonl") else "id\n1\n")
    described = lake.destination.describe([TableName(None, "t")])[TableName(None, "t")]
    assert described is not None
    assert described.names[0] == "id"
    layout = ("day",) if "=" in name else ()
    rows = pa.table({"id": [2], **({"day": [dt.date(2024, 1, 2)]} if layout else {})})
    lake.deliver(rows, partition_by=layout)
    assert [row["id"] for row in lake.read()] == [1, 2]
    assert (lake.root / "t" / name).exists()
    lake.deliver(rows, "replace", partition_by=layout)
    assert [row["id"] for row in lake.read()] == [2]
    assert not (lake.root / "t" / name).exists()


def test_a_file_dropped_into_a_table_later_is_neither_read_nor_removed(lake: Lake) -> None:
    lake.deliver(pa.table({"id": [1]}))
    lake.put("t/mine.csv", "id\n9\n")
    lake.deliver(pa.table({"id": [2]}), "replace")
    assert [row["id"] for row in lake.read()] == [2]
    assert (lake.root / "t" / "mine.csv").exists()


def test_parts_that_no_manifest_names_are_never_read(lake: Lake) -> None:
    lake.deliver(pa.table({"id": [1]}))
    (part,) = parts(lake)
    orphan = lake.root / "t" / part.replace("-0.", "-1.")
    orphan.write_bytes((lake.root / "t" / part).read_bytes())
    assert [row["id"] for row in lake.read()] == [1]
    lake.deliver(pa.table({"id": [2]}))
    assert not orphan.exists()


def test_a_head_set_by_hand_takes_the_files_over(lake: Lake) -> None:
    lake.put("t/old.csv", "id\n1\n")
    target = TableName(None, "t")
    head = LedgerHead("t", "s", "o", 1, 1, 5, START, "done", None)
    lake.destination.ledger().set_head(target, head, expected_epoch=0)
    assert [row["id"] for row in lake.read()] == [1]
    loads = lake.loads()
    loads.deliver(pa.table({"id": [2]}), plan=loads.plan(TableSchema((Field("id", "int64"),))))
    assert [row["id"] for row in lake.read()] == [1, 2]


def test_a_damaged_manifest_is_an_error_and_never_an_absent_table(lake: Lake) -> None:
    lake.deliver(pa.table({"id": [1]}))
    (lake.root / "t" / "_penstock" / "manifest.json").write_text("{")
    target = TableName(None, "t")
    with pytest.raises(LoadError, match="cannot be understood"):
        lake.destination.describe([target])
    with pytest.raises(LoadError, match="cannot be understood"):
        lake.read()


def test_a_table_in_a_schema_is_a_folder_in_a_folder(lake: Lake) -> None:
    loads = replace(lake.loads(), target=TableName("sales", "orders"))
    loads.deliver(pa.table({"id": [1]}))
    assert (lake.root / "sales" / "orders" / "_penstock" / "manifest.json").exists()
    assert lake.read("sales.orders") == [{"id": 1}]
    assert StreamName("sales.orders") in {spec.name for spec in lake.source.streams()}
