"""The write side of a SQL system: a dialect, a way to connect, and what it declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.connectors.sql.ledger import SqlLedger
from penstock.connectors.sql.link import Connect, linked
from penstock.connectors.sql.load import Site, SqlLoadSession, begin_load
from penstock.connectors.sql.writer import SqlWriter
from penstock.protocols import LedgerStore, LoadSession, Writer
from penstock.values import Connection, Limits, LoadPlan, Operation, TableName, TableSchema, WriteTicket


class SqlDestination:
    """A Destination over a Site. `look` opens a link that need not be able to write."""

    def __init__(
        self, site: Site, look: Connect, *, identity: str, operations: frozenset[Operation], limits: Limits
    ) -> None:
        self._site, self._look = site, look
        self._identity, self._operations, self._limits = identity, operations, limits

    @property
    def operations(self) -> frozenset[Operation]:
        return self._operations

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def identity(self) -> str:
        return self._identity

    def check(self) -> None:
        """Connect, and look at the catalogue."""
        with linked(self._look) as link:
            self._site.ledger.exist(link)

    def describe(self, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema | None]:
        with linked(self._look) as link:
            return self._site.dialect.describe(link, tables)

    def has_rows(self, table: TableName) -> bool:
        """Whether the table, which exists, holds any row."""
        with linked(self._look) as link:
            return bool(link.query(f"SELECT 1 FROM {self._site.dialect.table(table)} LIMIT 1"))

    def attachments(self, table: TableName) -> Sequence[str]:
        """What hangs on the table and would not survive a swap; `plan` names it."""
        with linked(self._look) as link:
            return self._site.dialect.attachments(link, table)

    def ledger(self) -> LedgerStore:
        return SqlLedger(self._site.ledger, self._site.connect, self._look)

    def begin(self, plan: LoadPlan) -> LoadSession:
        return begin_load(self._site, plan, SqlLoadSession)

    def writer(self, ticket: WriteTicket) -> Writer:
        return SqlWriter.from_ticket(self._site.dialect, self._site.connect, ticket)


def ledger_schema(connection: Connection) -> str | None:
    return connection.ledger_schema or connection.schema
