"""Writing to a SQLite file: one writer, data and ledger in one transaction."""

from __future__ import annotations

from penstock.connectors.sql.destination import SqlDestination
from penstock.connectors.sql.ledger import LedgerTables
from penstock.connectors.sql.link import SqlLink
from penstock.connectors.sql.load import Site
from penstock.connectors.sqlite.dialect import SQLITE
from penstock.connectors.sqlite.files import database_path, remember_destination
from penstock.connectors.sqlite.link import SqliteLink
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
    }
)
LIMITS = Limits(identifier_bytes=255, columns=2000, loads=1, writers=1, cell_bytes=1_000_000_000)


def open_destination(connection: Connection) -> SqlDestination:
    path = database_path(connection)
    remember_destination(path)

    def connect() -> SqlLink:
        return SqliteLink(path, writes=True)

    def look() -> SqlLink:
        return SqliteLink(path, writes=False)

    site = Site(SQLITE, connect, LedgerTables(SQLITE, None))
    return SqlDestination(site, look, identity=f"sqlite:{path}", operations=OPERATIONS, limits=LIMITS)
