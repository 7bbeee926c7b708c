"""One destination file of each system, and a look at it that is not ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from penstock.connectors.duckdb import CONNECTOR as DUCKDB
from penstock.connectors.sql.destination import SqlDestination
from penstock.connectors.sqlite import CONNECTOR as SQLITE
from penstock.values import CommitReceipt, Connection, TableName, WriteStep
from tests.connectors.sql.loads import load_rows, plan_of

T = TableName(None, "items")
ROWS = "SELECT id, name FROM items ORDER BY id, name"


@dataclass
class Place:
    """`query` runs statements in a connection of its own and returns the rows of the last."""

    system: str
    destination: SqlDestination
    path: Path
    query: Callable[..., list[Any]]

    def load(
        self,
        steps: Sequence[WriteStep],
        rows: Sequence[Mapping[str, Any]],
        *,
        account: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> CommitReceipt:
        """One whole load of the target, continuing from its head."""
        plan = plan_of(self.destination, T, steps, **changes)
        return load_rows(self.destination, plan, rows, **(account or {}))

    def names(self) -> set[str]:
        return {str(row[0]) for row in self.query("SELECT name FROM sqlite_master WHERE sql IS NOT NULL")}


def _sqlite_query(path: Path, *statements: str) -> list[Any]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return [connection.execute(sql).fetchall() for sql in statements][-1]
    finally:
        connection.close()


def _duckdb_query(path: Path, *statements: str) -> list[Any]:
    with duckdb.connect(str(path)) as connection:
        rows: list[Any] = [connection.execute(sql).fetchall() for sql in statements][-1]
        return rows


SYSTEMS = {"sqlite": (SQLITE, _sqlite_query), "duckdb": (DUCKDB, _duckdb_query)}


def open_place(system: str, folder: Path) -> Place:
    connector, query = SYSTEMS[system]
    path = folder / "target.db"
    assert connector.open_destination
    opened = connector.open_destination(Connection("lake", system, database=str(path)))
    assert isinstance(opened, SqlDestination)
    return Place(system, opened, path, partial(query, path))
