"""Undecoded bytes from one server to another land as the rows they were, or are refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from penstock.connectors.postgres import loop
from penstock.connectors.postgres.connect import Session
from penstock.connectors.postgres.encode import COPY_BINARY
from penstock.errors import ConfigError, LoadError
from penstock.protocols import LoadSession
from penstock.testing.loads import Loads, account_for
from penstock.values import (
    Connection,
    CreateTable,
    Encoding,
    EnsureKey,
    Field,
    Insert,
    Route,
    SplitId,
    Swap,
    TableSchema,
    Upsert,
    WriteStep,
)
from tests.connectors.postgres.destination.test_loads import ITEMS, TARGET, loads_to, rows_of

pytestmark = [pytest.mark.postgres, pytest.mark.feature("M2")]


@dataclass
class Bytes:
    """Chunks of a COPY of `sql`, made as the source's relay makes them, cut anywhere."""

    session: Session
    sql: str
    encoding: Encoding = COPY_BINARY
    cut: int = 7
    drop: int = 0
    threads: list[bool] = field(default_factory=list)

    def __iter__(self) -> Iterator[bytes]:
        raise AssertionError("both ends are on the loop: no thread is to carry the chunks")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts: list[bytes] = []

        async def keep(chunk: bytes) -> None:
            parts.append(chunk)

        await self.session.raw.copy_from_query(self.sql, output=keep, format="binary")
        whole = b"".join(parts)
        whole = whole[: len(whole) - self.drop]
        self.threads.append(asyncio.get_running_loop() is loop.get())
        for start in range(0, len(whole), self.cut):
            yield whole[start : start + self.cut]


def relay(loads: Loads, session: LoadSession, chunks: list[Bytes]) -> Any:
    try:
        pieces = [session.relay(SplitId(str(i)), 1, c) for i, c in enumerate(chunks)]
        return session.commit(pieces, account_for(pieces)), pieces
    finally:
        session.abort()


@pytest.mark.parametrize(
    ("route", "writers", "steps"),
    [
        ("direct", 1, [CreateTable(), Insert()]),
        ("direct", 1, [CreateTable(), Insert(), Swap()]),
        ("shadow", 2, [CreateTable(), Insert(), Swap()]),
        ("staged", 1, [CreateTable(), EnsureKey(("id",)), Upsert(("id",))]),
        ("staged", 2, [CreateTable(), EnsureKey(("id",)), Upsert(("id",))]),
    ],
)
def test_a_relay_lands_by_every_route_with_the_stamp(
    own_database: Connection, look: Session, route: Route, writers: int, steps: list[WriteStep]
) -> None:
    loads = loads_to(own_database, ingested_at_column="at", writers=writers)
    plan = replace(loads.plan(ITEMS, route=route, steps=steps), relay=COPY_BINARY)
    chunks = [
        Bytes(look, "SELECT i::int8, 'name ' || i FROM generate_series(1, 50) i"),
        Bytes(look, "SELECT i::int8, NULL::text FROM generate_series(51, 60) i", cut=1 << 20),
        Bytes(look, "SELECT 1::int8, ''::text WHERE false"),
    ]
    receipt, pieces = relay(loads, loads.destination.begin(plan), chunks)
    assert rows_of(look) == [(i, f"name {i}" if i <= 50 else None) for i in range(1, 61)]
    assert look.query("SELECT DISTINCT at FROM items") == [(plan.started_at,)]
    assert [p.rows for p in pieces] == [50, 10, 0]
    assert pieces[2].size_bytes == 21
    assert receipt.written == 60
    assert all(ran for c in chunks for ran in c.threads)


def test_another_encoding_is_refused(own_database: Connection, look: Session) -> None:
    loads = loads_to(own_database)
    with pytest.raises(ConfigError, match="'postgres-copy-text'"):
        relay(
            loads, loads.destination.begin(loads.plan(ITEMS)), [Bytes(look, "SELECT 1", Encoding("postgres-copy-text"))]
        )
    assert look.query("SELECT to_regclass('items') IS NULL") == [(True,)]


@pytest.mark.feature("M14")
@pytest.mark.parametrize(
    ("bytes_of", "spelling", "native"),
    [
        ("1.5::float8", "float64", "timestamptz"),
        ("12.345678::numeric", "numeric", "numeric(10,2)"),
        ("42::int8", "int64", "float8"),
        ("now()", "timestamptz", "timestamp"),
        ("now()::time", "time", "int8"),
        ("1::int8", "int64", "timestamp"),
        ("'[1]'::jsonb", "json", "text"),
    ],
)
def test_bytes_of_another_type_are_refused_before_one_is_sent(
    own_database: Connection, look: Session, bytes_of: str, spelling: str, native: str
) -> None:
    look.execute(f"CREATE TABLE items (v {native})")
    loads = loads_to(own_database)
    plan = loads.plan(TableSchema((Field("v", spelling),), system="postgres"), steps=[Insert()])
    chunks = Bytes(look, f"SELECT {bytes_of}")
    with pytest.raises(LoadError, match="no longer the columns or types it had when the load was planned: 'v'"):
        relay(loads, loads.destination.begin(plan), [chunks])
    assert chunks.threads == []
    assert look.query("SELECT count(*) FROM items") == [(0,)]


@pytest.mark.parametrize("drop", [2, 3, 10])
def test_a_source_that_stops_before_its_trailer_fails_the_load(
    own_database: Connection, look: Session, drop: int
) -> None:
    loads = loads_to(own_database)
    chunks = Bytes(look, "SELECT i::int8, 'abc' FROM generate_series(1, 5) i", drop=drop)
    with pytest.raises(LoadError, match="before their trailer") as caught:
        relay(loads, loads.destination.begin(loads.plan(ITEMS)), [chunks])
    assert caught.value.retryable
    assert look.query("SELECT to_regclass('items') IS NULL") == [(True,)]


@pytest.mark.parametrize("writers", [1, 2])
def test_what_the_source_raises_is_what_the_relay_raises(own_database: Connection, look: Session, writers: int) -> None:
    loads = loads_to(own_database, writers=writers)
    steps: list[WriteStep] = [CreateTable(), Insert()] if writers == 1 else [CreateTable(), Insert(), Swap()]
    plan = loads.plan(ITEMS, steps=steps, route="direct" if writers == 1 else "shadow")
    with pytest.raises(Exception, match="division by zero"):
        relay(loads, loads.destination.begin(plan), [Bytes(look, "SELECT 1/0")])
    assert look.query("SELECT to_regclass('items') IS NULL") == [(True,)]


@pytest.mark.parametrize("writers", [1, 2])
def test_a_second_attempt_returns_the_first_one_s_piece(own_database: Connection, look: Session, writers: int) -> None:
    loads = loads_to(own_database, writers=writers)
    steps: list[WriteStep] = [CreateTable(), Insert()] if writers == 1 else [CreateTable(), Insert(), Swap()]
    session = loads.destination.begin(loads.plan(ITEMS, steps=steps, route="direct" if writers == 1 else "shadow"))
    first = session.relay(SplitId("0"), 1, Bytes(look, "SELECT 1::int8, 'one'"))
    second = session.relay(SplitId("0"), 2, Bytes(look, "SELECT 2::int8, 'two'"))
    assert second == first
    session.commit([second], account_for([second]))
    session.abort()
    assert rows_of(look) == [(1, "one")]
    assert loads.destination.ledger().heads([TARGET])[TARGET].sequence == 1
