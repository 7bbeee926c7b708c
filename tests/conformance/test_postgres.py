"""PostgreSQL passes the suites; filled and looked at with bare asyncpg sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from penstock.connectors.postgres import CONNECTOR
from penstock.protocols import Destination, Source
from penstock.testing.suites import (
    DestinationSeat,
    EvolvingDestinationSuite,
    KeyedDestinationSuite,
    LedgerSuite,
    LiveSourceSuite,
    PieceDestinationSuite,
    SnapshotSourceSuite,
    SourceSeat,
    WideningDestinationSuite,
)
from penstock.testing.suites.rows import Row, make_rows
from penstock.values import Connection, StreamName, TableName

pytestmark = pytest.mark.postgres


def connection_to(url: str) -> Connection:
    host, _, rest = url.removeprefix("postgresql://postgres@").partition(":")
    port, _, database = rest.partition("/")
    return Connection("pg", "postgres", host=host, port=int(port), database=database, user="postgres", schema="public")


def open_source(url: str) -> Source:
    assert CONNECTOR.open_source is not None
    return CONNECTOR.open_source(connection_to(url))


def open_destination(url: str) -> Destination:
    assert CONNECTOR.open_destination is not None
    return CONNECTOR.open_destination(connection_to(url))


async def _run(url: str, statement: str, rows: Sequence[Sequence[object]] | None) -> list[Any]:
    import asyncpg

    link = await asyncpg.connect(url)
    try:
        if rows is not None:
            await link.executemany(statement, rows)
            return []
        return list(await link.fetch(statement))
    finally:
        await link.close()


def query(url: str, statement: str) -> list[Row]:
    return [dict(row) for row in asyncio.run(_run(url, statement, None))]


def insert(url: str, rows: Sequence[Row]) -> None:
    asyncio.run(_run(url, "INSERT INTO rows VALUES ($1, $2, $3, $4)", [tuple(row.values()) for row in rows]))


def drop(url: str, name: StreamName) -> None:
    query(url, f"DROP TABLE {name}")


def nobody(url: str) -> str:
    """An address of the same form where no server answers."""
    return url.rpartition(":")[0] + ":1/" + url.rpartition("/")[2]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.mark.feature("M3", "M4", "M11a", "N14")
class TestPostgresSource(SnapshotSourceSuite, LiveSourceSuite):
    @pytest.fixture
    def seat(self, postgres_url: str) -> SourceSeat:
        for name in ("rows", "empty"):
            query(postgres_url, f"CREATE TABLE {name} (id bigint, stamp bigint, note text, ratio double precision)")
        insert(postgres_url, make_rows(0, 100))
        return SourceSeat(
            make=partial(open_source, postgres_url),
            stream=StreamName("public.rows"),
            empty=StreamName("public.empty"),
            absent=StreamName("public.absent"),
            add=partial(insert, postgres_url),
            drop=partial(drop, postgres_url),
            broken=partial(open_source, nobody(postgres_url)),
            listed=("rows", "empty"),
        )


def names_in(url: str) -> list[str]:
    """All tables outside the server's own schemas."""
    own = "('pg_catalog', 'information_schema', 'pg_toast')"
    statement = (
        "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        f" WHERE relkind IN ('r', 'p', 'v', 'f') AND nspname NOT IN {own} AND nspname NOT LIKE 'pg_temp%'"
    )
    return [str(row["relname"]) for row in query(url, statement)]


def read_table(url: str, table: TableName) -> list[Row]:
    if table.name not in names_in(url):
        return []
    return query(url, f"SELECT * FROM public.{quoted(table.name)}")


@pytest.fixture
def postgres_seat(postgres_url: str) -> DestinationSeat:
    return DestinationSeat(
        make=partial(open_destination, postgres_url),
        target=TableName("public", "target"),
        read=partial(read_table, postgres_url),
        tables=partial(names_in, postgres_url),
        broken=partial(open_destination, nobody(postgres_url)),
    )


@pytest.mark.feature("M5", "M11a")
class TestPostgresDestination(KeyedDestinationSuite, EvolvingDestinationSuite, WideningDestinationSuite):
    @pytest.fixture
    def seat(self, postgres_seat: DestinationSeat) -> DestinationSeat:
        return postgres_seat


@pytest.mark.feature("M11a")
class TestPostgresPieces(PieceDestinationSuite):
    @pytest.fixture
    def seat(self, postgres_seat: DestinationSeat) -> DestinationSeat:
        return postgres_seat


@pytest.mark.feature("N2", "M11a")
class TestPostgresLedger(LedgerSuite):
    @pytest.fixture
    def seat(self, postgres_seat: DestinationSeat) -> DestinationSeat:
        return postgres_seat
