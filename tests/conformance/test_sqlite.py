"""SQLite passes the suites; filled and looked at with the standard library's driver."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from penstock.connectors.sqlite import CONNECTOR
from penstock.protocols import Destination, Source
from penstock.testing.suites import (
    DestinationSeat,
    EvolvingDestinationSuite,
    KeyedDestinationSuite,
    LedgerSuite,
    LiveSourceSuite,
    SnapshotSourceSuite,
    SourceSeat,
)
from penstock.testing.suites.rows import Row, make_rows
from penstock.values import Connection, StreamName, TableName


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def look(path: Path, statement: str) -> list[Row]:
    """Rows as another program sees them; a table that is not there has none."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as link:
        link.row_factory = sqlite3.Row
        return [dict(row) for row in link.execute(statement)]


def names_in(path: Path) -> list[str]:
    if not path.exists():
        return []
    return [str(row["name"]) for row in look(path, "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]


def read_table(path: Path, table: TableName) -> list[Row]:
    return look(path, f"SELECT * FROM {quoted(table.name)}") if table.name in names_in(path) else []


def open_destination(path: Path) -> Destination:
    assert CONNECTOR.open_destination is not None
    return CONNECTOR.open_destination(Connection("lite", "sqlite", database=str(path)))


def open_source(path: Path) -> Source:
    assert CONNECTOR.open_source is not None
    return CONNECTOR.open_source(Connection("lite", "sqlite", database=str(path)))


def change(path: Path, statement: str, rows: Sequence[Sequence[object]] = ((),)) -> None:
    with closing(sqlite3.connect(path)) as link, link:
        link.executemany(statement, rows)


def insert(path: Path, rows: Sequence[Row]) -> None:
    change(path, "INSERT INTO rows VALUES (?, ?, ?, ?)", [tuple(row.values()) for row in rows])


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    no_database = tmp_path / "text.db"
    no_database.write_text("this is no database, and long enough to be sure of it " * 10)
    return no_database


@pytest.mark.feature("M3", "M4", "M11f")
class TestSqliteSource(SnapshotSourceSuite, LiveSourceSuite):
    @pytest.fixture
    def seat(self, tmp_path: Path, broken: Path) -> SourceSeat:
        path = tmp_path / "source.db"
        for name in ("rows", "empty"):
            change(path, f"CREATE TABLE {name} (id integer, stamp integer, note text, ratio real)")
        change(path, "PRAGMA journal_mode = WAL")  # elsewhere a program that writes waits for the reader
        insert(path, make_rows(0, 100))
        return SourceSeat(
            make=partial(open_source, path),
            stream=StreamName("rows"),
            empty=StreamName("empty"),
            absent=StreamName("absent"),
            add=partial(insert, path),
            drop=lambda name: change(path, f"DROP TABLE {quoted(name)}"),
            broken=partial(open_source, broken),
        )


@pytest.fixture
def sqlite_seat(tmp_path: Path, broken: Path) -> DestinationSeat:
    path = tmp_path / "target.db"
    return DestinationSeat(
        make=partial(open_destination, path),
        target=TableName(None, "target"),
        read=partial(read_table, path),
        tables=partial(names_in, path),
        broken=partial(open_destination, broken),
    )


@pytest.mark.feature("M5", "M11f")
class TestSqliteDestination(KeyedDestinationSuite, EvolvingDestinationSuite):
    @pytest.fixture
    def seat(self, sqlite_seat: DestinationSeat) -> DestinationSeat:
        return sqlite_seat


@pytest.mark.feature("N2", "M11f")
class TestSqliteLedger(LedgerSuite):
    @pytest.fixture
    def seat(self, sqlite_seat: DestinationSeat) -> DestinationSeat:
        return sqlite_seat
