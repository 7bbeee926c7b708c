"""Loads into SQLite files."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from penstock.connectors.sql.destination import SqlDestination
from penstock.connectors.sqlite import CONNECTOR
from penstock.errors import FencedError, LoadError
from penstock.values import (
    Account,
    Connection,
    CreateTable,
    Cursor,
    DeleteAll,
    DeleteMatching,
    DeleteWindow,
    EnsureKey,
    Insert,
    Position,
    SplitId,
    Swap,
    TableName,
    Upsert,
)
from tests.connectors.sql.loads import FIRST, ITEMS, batches_of, items, load_rows, plan_of

T = TableName(None, "items")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "target.db"


@pytest.fixture
def destination(path: Path) -> SqlDestination:
    assert CONNECTOR.open_destination
    opened = CONNECTOR.open_destination(Connection("lake", "sqlite", database=str(path)))
    assert isinstance(opened, SqlDestination)
    return opened


def rows_of(path: Path, sql: str = "SELECT id, name FROM items ORDER BY id, name") -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_a_first_load_makes_the_table_and_the_ledger(destination: SqlDestination, path: Path) -> None:
    position = Position(Cursor("int", 2))
    receipt = load_rows(destination, plan_of(destination, T, FIRST), items((1, "a"), (2, "")), position=position)
    assert (receipt.written, receipt.sequence) == (2, 1)
    assert rows_of(path) == [(1, "a"), (2, "")]
    head = destination.ledger().heads([T])[T]
    assert (head.sequence, head.position, head.state, head.epoch) == (1, position, "done", 1)
    row = destination.ledger().find(receipt.load_id)
    assert row is not None
    assert row.rows_written == 2


def test_an_append_adds_to_what_is_there(destination: SqlDestination, path: Path) -> None:
    load_rows(destination, plan_of(destination, T, FIRST), items((1, "a")))
    receipt = load_rows(destination, plan_of(destination, T, [Insert()]), items((2, None)))
    assert receipt.sequence == 2
    assert rows_of(path) == [(1, "a"), (2, None)]
    assert [row.sequence for row in destination.ledger().history(T, 5)] == [2, 1]


def test_a_replace_swaps_the_table_and_keeps_its_indices(destination: SqlDestination, path: Path) -> None:
    load_rows(destination, plan_of(destination, T, FIRST), items((1, "a")))
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE INDEX by_name ON items (name)")
    load_rows(destination, plan_of(destination, T, [CreateTable(), Insert(), Swap()]), items((7, "z"), (8, "y")))
    assert rows_of(path) == [(7, "z"), (8, "y")]
    names = [row[0] for row in rows_of(path, "SELECT name FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")]
    assert names == ["_penstock_boundary", "_penstock_ledger", "_penstock_loads", "by_name", "items"]


def test_an_upsert_keeps_the_last_row_of_each_key_and_counts_the_others(
    destination: SqlDestination, path: Path
) -> None:
    steps = (CreateTable(), EnsureKey(("id",)), Upsert(("id",)))
    first = load_rows(
        destination,
        plan_of(destination, T, steps, route="staged", strategy="upsert"),
        items((1, "a"), (2, "b"), (1, "later")),
    )
    assert (first.written, first.deduplicated_out) == (2, 1)
    steps2 = (EnsureKey(("id",)), Upsert(("id",)))
    load_rows(
        destination, plan_of(destination, T, steps2, route="staged", strategy="upsert"), items((2, "new"), (3, "c"))
    )
    assert rows_of(path) == [(1, "later"), (2, "new"), (3, "c")]


def test_delete_insert_replaces_the_rows_of_the_loaded_keys(destination: SqlDestination, path: Path) -> None:
    load_rows(destination, plan_of(destination, T, FIRST), items((1, "a"), (1, "b"), (2, "c")))
    steps = (DeleteMatching(("id",)), Insert())
    load_rows(
        destination, plan_of(destination, T, steps, route="staged", strategy="delete_insert"), items((1, "x"), (1, "y"))
    )
    assert rows_of(path) == [(1, "x"), (1, "y"), (2, "c")]


def test_delete_insert_by_window_replaces_the_window(destination: SqlDestination, path: Path) -> None:
    load_rows(destination, plan_of(destination, T, FIRST), items((1, "a"), (2, "b"), (3, "c")))
    steps = (DeleteWindow("id", Cursor("int", 2), Cursor("int", 3), upper_open=True), Insert())
    load_rows(destination, plan_of(destination, T, steps, strategy="delete_insert"), items((2, "new")))
    assert rows_of(path) == [(1, "a"), (2, "new"), (3, "c")]


def test_a_replace_in_place_deletes_and_loads_in_one_transaction(destination: SqlDestination, path: Path) -> None:
    load_rows(destination, plan_of(destination, T, FIRST), items((1, "a")))
    load_rows(destination, plan_of(destination, T, [DeleteAll(), Insert()], strategy="replace"), items((2, "b")))
    assert rows_of(path) == [(2, "b")]


def test_rows_without_a_key_are_refused_and_counted(destination: SqlDestination, path: Path) -> None:
    steps = (CreateTable(), EnsureKey(("id",)), Upsert(("id",)))
    plan = plan_of(destination, T, steps, route="staged", strategy="upsert")
    with pytest.raises(LoadError, match="2 rows have no value in the key") as caught:
        load_rows(destination, plan, items((None, "a"), (None, "b"), (1, "c")))
    assert caught.value.fault == "data"
    assert destination.describe([T]) == {T: None}


def test_an_aborted_load_leaves_nothing(destination: SqlDestination, path: Path) -> None:
    session = destination.begin(plan_of(destination, T, FIRST))
    session.write(SplitId("one"), 1, batches_of(ITEMS, items((1, "a"))))
    session.abort()
    session.abort()
    assert destination.describe([T]) == {T: None}
    assert destination.ledger().heads([T])[T].sequence == 0
    assert [p.name for p in path.parent.iterdir()] == ["target.db"]


def test_a_repeated_commit_returns_the_first_receipt(destination: SqlDestination, path: Path) -> None:
    session = destination.begin(plan_of(destination, T, FIRST))
    piece = session.write(SplitId("one"), 1, batches_of(ITEMS, items((1, "a"))))
    account = Account(Position(), read=1, expected=1)
    first = session.commit([piece], account)
    again = session.commit([piece], account)
    assert again.repeated
    assert again.load_id == first.load_id
    assert rows_of(path) == [(1, "a")]


def test_a_second_attempt_of_a_split_returns_the_first_piece(destination: SqlDestination, path: Path) -> None:
    session = destination.begin(plan_of(destination, T, FIRST))
    first = session.write(SplitId("one"), 1, batches_of(ITEMS, items((1, "a"))))
    assert session.write(SplitId("one"), 2, batches_of(ITEMS, items((1, "a")))) == first
    session.commit([first], Account(Position(), read=1, expected=1))
    assert rows_of(path) == [(1, "a")]


def test_a_load_that_holds_the_target_is_named_to_the_second(destination: SqlDestination) -> None:
    session = destination.begin(plan_of(destination, T, FIRST))
    with pytest.raises(FencedError, match="the first run"):
        destination.begin(plan_of(destination, T, FIRST, lock_wait_seconds=0.1, holder="the second run"))
    session.abort()


def test_a_plan_the_head_has_moved_past_is_refused_at_once(destination: SqlDestination) -> None:
    stale = plan_of(destination, T, FIRST)
    load_rows(destination, stale, items((1, "a")))
    with pytest.raises(FencedError) as caught:
        destination.begin(stale)
    assert caught.value.retryable


def test_looking_at_a_file_that_is_not_there_does_not_make_it(destination: SqlDestination, path: Path) -> None:
    assert destination.describe([T]) == {T: None}
    assert destination.ledger().heads([T]) == {}
    assert not path.exists()


def test_rejected_rows_land_beside_the_target_with_the_load(destination: SqlDestination, path: Path) -> None:
    session = destination.begin(plan_of(destination, T, FIRST))
    good = session.write(SplitId("one"), 1, batches_of(ITEMS, items((1, "a"))))
    bad = session.write(SplitId("one"), 1, batches_of(ITEMS, items((9, "bad"))), into="quarantine")
    session.commit([good, bad], Account(Position(), read=2, expected=1, quarantined=1))
    assert rows_of(path) == [(1, "a")]
    assert rows_of(path, "SELECT id, name FROM items__quarantine") == [(9, "bad")]
