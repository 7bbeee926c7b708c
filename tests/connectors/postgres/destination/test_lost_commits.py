"""The reply to COMMIT is lost: the ledger says what happened."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.connectors.postgres.connect import Session
from penstock.connectors.postgres.destination import PostgresDestination
from penstock.errors import CommitUnknownError, LoadError
from penstock.protocols import LoadSession
from penstock.testing.loads import Loads, account_for, write
from penstock.values import Connection, CreateTable, Insert, Piece, Swap
from tests.connectors.postgres.destination.test_loads import ITEMS, TARGET, items, loads_to, rows_of
from tests.connectors.postgres.proxy import LosingProxy

pytestmark = [pytest.mark.postgres, pytest.mark.feature("N2"), pytest.mark.claims("commit.ledger_written")]


def begin_through(proxy: LosingProxy, connection: Connection, lock_wait_seconds: float) -> tuple[LoadSession, Piece]:
    loads = Loads(PostgresDestination(connection), TARGET, lock_wait_seconds=lock_wait_seconds)
    through = PostgresDestination(replace(connection, host="127.0.0.1", port=proxy.port))
    session = through.begin(loads.plan(ITEMS))
    return session, write(session, "0", items((1, "a"), (2, "b")))


def proxy_to(connection: Connection, **options: bool) -> LosingProxy:
    assert connection.host is not None
    assert connection.port is not None
    return LosingProxy(connection.host, connection.port, b"COMMIT\0", **options)


def test_a_commit_whose_reply_was_lost_returns_its_receipt(own_database: Connection, look: Session) -> None:
    Loads(PostgresDestination(own_database), TARGET).deliver(items((0, "first")))
    with proxy_to(own_database) as proxy:
        session, piece = begin_through(proxy, own_database, 10.0)
        proxy.arm()
        receipt = session.commit([piece], account_for([piece]))
        session.abort()
    assert proxy.lost.is_set()
    assert (receipt.written, receipt.sequence, receipt.repeated) == (2, 2, False)
    assert rows_of(look) == [(0, "first"), (1, "a"), (2, "b")]
    head = PostgresDestination(own_database).ledger().heads([TARGET])[TARGET]
    assert (head.load_id, head.sequence) == (receipt.load_id, 2)


def test_a_commit_that_never_arrived_is_a_retryable_error_and_leaves_nothing(
    own_database: Connection, look: Session
) -> None:
    with proxy_to(own_database, forward=False) as proxy:
        session, piece = begin_through(proxy, own_database, 10.0)
        proxy.arm()
        with pytest.raises(LoadError, match=r"the ledger says that the load .* is not in") as caught:
            session.commit([piece], account_for([piece]))
        session.abort()
    assert not isinstance(caught.value, CommitUnknownError)
    assert caught.value.retryable
    assert look.query("SELECT to_regclass('items') IS NULL") == [(True,)]
    Loads(PostgresDestination(own_database), TARGET).deliver(items((1, "a")))
    assert rows_of(look) == [(1, "a")]


@pytest.mark.parametrize("forward", [True, False])
def test_a_commit_that_nobody_can_be_asked_about_is_unknown(own_database: Connection, *, forward: bool) -> None:
    with proxy_to(own_database, forward=forward, last=True) as proxy:
        session, piece = begin_through(proxy, own_database, 0.1)
        proxy.arm()
        with pytest.raises(CommitUnknownError) as caught:
            session.commit([piece], account_for([piece]))
    assert caught.value.exit_code == 5


def test_a_load_that_is_in_stays_in_when_its_private_tables_cannot_be_dropped(
    own_database: Connection, look: Session
) -> None:
    loads = loads_to(own_database, writers=2)
    plan = loads.plan(ITEMS, route="shadow", steps=[CreateTable(), Insert(), Swap()])
    with proxy_to(own_database) as proxy:
        through = PostgresDestination(replace(own_database, host="127.0.0.1", port=proxy.port))
        session = through.begin(plan)
        piece = write(session, "0", items((1, "a")))
        proxy.shut()
        receipt = session.commit([piece], account_for([piece]))
        session.abort()
    assert receipt.written == 1
    assert rows_of(look) == [(1, "a")]
    left = "SELECT count(*) FROM pg_class WHERE relname LIKE '\\_penstock\\_%' AND relkind = 'r'"
    assert look.query(left) == [(4,)]
    loads.deliver(items((2, "b")))
    assert look.query(left) == [(3,)]
