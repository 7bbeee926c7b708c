"""PostgreSQL passes the suites of destinations, pieces and ledgers; looked at with a session of its own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from penstock.connectors.postgres.connect import Session
from penstock.connectors.postgres.destination import PostgresDestination
from penstock.connectors.postgres.names import quote_table
from penstock.protocols import Destination
from penstock.testing.loads import Loads
from penstock.testing.suites import (
    DestinationSeat,
    EvolvingDestinationSuite,
    KeyedDestinationSuite,
    LedgerSuite,
    PieceDestinationSuite,
)
from penstock.testing.suites.rows import Row
from penstock.values import Connection, TableName

pytestmark = pytest.mark.postgres

_TABLES = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')"


def read_table(look: Session, table: TableName) -> list[Row]:
    if not look.query("SELECT 1 WHERE to_regclass($1) IS NOT NULL", quote_table(table)):
        return []
    return [dict(row.items()) for row in look.wait(look.raw.fetch(f"SELECT * FROM {quote_table(table)}"))]


@pytest.fixture
def seat(own_database: Connection, look: Session) -> DestinationSeat:
    return DestinationSeat(
        make=partial(PostgresDestination, own_database),
        target=TableName("public", "target"),
        read=partial(read_table, look),
        tables=lambda: [str(row[0]) for row in look.query(_TABLES)],
        broken=partial(PostgresDestination, replace(own_database, port=1)),
    )


@pytest.mark.feature("M2", "M5")
class TestPostgresDestination(KeyedDestinationSuite, EvolvingDestinationSuite):
    @pytest.fixture
    def seat(self, seat: DestinationSeat) -> DestinationSeat:
        return seat


@pytest.mark.feature("N2")
class TestPostgresPieces(PieceDestinationSuite):
    @pytest.fixture
    def loads(self, seat: DestinationSeat, destination: Destination) -> Loads:
        return Loads(destination, seat.target, changes={"writers": 2})  # a single writer needs no ticket

    @pytest.fixture
    def seat(self, seat: DestinationSeat) -> DestinationSeat:
        return seat


@pytest.mark.feature("N2")
class TestPostgresLedger(LedgerSuite):
    @pytest.fixture
    def seat(self, seat: DestinationSeat) -> DestinationSeat:
        return seat
