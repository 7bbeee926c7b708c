"""DuckDB passes the suites; filled and looked at with bare duckdb connections."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from penstock.connectors.duckdb import CONNECTOR
from penstock.protocols import Destination, Source
from penstock.testing.suites import (
    DestinationSeat,
    EvolvingDestinationSuite,
    IncrementalSourceSuite,
    KeyedDestinationSuite,
    LedgerSuite,
    SourceSeat,
    WideningDestinationSuite,
)
from penstock.testing.suites.rows import Row, make_rows
from penstock.values import Connection, StreamName, TableName


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def run(path: Path, statement: str, rows: Sequence[Sequence[object]] = ()) -> list[Row]:
    """Every connection of one process to one file must agree on its settings: these are the defaults."""
    import duckdb

    with duckdb.connect(str(path)) as link:
        if rows:
            link.executemany(statement, rows)
            return []
        found = link.execute(statement)
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def names_in(path: Path) -> list[str]:
    return [str(row["table_name"]) for row in run(path, "SELECT table_name FROM duckdb_tables()")]


def read_table(path: Path, table: TableName) -> list[Row]:
    return run(path, f"SELECT * FROM {quoted(table.name)}") if table.name in names_in(path) else []


def insert(path: Path, rows: Sequence[Row]) -> None:
    run(path, "INSERT INTO rows VALUES (?, ?, ?, ?)", [tuple(row.values()) for row in rows])


def drop(path: Path, name: StreamName) -> None:
    run(path, f"DROP TABLE {name}")


def open_source(path: Path) -> Source:
    assert CONNECTOR.open_source is not None
    return CONNECTOR.open_source(Connection("duck", "duckdb", database=str(path)))


def open_destination(path: Path) -> Destination:
    assert CONNECTOR.open_destination is not None
    return CONNECTOR.open_destination(Connection("duck", "duckdb", database=str(path)))


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    no_database = tmp_path / "text.duckdb"
    no_database.write_text("this is no database, and long enough to be sure of it " * 10)
    return no_database


@pytest.mark.feature("M3", "M4", "M11u")
class TestDuckdbSource(IncrementalSourceSuite):
    @pytest.fixture
    def seat(self, tmp_path: Path, broken: Path) -> SourceSeat:
        path = tmp_path / "source.duckdb"
        for name in ("rows", "empty"):
            run(path, f"CREATE TABLE {name} (id bigint, stamp bigint, note text, ratio double)")
        insert(path, make_rows(0, 100))
        return SourceSeat(
            make=partial(open_source, path),
            stream=StreamName("rows"),
            empty=StreamName("empty"),
            absent=StreamName("absent"),
            add=partial(insert, path),
            drop=partial(drop, path),
            broken=partial(open_source, broken),
        )


@pytest.fixture
def duckdb_seat(tmp_path: Path, broken: Path) -> DestinationSeat:
    path = tmp_path / "target.duckdb"
    return DestinationSeat(
        make=partial(open_destination, path),
        target=TableName(None, "target"),
        read=partial(read_table, path),
        tables=partial(names_in, path),
        broken=partial(open_destination, broken),
    )


@pytest.mark.feature("M5", "M11u")
class TestDuckdbDestination(KeyedDestinationSuite, EvolvingDestinationSuite, WideningDestinationSuite):
    @pytest.fixture
    def seat(self, duckdb_seat: DestinationSeat) -> DestinationSeat:
        return duckdb_seat


@pytest.mark.feature("N2", "M11u")
class TestDuckdbLedger(LedgerSuite):
    @pytest.fixture
    def seat(self, duckdb_seat: DestinationSeat) -> DestinationSeat:
        return duckdb_seat
