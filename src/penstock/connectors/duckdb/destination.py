"""Writing to a DuckDB file: data and ledger in one transaction of one cursor."""

from __future__ import annotations

from contextlib import AbstractContextManager

from penstock.connectors.duckdb.dialect import DUCKDB
from penstock.connectors.duckdb.files import database_path, identity_of
from penstock.connectors.duckdb.handles import kept_open, remember_destination
from penstock.connectors.duckdb.link import DuckdbLink
from penstock.connectors.sql.destination import SqlDestination, ledger_schema
from penstock.connectors.sql.ledger import LedgerTables
from penstock.connectors.sql.link import SqlLink
from penstock.connectors.sql.load import Site
from penstock.values import Connection, Limits, Operation

OPERATIONS: frozenset[Operation] = frozenset(
    {
        "transaction",
        "create",
        "append",
        "delete_all",
        "swap",
        "stage",
        "upsert",
        "delete_matching",
        "delete_window",
        "add_column",
        "widen_column",
        "unique_key",
        "view",
        "ingested_at",
        "nested",
    }
)
LIMITS = Limits(identifier_bytes=255, columns=10_000, loads=1, writers=1, digits=38)


class DuckdbDestination(SqlDestination):
    """One file, which only one process can have open."""

    def __init__(self, path: str, connection: Connection) -> None:
        def connect() -> SqlLink:
            return DuckdbLink(path, makes_file=True)

        def look() -> SqlLink:
            return DuckdbLink(path, makes_file=False)

        site = Site(DUCKDB, connect, LedgerTables(DUCKDB, ledger_schema(connection)))
        super().__init__(site, look, identity=identity_of(connection), operations=OPERATIONS, limits=LIMITS)
        self._path = path

    def kept_open(self) -> AbstractContextManager[None]:
        return kept_open(self._path)


def open_destination(connection: Connection) -> DuckdbDestination:
    path = database_path(connection)
    remember_destination(path)
    return DuckdbDestination(path, connection)
