"""SQLite files read through Spark's JDBC: every cell arrives as it does natively."""

from __future__ import annotations

import math
import random
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import ConfigError
from penstock.pipeline.results import RunOptions, Selection
from tests.engines.spark.lab import INCREMENTAL, Lab, make_lab
from tests.engines.spark.test_moves import go_three_rounds
from tests.faults.places import SqlitePlace

# faults: the driver comes from a Maven repository, where `make test` does without a network
pytestmark = [pytest.mark.feature("M9"), pytest.mark.faults]

JDBC = {"spark": {"io": "jdbc"}}
TABLES: dict[str, dict[str, Any]] = {
    "append": {**INCREMENTAL, "write_strategy": "append"},
    "replace": {"write_strategy": "replace"},
    "upsert": {**INCREMENTAL, "write_strategy": "upsert", "write_key": ["id"]},
    "a query": {
        **INCREMENTAL,
        "write_strategy": "append",
        "custom_query": "SELECT *, '?1' AS asked FROM rows {query_filter}",
    },
}


@pytest.mark.parametrize("case", TABLES)
@pytest.mark.parametrize("destination", ["sqlite", "duckdb"])
def test_three_rounds_of_a_file_through_jdbc_leave_what_arrow_leaves(
    destination: Any, case: str, tmp_path: Path, spark: Any
) -> None:
    tables = [{"target_name": "copy", **TABLES[case], **JDBC}]
    labs = [make_lab(tmp_path / name, tables, destination=destination) for name in ("arrow", "spark")]
    go_three_rounds(labs, spark, case)
    assert any("sqlite-jdbc" in row[0] for row in spark.sql("LIST JARS").collect())  # it was not read otherwise


@pytest.mark.postgres
def test_a_file_is_read_and_postgres_written_through_jdbc(tmp_path: Path, postgres_url: str, spark: object) -> None:
    tables = [{"target_name": "copy", **INCREMENTAL, **JDBC}]
    lab = make_lab(tmp_path / "lab", tables, source="sqlite", destination="postgres", url=postgres_url)
    result = lab.run(spark)
    assert not result.errors, result.errors
    assert lab.rows() == lab.source.rows("rows")


def test_every_cell_arrives_as_it_is_stored(tmp_path: Path, spark: object) -> None:
    random.seed(7)
    doubles = [struct.unpack("<d", random.randbytes(8))[0] for _ in range(3000)]
    cells = [None, "", "it's \0 ∞", "2024-05-01 12:00:00+02:00", "12.30", b"", b"\0\xff", 2**63 - 1, -(2**63), "😀"]
    copies = []
    for name, session in (("arrow", None), ("spark", spark)):
        lab = make_lab(tmp_path / name, [{"name": "kinds", "target_name": "copy", **JDBC}], destination="sqlite")
        assert isinstance(lab.source, SqlitePlace)
        with closing(sqlite3.connect(lab.source.path)) as link, link:
            columns = "id INTEGER PRIMARY KEY, r REAL, t TEXT, b BLOB, i INTEGER, d DECIMAL(9,2), at TIMESTAMPTZ"
            link.execute(f"CREATE TABLE kinds ({columns})")
            link.executemany("INSERT INTO kinds (r) VALUES (?)", [(x,) for x in doubles if not math.isnan(x)])
            link.executemany("INSERT INTO kinds (r) VALUES (?)", [(9e999,), (-9e999,), (-0.0,), (5e-324,), (0.1,)])
            for column, kind in (("t", str), ("b", bytes), ("i", int)):
                kept = [(cell,) for cell in cells if cell is None or isinstance(cell, kind)]
                link.executemany(f"INSERT INTO kinds ({column}) VALUES (?)", kept)
            link.execute("INSERT INTO kinds (d, at) VALUES ('12.30', '2024-05-01 12:00:00.000001+02:00')")
        result = lab.run(session)
        assert not result.errors, result.errors
        assert isinstance(lab.destination, SqlitePlace)
        copies.append(lab.destination.query("SELECT id, r, t, b, i, d, at FROM copy ORDER BY id"))
    arrow, through_jdbc = copies
    assert len(arrow) > 3000
    assert [repr(row) for row in through_jdbc] == [repr(row) for row in arrow]


def test_a_cell_that_is_not_of_its_column_s_type_is_an_error_without_its_value(tmp_path: Path, spark: object) -> None:
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy", **JDBC}])
    lab.source.execute("UPDATE rows SET stamp = 'hidden-word' WHERE id = 7")
    [error] = lab.run(spark).errors.values()
    assert "column 'stamp' is declared" in str(error)
    assert "hidden-word" not in f"{error} {error.__cause__}"
    assert lab.rows() is None


def test_values_of_cursors_that_are_text_come_back_as_text(tmp_path: Path, spark: object) -> None:
    lab = make_lab(
        tmp_path / "lab",
        [
            {
                "target_name": "copy",
                "replication_method": "incremental",
                "iterate_column": "note",
                "iterate_column_type": "string",
                "null_cursors": "include",
                **JDBC,
            }
        ],
    )
    lab.fill((50, 50, "z' OR true -- \\ \t\n?1"))
    for _ in range(2):
        result = lab.run(spark)
        assert not result.errors, result.errors
    lab.fill((51, 51, "z' OR true -- \\ \t\n?1 later"))
    assert not lab.run(spark).errors
    assert sum((lab.rows() or {}).values()) == 22


def test_plan_says_that_a_file_is_read_once_and_outside_of_its_snapshot(tmp_path: Path, spark: object) -> None:
    lab = lab_of_file(tmp_path)
    (planned,) = lab.open().plan(Selection(), RunOptions(spark=spark)).tables
    assert planned.splits == 1
    assert any("each partition sees the rows of its own moment" in note for note in planned.notes)
    assert not any("partitions_count" in note for note in planned.notes)


def test_a_file_is_not_written_through_jdbc(tmp_path: Path, spark: object) -> None:
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy", "spark": {"write": "jdbc"}}], destination="sqlite")
    [error] = lab.run(spark).errors.values()
    assert isinstance(error, ConfigError)
    assert "variant 'sqlite' is not written through JDBC" in str(error)
    assert lab.rows() is None


def lab_of_file(folder: Path) -> Lab:
    return make_lab(folder / "lab", [{"target_name": "copy", **INCREMENTAL, **JDBC}])
