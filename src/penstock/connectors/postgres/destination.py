"""The write side of PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from penstock.connectors.postgres.attachments import hangs_on
from penstock.connectors.postgres.dialect import PostgresDialect
from penstock.connectors.postgres.link import PostgresLink
from penstock.connectors.postgres.load import PostgresLoadSession, PostgresWriter
from penstock.connectors.sql.destination import SqlDestination, ledger_schema
from penstock.connectors.sql.ledger import LedgerTables
from penstock.connectors.sql.link import linked
from penstock.connectors.sql.load import Site, begin_load
from penstock.errors import CommitUnknownError, LoadError
from penstock.protocols import LoadSession, Writer
from penstock.values import Connection, Limits, LoadPlan, Operation, TableName, TableSchema, WriteTicket

OPERATIONS: frozenset[Operation] = frozenset(
    (
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
        "remote_pieces",
        "relay",
        "nested",
    )
)


class PostgresDestination(SqlDestination):
    """A Destination in one database; the ledger lies beside the data."""

    def __init__(self, connection: Connection) -> None:
        schema = ledger_schema(connection) or "public"
        dialect = PostgresDialect()
        site = Site(
            dialect,
            partial(PostgresLink, connection, application="load", namespace=schema),
            LedgerTables(dialect, schema),
        )
        writers = max(1, connection.max_connections - 2)  # the load's own session, and one that looks things up
        super().__init__(
            site,
            partial(PostgresLink, connection, application="look", namespace=schema),
            identity=f"postgres:{connection.host or 'localhost'}:{connection.port or 5432}/{connection.database}",
            operations=OPERATIONS,
            limits=Limits(identifier_bytes=63, columns=1600, loads=connection.max_connections, writers=writers),
        )

    def attachments_of(self, tables: Sequence[TableName]) -> Mapping[TableName, tuple[str, ...]]:
        """What hangs on each table and would not survive a swap, in one query; `plan` names it."""
        with linked(self._look) as link:
            return hangs_on(link, tables)

    def remarks(self, incoming: TableSchema, written: TableSchema) -> tuple[str, ...]:
        dialect, sent = self._site.dialect, {f.name: f for f in incoming.fields}
        spelled_anew = [
            f.name
            for f in written.fields
            if f.name in sent and sent[f.name].type == "json" and sent[f.name].native != "jsonb"
            and dialect.column_type(f, written.system) == "jsonb"
        ]  # fmt: skip
        names = ", ".join(spelled_anew)
        return (f"{names}: jsonb keeps the last of an object's repeated keys, and no order of keys",) if names else ()

    def begin(self, plan: LoadPlan) -> LoadSession:
        try:
            return begin_load(self._site, plan, PostgresLoadSession)
        except CommitUnknownError as error:  # nothing is loaded yet: the next begin raises the epoch once more
            raise LoadError(error.what, where=error.where, fault="transient") from error

    def writer(self, ticket: WriteTicket) -> Writer:
        return PostgresWriter.from_ticket(self._site.dialect, self._site.connect, ticket)


__all__ = ["OPERATIONS", "PostgresDestination"]
