"""A DuckDB file stays open between the looks of one command, and no longer than its first load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from penstock.connectors.duckdb.destination import DuckdbDestination, open_destination
from penstock.protocols import KeptOpen
from penstock.values import Connection, Insert, TableName
from tests.connectors.sql.loads import load_rows, plan_of

TABLE = TableName("main", "t")
ROWS = ({"id": 1, "name": "a"}, {"id": 2, "name": "b"})
LOOK = """
import duckdb, sys
print(duckdb.connect(sys.argv[1], read_only=True).execute("select count(*) from t").fetchone()[0])
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "lake.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table t (id bigint, name varchar)")
    return path


@pytest.fixture
def lake(path: Path) -> DuckdbDestination:
    return open_destination(Connection("lake", "duckdb", database=str(path)))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files DuckDB was asked to open."""
    paths: list[str] = []
    connect = duckdb.connect

    def counted(database: str, **options: object) -> duckdb.DuckDBPyConnection:
        paths.append(database)
        return connect(database, **options)

    monkeypatch.setattr(duckdb, "connect", counted)
    return paths


def rows_seen_by_another_process(path: Path) -> str:
    done = subprocess.run([sys.executable, "-c", LOOK, str(path)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_a_file_is_opened_once_for_all_looks_of_a_command(lake: DuckdbDestination, opened: list[str]) -> None:
    assert isinstance(lake, KeptOpen)
    with lake.kept_open():
        lake.describe([TABLE])
        lake.has_rows(TABLE)
        lake.attachments(TABLE)
    assert len(opened) == 1


def test_other_processes_reach_the_file_once_the_command_is_over(lake: DuckdbDestination, path: Path) -> None:
    with lake.kept_open():
        lake.describe([TABLE])
        assert "lock" in rows_seen_by_another_process(path).lower()
    assert rows_seen_by_another_process(path) == "0"


def test_other_processes_reach_the_file_once_a_load_has_ended(lake: DuckdbDestination, path: Path) -> None:
    with lake.kept_open():
        lake.describe([TABLE])
        load_rows(lake, plan_of(lake, TABLE, [Insert()]), ROWS)
        assert rows_seen_by_another_process(path) == str(len(ROWS))


def test_outside_of_a_command_a_look_leaves_nothing_open(lake: DuckdbDestination, path: Path) -> None:
    lake.describe([TABLE])
    assert rows_seen_by_another_process(path) == "0"


def test_a_file_put_in_the_place_of_the_kept_one_is_the_one_looked_at(
    lake: DuckdbDestination, path: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.duckdb"
    with duckdb.connect(str(other)) as connection:
        connection.execute("create table t (id bigint, note varchar)")
    with lake.kept_open():
        lake.describe([TABLE])
        other.replace(path)
        found = lake.describe([TABLE])[TABLE]
    assert found is not None
    assert found.names == ("id", "note")
