"""DuckDB passes the suites; filled and looked at with its own driver."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import duckdb
import pytest

from penstock.connectors.duckdb import CONNECTOR
from penstock.protocols import Destination, Source
from penstock.testing.suites import (
    DestinationSeat,
    EvolvingDestinationSuite,
    IncrementalSourceSuite,
    KeyedDestinationSuite,
    LedgerSuite,
    SnapshotSourceSuite,
    SourceSeat,
)
from penstock.testing.suites.rows import Row, make_rows
from penstock.values import Connection, StreamName, TableName


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def look(path: Path, statement: str) -> list[Row]:
    """Rows as another program sees them."""
    with duckdb.connect(str(path)) as link:
        relation = link.sql(statement)
        return [dict(row) for row in relation.to_arrow_table().to_pylist()]


def names_in(path: Path) -> list[str]:
    return [str(row["name"]) for row in look(path, "SELECT name FROM (SHOW TABLES)")] if path.exists() else []


def read_table(path: Path, table: TableName) -> list[Row]:
    return look(path, f"SELECT * FROM {quoted(table.name)}") if table.name in names_in(path) else []


def open_destination(path: Path) -> Destination:
    assert CONNECTOR.open_destination is not None
    return CONNECTOR.open_destination(Connection("lake", "duckdb", database=str(path)))


def open_source(path: Path) -> Source:
    assert CONNECTOR.open_source is not None
    return CONNECTOR.open_source(Connection("lake", "duckdb", database=str(path)))


def change(path: Path, statement: str, rows: Sequence[Sequence[object]] = ((),)) -> None:
    with duckdb.connect(str(path)) as link:
        for row in rows:
            link.execute(statement, list(row))


def insert(path: Path, rows: Sequence[Row]) -> None:
    change(path, "INSERT INTO rows VALUES (?, ?, ?, ?)", [tuple(row.values()) for row in rows])


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    no_database = tmp_path / "text.duckdb"
    no_database.write_text("this is no database, and long enough to be sure of it " * 100)
    return no_database


@pytest.mark.feature("M3", "M4", "M11u")
class TestDuckdbSource(SnapshotSourceSuite, IncrementalSourceSuite):
    @pytest.fixture
    def seat(self, tmp_path: Path, broken: Path) -> SourceSeat:
        path = tmp_path / "source.duckdb"
        open_destination(path)  # so that the file is open for writing in this process while it is read
        for name in ("rows", "empty"):
            change(path, f"CREATE TABLE {name} (id BIGINT, stamp BIGINT, note VARCHAR, ratio DOUBLE)")
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

    def test_spec15_a_reader_in_another_process_reads_the_split(self, seat: SourceSeat, source: Source) -> None:
        """Only where this process does not write to the file: then both open it for reading."""
        path = Path(source.identity.removeprefix("duckdb:"))
        alone = path.with_name("alone.duckdb")
        shutil.copy(path, alone)
        seat = replace(seat, make=partial(open_source, alone))
        super().test_spec15_a_reader_in_another_process_reads_the_split(seat, seat.make())


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
class TestDuckdbDestination(KeyedDestinationSuite, EvolvingDestinationSuite):
    @pytest.fixture
    def seat(self, duckdb_seat: DestinationSeat) -> DestinationSeat:
        return duckdb_seat


@pytest.mark.feature("N2", "M11u")
class TestDuckdbLedger(LedgerSuite):
    @pytest.fixture
    def seat(self, duckdb_seat: DestinationSeat) -> DestinationSeat:
        return duckdb_seat
