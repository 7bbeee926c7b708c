"""SQLite passes the suites of destinations and ledgers; looked at with the standard library's driver."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from penstock.connectors.sqlite import CONNECTOR
from penstock.protocols import Destination
from penstock.testing.suites import DestinationSeat, EvolvingDestinationSuite, KeyedDestinationSuite, LedgerSuite
from penstock.testing.suites.rows import Row
from penstock.values import Connection, TableName


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


@pytest.fixture
def sqlite_seat(tmp_path: Path) -> DestinationSeat:
    path = tmp_path / "target.db"
    no_database = tmp_path / "text.db"
    no_database.write_text("this is no database, and long enough to be sure of it " * 10)
    return DestinationSeat(
        make=partial(open_destination, path),
        target=TableName(None, "target"),
        read=partial(read_table, path),
        tables=partial(names_in, path),
        broken=partial(open_destination, no_database),
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
