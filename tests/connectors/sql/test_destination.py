"""Loads into SQLite and DuckDB files: what holds for every SQL destination."""

from __future__ import annotations

from dataclasses import replace

import pytest

from penstock.errors import FencedError, LoadError
from penstock.values import (
    Account,
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
    Upsert,
)
from tests.connectors.sql.loads import FIRST, ITEMS, batches_of, items, load_rows, plan_of
from tests.connectors.sql.place import ROWS, Place, T


def test_a_first_load_makes_the_table_and_the_ledger(place: Place) -> None:
    position = Position(Cursor("int", 2))
    receipt = place.load(FIRST, items((1, "a"), (2, "")), account={"position": position})
    assert (receipt.written, receipt.sequence) == (2, 1)
    assert place.query(ROWS) == [(1, "a"), (2, "")]
    head = place.destination.ledger().heads([T])[T]
    assert (head.sequence, head.position, head.state, head.epoch) == (1, position, "done", 1)
    row = place.destination.ledger().find(receipt.load_id)
    assert row is not None
    assert row.rows_written == 2


def test_an_append_adds_to_what_is_there(place: Place) -> None:
    place.load(FIRST, items((1, "a")))
    receipt = place.load([Insert()], items((2, None)))
    assert receipt.sequence == 2
    assert place.query(ROWS) == [(1, "a"), (2, None)]
    assert [row.sequence for row in place.destination.ledger().history(T, 5)] == [2, 1]


def test_a_replace_swaps_the_table_and_keeps_its_indices(place: Place) -> None:
    place.load(FIRST, items((1, "a")))
    place.query("CREATE INDEX by_name ON items (name)")
    place.load([CreateTable(), Insert(), Swap()], items((7, "z"), (8, "y")))
    assert place.query(ROWS) == [(7, "z"), (8, "y")]
    assert place.names() == {"_penstock_boundary", "_penstock_ledger", "_penstock_loads", "by_name", "items"}


def test_an_upsert_keeps_the_last_row_of_each_key_and_counts_the_others(place: Place) -> None:
    steps = (CreateTable(), EnsureKey(("id",)), Upsert(("id",)))
    first = place.load(steps, items((1, "a"), (2, "b"), (1, "later")), route="staged", strategy="upsert")
    assert (first.written, first.deduplicated_out) == (2, 1)
    steps2 = (EnsureKey(("id",)), Upsert(("id",)))
    place.load(steps2, items((2, "new"), (3, "c")), route="staged", strategy="upsert")
    assert place.query(ROWS) == [(1, "later"), (2, "new"), (3, "c")]


def test_delete_insert_replaces_the_rows_of_the_loaded_keys(place: Place) -> None:
    place.load(FIRST, items((1, "a"), (1, "b"), (2, "c")))
    steps = (DeleteMatching(("id",)), Insert())
    place.load(steps, items((1, "x"), (1, "y")), route="staged", strategy="delete_insert")
    assert place.query(ROWS) == [(1, "x"), (1, "y"), (2, "c")]


def test_delete_insert_by_window_replaces_the_window(place: Place) -> None:
    place.load(FIRST, items((1, "a"), (2, "b"), (3, "c")))
    steps = (DeleteWindow("id", Cursor("int", 2), Cursor("int", 3), upper_open=True), Insert())
    place.load(steps, items((2, "new")), strategy="delete_insert")
    assert place.query(ROWS) == [(1, "a"), (2, "new"), (3, "c")]


def test_a_replace_in_place_deletes_and_loads_in_one_transaction(place: Place) -> None:
    place.load(FIRST, items((1, "a")))
    place.load([DeleteAll(), Insert()], items((2, "b")), strategy="replace")
    assert place.query(ROWS) == [(2, "b")]


def test_rows_without_a_key_are_refused_and_counted(place: Place) -> None:
    steps = (CreateTable(), EnsureKey(("id",)), Upsert(("id",)))
    plan = plan_of(place.destination, T, steps, route="staged", strategy="upsert")
    with pytest.raises(LoadError, match="2 rows without a value in the key") as caught:
        load_rows(place.destination, plan, items((None, "a"), (None, "b"), (1, "c")))
    assert caught.value.fault == "data"
    assert place.destination.describe([T]) == {T: None}


