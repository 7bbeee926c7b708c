"""First loads in several loads: all by the first snapshot's horizon, nothing between them lost."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.values import Cursor, CursorSpec, Position

from .conftest import Database

pytestmark = [pytest.mark.postgres, pytest.mark.feature("M15")]

CURSOR = CursorSpec(("n",), nulls="include", lookback=0)


def run_chain(database: Database, stream: str, between: list[str], **wishes: Any) -> tuple[list[list[int]], Position]:
    """All loads of a chain, a statement of the application after each."""
    position: Position | None = None
    loads: list[list[int]] = []
    while position is None or position.chain_end is not None:
        ids, position = database.load(stream, "n", position, **{"cursor": CURSOR, "chain_rows": 10, **wishes})
        loads.append(ids)
        if between:
            database.execute(between.pop(0))
    return loads, position


def test_a_chain_delivers_each_row_once_and_keeps_the_first_horizon(database: Database) -> None:
    database.execute("CREATE TABLE t AS SELECT i AS id, i AS n FROM generate_series(1, 35) i")
    first = database.request("t", cursor=CURSOR, chain_rows=10)
    _, bounds = database.read(first)
    assert (bounds.chained, bounds.rows_estimate) == (True, None)
    assert bounds.position is not None
    assert (bounds.position.cursor, bounds.position.chain_end) == (Cursor("int", 10), Cursor("int", 35))
    loads, position = run_chain(database, "t", ["INSERT INTO t VALUES (36, 36)"])
    assert [len(ids) for ids in loads] == [10, 10, 10, 5]
    assert sorted(i for ids in loads for i in ids) == list(range(1, 36))
    assert position.horizon == bounds.position.horizon
    assert database.load("t", "n", position, cursor=CURSOR)[0] == [36]


def test_ties_do_not_hold_a_chain_up_and_nulls_come_with_its_first_load(database: Database) -> None:
    database.execute(
        "CREATE TABLE t AS SELECT i AS id, i / 20 AS n FROM generate_series(1, 59) i; INSERT INTO t VALUES (0, NULL)"
    )
    loads, _ = run_chain(database, "t", [])
    assert sorted(i for ids in loads for i in ids) == list(range(60))
    assert 0 in loads[0]
    assert len(loads) == 3


def test_rows_that_change_during_a_chain_are_neither_lost_nor_doubled(database: Database) -> None:
    database.execute("CREATE TABLE t AS SELECT i AS id, i AS n FROM generate_series(1, 30) i")
    changes = [
        "UPDATE t SET n = n WHERE id = 15",  # not yet delivered, its cursor stays: only the chain can bring it
        "UPDATE t SET n = 40 WHERE id = 25; INSERT INTO t VALUES (50, 50); DELETE FROM t WHERE id = 26",
    ]
    loads, position = run_chain(database, "t", changes)
    later, _ = database.load("t", "n", position, cursor=CURSOR)
    delivered = sorted([i for ids in loads for i in ids] + later)
    assert delivered == [*range(1, 26), 27, 28, 29, 30, 50]


def test_a_transaction_open_at_the_first_snapshot_comes_after_the_chain(database: Database) -> None:
    database.execute("CREATE TABLE t AS SELECT i AS id, i AS n FROM generate_series(1, 30) i")
    slow = database.session()
    slow.execute("BEGIN; INSERT INTO t VALUES (100, 12)")
    database.execute("INSERT INTO t VALUES (101, 13)")
    cursor = CursorSpec(("n",), nulls="include", lookback=20)
    position: Position | None = None
    delivered: list[int] = []
    while position is None or position.chain_end is not None:
        ids, position = database.load("t", "n", position, cursor=cursor, chain_rows=10)
        delivered += ids
        if slow.in_transaction:
            slow.execute("COMMIT")
    later, _ = database.load("t", "n", position, cursor=cursor)
    assert sorted(delivered + later) == [*range(1, 31), 100, 101]


@pytest.mark.parametrize("late", ["all", "window"])
def test_chains_for_keyed_and_windowed_strategies_cover_everything(database: Database, late: str) -> None:
    database.execute("CREATE TABLE t AS SELECT i AS id, i AS n FROM generate_series(1, 30) i")
    loads, position = run_chain(database, "t", ["INSERT INTO t VALUES (31, 15)"], late_commits=late)
    later, _ = database.load("t", "n", position, cursor=CURSOR, late_commits=late)
    assert set(range(1, 32)) - {31} <= {i for ids in loads for i in ids}
    assert (31 in loads[1]) is True
    assert later == ([] if late == "all" else [30])


def test_a_view_chain_reads_its_edges_again_for_the_boundary_to_tell(database: Database) -> None:
    database.execute(
        "CREATE TABLE t AS SELECT i AS id, i AS n FROM generate_series(1, 25) i; CREATE VIEW v AS SELECT * FROM t"
    )
    loads, position = run_chain(database, "v", [], cursor=CursorSpec(("n",)))
    assert loads == [list(range(1, 11)), list(range(10, 21)), list(range(20, 26))]
    assert (position.cursor, position.resume) == (Cursor("int", 25), Cursor("int", 25))


def test_a_small_table_is_not_chained(database: Database) -> None:
    database.execute("CREATE TABLE t AS SELECT i AS id, i AS n FROM generate_series(1, 10) i")
    _, bounds = database.read(database.request("t", cursor=CURSOR, chain_rows=10))
    assert bounds.chained is False
