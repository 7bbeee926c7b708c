"""Each row version is delivered once, whatever its stamp and whenever its transaction commits."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from penstock.errors import ConfigError, ExtractionError
from penstock.values import Cursor, CursorSpec, Position, Window

from .conftest import Database

pytestmark = pytest.mark.postgres

TABLE = "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, n int)"


def test_a_second_load_delivers_only_what_came_since(database: Database) -> None:
    database.execute(f"{TABLE}; INSERT INTO t SELECT i, now() FROM generate_series(1, 100) i")
    ids, position = database.load("t", "at")
    assert ids == list(range(1, 101))
    database.execute("INSERT INTO t VALUES (101, now()), (102, now())")
    ids, position = database.load("t", "at", position)
    assert ids == [101, 102]
    assert database.load("t", "at", position)[0] == []


@pytest.mark.feature("N14")
def test_a_row_stamped_early_and_committed_late_is_delivered_once(database: Database) -> None:
    database.execute(TABLE)
    slow = database.session()
    slow.execute("BEGIN; INSERT INTO t VALUES (1, now())")
    database.execute("INSERT INTO t VALUES (2, now() + interval '1 s')")
    ids, position = database.load("t", "at")
    assert ids == []  # row 2 is above the open transaction: held back until it ends
    slow.execute("COMMIT")
    ids, position = database.load("t", "at", position)
    assert ids == [1, 2]
    assert database.load("t", "at", position)[0] == []


@pytest.mark.feature("N14")
def test_a_transaction_that_takes_its_id_last_is_not_missed_without_lookback(database: Database) -> None:
    database.execute(f"{TABLE}; INSERT INTO t VALUES (1, now())")
    early = database.session()
    early.execute("BEGIN")
    early.query("SELECT now()")  # the stamp is taken here, the transaction id with the INSERT
    cursor = CursorSpec(("at",), lookback=0)
    database.execute("INSERT INTO t VALUES (2, now())")
    ids, position = database.load("t", "at", cursor=cursor)
    assert ids == [1, 2]
    early.execute("INSERT INTO t VALUES (3, now()); COMMIT")
    assert database.load("t", "at", position, cursor=cursor)[0] == [3]


def test_held_back_rows_keep_the_resume_point_below_them(database: Database) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY, seq int)")
    slow = database.session()
    slow.execute("BEGIN; INSERT INTO t VALUES (1, 50)")
    database.execute("INSERT INTO t VALUES (2, 10)")
    database.execute("INSERT INTO t VALUES (3, 90)")
    cursor = CursorSpec(("seq",), lookback=0)
    ids, position = database.load("t", "seq", cursor=cursor)
    assert ids == []
    assert position.resume == Cursor("int", 10)
    slow.execute("ROLLBACK")
    assert database.load("t", "seq", position, cursor=cursor)[0] == [2, 3]


def test_keyed_strategies_see_everything_since_the_last_horizon(database: Database) -> None:
    database.execute(TABLE)
    _, position = database.load("t", "at", late_commits="all")
    slow = database.session()
    slow.execute("BEGIN; INSERT INTO t VALUES (1, now())")
    database.execute("INSERT INTO t VALUES (2, now())")
    ids, position = database.load("t", "at", position, late_commits="all")
    assert ids == [2]
    slow.execute("COMMIT")
    assert 1 in database.load("t", "at", position, late_commits="all")[0]


def test_a_window_load_reads_everything_from_its_resume_point(database: Database) -> None:
    database.execute(f"{TABLE}; INSERT INTO t VALUES (1, now() - interval '3 h'), (2, now()), (3, NULL)")
    ids, position = database.load("t", "at", late_commits="window")
    assert ids == [1, 2, 3]
    database.execute("INSERT INTO t VALUES (4, now()), (5, NULL)")
    assert database.load("t", "at", position, late_commits="window")[0] == [2, 4, 5]


def test_savepoints_and_rollbacks_leave_nothing_behind_and_nothing_out(database: Database) -> None:
    database.execute(TABLE)
    _, position = database.load("t", "at")
    database.execute(
        "BEGIN; INSERT INTO t VALUES (1, now()); SAVEPOINT a; INSERT INTO t VALUES (2, now()); ROLLBACK TO a;"
        "SAVEPOINT b; INSERT INTO t VALUES (3, now()); RELEASE b; COMMIT"
    )
    ids, position = database.load("t", "at", position)
    assert ids == [1, 3]
    assert database.load("t", "at", position)[0] == []


def test_an_idle_table_is_proved_idle_and_a_changed_one_is_not(database: Database) -> None:
    database.execute(f"{TABLE}; INSERT INTO t VALUES (1, now()); CREATE TABLE other (id int)")
    _, position = database.load("t", "at")
    database.execute("INSERT INTO other VALUES (1)")
    request = database.request("t", "at", after=position)
    assert database.source.probe([request])[0].idle is True
    database.execute("UPDATE t SET n = 1")
    assert database.source.probe([request])[0].idle is None


@pytest.mark.parametrize(("nulls", "expected"), [("include", [1, 2]), ("skip", [1])])
def test_rows_without_cursor_are_a_choice(database: Database, nulls: str, expected: list[int]) -> None:
    database.execute(f"{TABLE}; INSERT INTO t VALUES (1, now()), (2, NULL)")
    cursor = CursorSpec(("at",), nulls=nulls)  # type: ignore[arg-type]
    ids, position = database.load("t", "at", cursor=cursor)
    assert ids == expected
    database.execute("INSERT INTO t VALUES (3, NULL)")
    assert database.load("t", "at", position, cursor=cursor)[0] == ([3] if nulls == "include" else [])


def test_rows_without_cursor_fail_where_they_must_not_be(database: Database) -> None:
    database.execute(f"{TABLE}; INSERT INTO t VALUES (1, now())")
    cursor = CursorSpec(("at",), nulls="fail")
    _, position = database.load("t", "at", cursor=cursor)
    database.execute("INSERT INTO t VALUES (2, NULL)")
    with pytest.raises(ExtractionError, match="without a value in the cursor 'at'"):
        database.load("t", "at", position, cursor=cursor)


def test_a_list_of_cursors_counts_by_the_greatest(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id int, a int, b int); INSERT INTO t VALUES (1, 1, NULL), (2, 5, 9), (3, NULL, NULL)"
    )
    cursor = CursorSpec(("a", "b"), nulls="include", lookback=0)
    ids, position = database.load("t", "a", cursor=cursor)
    assert (ids, position.cursor) == ([1, 2, 3], Cursor("int", 9))
    database.execute("INSERT INTO t VALUES (4, 3, 12), (5, 30, 1), (6, 1, 1)")
    # 6 lies below both ends: that is what the cursor says
    assert database.load("t", "a", position, cursor=cursor)[0] == [4, 5]


def test_an_expression_orders_a_table_and_misses_nothing_by_default(database: Database) -> None:
    database.execute(f"{TABLE}; INSERT INTO t VALUES (1, now(), 7), (2, now(), NULL)")
    cursor = CursorSpec(expression="coalesce(n, 0) + id", type="int", nulls="include")
    ids, position = database.load("t", "at", cursor=cursor)
    assert (ids, position.cursor, position.resume) == ([1, 2], Cursor("int", 8), None)
    database.execute("INSERT INTO t VALUES (3, now(), -100)")
    assert database.load("t", "at", position, cursor=cursor)[0] == [3]


@pytest.mark.parametrize("values", ["'a', 'B', 'é', 'z'", "'10', '9', 'x', '_'"])
def test_a_string_cursor_delivers_each_row_once(database: Database, values: str) -> None:
    database.execute(f"CREATE TABLE t (id serial, s text); INSERT INTO t (s) SELECT unnest(ARRAY[{values}])")
    ids, position = database.load("t", "s")
    assert ids == [1, 2, 3, 4]
    database.execute("INSERT INTO t (s) VALUES ('A')")
    assert database.load("t", "s", position)[0] == [5]


def test_a_static_window_takes_everything_in_it_and_moves_nothing(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id int, d date); INSERT INTO t SELECT i, '2024-01-01'::date + i FROM generate_series(0, 9) i"
    )
    before = Position(cursor=Cursor("date", date(2024, 1, 5)), horizon=5)
    window = Window(Cursor("date", date(2024, 1, 3)), Cursor("date", date(2024, 1, 5)))
    assert database.load("t", "d", before, window=window) == ([2, 3], before)


@pytest.mark.feature("N14")
@pytest.mark.claims("error:ExtractionError")
def test_another_system_stops_and_asks(database: Database) -> None:
    database.execute(f"{TABLE}; INSERT INTO t VALUES (1, now())")
    _, position = database.load("t", "at")
    elsewhere = replace(position, identity="1234567/1")
    with pytest.raises(ExtractionError, match="another system") as stopped:
        database.load("t", "at", elsewhere)
    assert (stopped.value.retryable, stopped.value.fault) == (False, "config")
    database.execute("INSERT INTO t VALUES (2, now())")
    ids, accepted = database.load("t", "at", elsewhere, accept_source_change=True)
    assert (ids, accepted.identity) == ([2], position.identity)


def test_a_horizon_two_billion_transactions_old_stops(database: Database) -> None:
    database.execute(f"{TABLE}; INSERT INTO t VALUES (1, now())")
    _, position = database.load("t", "at")
    assert position.horizon is not None
    with pytest.raises(ExtractionError, match="transactions old"):
        database.load("t", "at", replace(position, horizon=position.horizon - (1 << 31)))


def test_a_cursor_of_another_type_than_the_stored_one_is_refused(database: Database) -> None:
    database.execute(f"{TABLE}; INSERT INTO t VALUES (1, now(), 5)")
    _, position = database.load("t", "n")
    with pytest.raises(ConfigError, match="the stored cursor is a int"):
        database.load("t", "at", position)


def test_a_cursor_at_infinity_is_an_error_that_names_it(database: Database) -> None:
    database.execute(f"{TABLE}; INSERT INTO t VALUES (1, 'infinity')")
    with pytest.raises(ExtractionError, match="cursor 'at' is infinite"):
        database.load("t", "at")


def test_the_resume_point_lies_below_the_oldest_open_transaction(database: Database) -> None:
    database.execute(f"{TABLE}; INSERT INTO t VALUES (1, now() + interval '1 day')")
    early = database.session()
    early.execute("BEGIN")
    started = early.query("SELECT now()")[0][0]
    _, position = database.load("t", "at", cursor=CursorSpec(("at",), lookback=60))
    assert position.resume == Cursor("datetime", started - timedelta(seconds=60))