def test_an_aborted_load_leaves_nothing(place: Place) -> None:
    session = place.destination.begin(plan_of(place.destination, T, FIRST))
    session.write(SplitId("one"), 1, batches_of(ITEMS, items((1, "a"))))
    session.abort()
    session.abort()
    assert place.destination.describe([T]) == {T: None}
    assert place.destination.ledger().heads([T])[T].sequence == 0
    assert [p.name for p in place.path.parent.iterdir()] == ["target.db"]


def test_a_repeated_commit_returns_the_first_receipt(place: Place) -> None:
    session = place.destination.begin(plan_of(place.destination, T, FIRST))
    piece = session.write(SplitId("one"), 1, batches_of(ITEMS, items((1, "a"))))
    account = Account(Position(), read=1, expected=1)
    first = session.commit([piece], account)
    again = session.commit([piece], account)
    assert again.repeated
    assert again.load_id == first.load_id
    assert place.query(ROWS) == [(1, "a")]


def test_a_second_attempt_of_a_split_returns_the_first_piece(place: Place) -> None:
    session = place.destination.begin(plan_of(place.destination, T, FIRST))
    first = session.write(SplitId("one"), 1, batches_of(ITEMS, items((1, "a"))))
    assert session.write(SplitId("one"), 2, batches_of(ITEMS, items((1, "a")))) == first
    session.commit([first], Account(Position(), read=1, expected=1))
    assert place.query(ROWS) == [(1, "a")]


@pytest.mark.claims("error:LoadError")
def test_rows_of_a_piece_that_nobody_claims_fail_the_load(place: Place) -> None:
    session = place.destination.begin(plan_of(place.destination, T, FIRST))
    claimed = session.write(SplitId("one"), 1, batches_of(ITEMS, items((1, "a"))))
    session.write(SplitId("stray"), 1, batches_of(ITEMS, items((2, "b"))))
    with pytest.raises(LoadError, match="the pieces of the load are 2"):
        session.commit([claimed], Account(Position(), read=1, expected=1))
    session.abort()
    assert place.destination.describe([T]) == {T: None}


def test_a_load_whose_epoch_is_over_cannot_commit(place: Place) -> None:
    place.load(FIRST, items((1, "a")))
    session = place.destination.begin(plan_of(place.destination, T, [Insert()]))
    ledger = place.destination.ledger()
    head = ledger.heads([T])[T]
    ledger.set_head(T, replace(head, epoch=head.epoch + 1), expected_epoch=head.epoch)
    piece = session.write(SplitId("one"), 1, batches_of(ITEMS, items((2, "b"))))
    with pytest.raises(FencedError, match="taken over"):
        session.commit([piece], Account(Position(), read=1, expected=1))
    session.abort()
    assert place.query(ROWS) == [(1, "a")]


def test_a_load_that_holds_the_target_is_named_to_the_second(place: Place) -> None:
    session = place.destination.begin(plan_of(place.destination, T, FIRST))
    with pytest.raises(FencedError, match="the first run"):
        place.destination.begin(plan_of(place.destination, T, FIRST, lock_wait_seconds=0.1, holder="the second run"))
    session.abort()


def test_a_plan_the_head_has_moved_past_is_refused_at_once(place: Place) -> None:
    stale = plan_of(place.destination, T, FIRST)
    load_rows(place.destination, stale, items((1, "a")))
    with pytest.raises(FencedError) as caught:
        place.destination.begin(stale)
    assert caught.value.retryable


def test_looking_at_a_file_that_is_not_there_does_not_make_it(place: Place) -> None:
    assert place.destination.describe([T]) == {T: None}
    assert place.destination.ledger().heads([T]) == {}
    assert not place.path.exists()


def test_rejected_rows_land_beside_the_target_with_the_load(place: Place) -> None:
    session = place.destination.begin(plan_of(place.destination, T, FIRST))
    good = session.write(SplitId("one"), 1, batches_of(ITEMS, items((1, "a"))))
    bad = session.write(SplitId("one"), 1, batches_of(ITEMS, items((9, "bad"))), into="quarantine")
    session.commit([good, bad], Account(Position(), read=2, expected=1, quarantined=1))
    assert place.query(ROWS) == [(1, "a")]
    assert place.query("SELECT id, name FROM items__quarantine") == [(9, "bad")]
