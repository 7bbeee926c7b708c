"""What loads make of a table's shape: added columns, keys, views, what hangs on it, and names made to break SQL."""

from __future__ import annotations

import sqlite3
import threading
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from penstock.errors import FencedError, LoadError
from penstock.values import (
    START,
    Account,
    AddColumns,
    Boundary,
    CreateTable,
    Cursor,
    DeleteAll,
    DeleteMatching,
    DeleteWindow,
    EnsureKey,
    Field,
    Insert,
    LedgerHead,
    SplitId,
    Swap,
    TableName,
    TableSchema,
    Upsert,
    WidenColumns,
)
from tests.connectors.sql.loads import FIRST, ITEMS, STARTED, batches_of, items, load_rows, plan_of
from tests.connectors.sql.place import ROWS, Place, T

KEYED = (EnsureKey(("id",)), Upsert(("id",)))
REPLACE = (CreateTable(), Insert(), Swap())


def test_the_ingestion_time_is_the_start_of_the_load_in_every_route(place: Place) -> None:
    stamp: dict[str, Any] = {"ingested_at_column": "_ingested_at"}
    place.load((CreateTable(), *KEYED), items((1, "a")), route="staged", strategy="upsert", **stamp)
    later = datetime.fromisoformat("2030-01-01T00:00:00+00:00")
    place.load((Insert(),), items((2, "b")), started_at=later, **stamp)
    rows = place.query("SELECT id, CAST(_ingested_at AS TEXT) FROM items ORDER BY id")
    assert [(key, datetime.fromisoformat(text)) for key, text in rows] == [(1, STARTED), (2, later)]


def test_a_table_of_somebody_elses_gets_the_ingestion_column_with_its_first_load(place: Place) -> None:
    place.query("CREATE TABLE items (id BIGINT, name TEXT)", "INSERT INTO items VALUES (1, 'theirs')")
    place.load((Insert(),), items((2, "ours")), ingested_at_column="_ingested_at")
    assert place.query("SELECT id, _ingested_at IS NULL FROM items ORDER BY id") == [(1, True), (2, False)]


def test_the_latest_view_shows_the_newest_row_of_each_key_and_survives_a_swap(place: Place) -> None:
    view: dict[str, Any] = {"ingested_at_column": "_at", "latest_view": "newest", "view_key": "id"}
    place.load(FIRST, items((1, "old"), (2, "kept")), **view)
    later = datetime.fromisoformat("2030-01-01T00:00:00+00:00")
    place.load((Insert(),), items((1, "new")), started_at=later, **view)
    assert place.query("SELECT id, name FROM newest ORDER BY id") == [(1, "new"), (2, "kept")]
    place.load(REPLACE, items((7, "anew")), **view)
    assert place.query("SELECT id, name FROM newest") == [(7, "anew")]


def test_new_columns_are_added_in_the_loads_transaction(place: Place) -> None:
    place.load(FIRST, items((1, "a")))
    more = TableSchema((*ITEMS.fields, Field("amount", "decimal(12,2)")))
    plan = plan_of(place.destination, T, (AddColumns(more.fields[2:]), Insert()), schema=more)
    session = place.destination.begin(plan)
    session.write(SplitId("one"), 1, batches_of(more, [{"id": 2, "name": "b", "amount": None}]))
    session.abort()
    assert len(place.query("SELECT * FROM items")[0]) == 2
    load_rows(place.destination, plan_of(place.destination, T, plan.steps, schema=more), [{"id": 2, "name": "b"}])
    assert place.query("SELECT id, amount FROM items ORDER BY id") == [(1, None), (2, None)]


def test_columns_are_widened_where_an_index_hangs_on_the_table_too(place: Place) -> None:
    narrow = TableSchema((Field("id", "int32"), Field("name", "decimal(4,1)"), Field("seen", "date")))
    rows = [{"id": 1, "name": Decimal("1.5"), "seen": date(2024, 1, 2)}]
    place.load((CreateTable(), *KEYED), rows, schema=narrow, route="staged", strategy="upsert")
    wide = TableSchema((Field("id", "int64"), Field("name", "decimal(10,2)"), Field("seen", "timestamp")))
    moment = datetime.fromisoformat("2024-01-03")
    rows = [{"id": 2**40, "name": Decimal("2.25"), "seen": moment}]
    place.load((WidenColumns(wide.fields), *KEYED), rows, schema=wide, route="staged", strategy="upsert")
    found = place.destination.describe([T])[T]
    assert found is not None
    assert [f.type for f in found.fields] == ["int64", "decimal(10,2)", "timestamp"]
    texts = "SELECT id, CAST(name AS TEXT), CAST(seen AS TEXT) FROM items ORDER BY id"
    (first, price, at), (last, *_) = place.query(texts)
    assert (first, Decimal(price), last) == (1, Decimal("1.5"), 2**40)
    assert datetime.fromisoformat(at) == datetime.fromisoformat("2024-01-02")
    place.load(KEYED, rows, schema=wide, route="staged", strategy="upsert")
    assert len(place.query(texts)) == 2


def test_the_order_column_decides_between_rows_of_one_key_and_is_not_kept(place: Place) -> None:
    schema = TableSchema((*ITEMS.fields, Field("_order", "timestamp")))
    days = [datetime.fromisoformat(f"2024-01-0{day}") for day in (3, 1)]
    rows = [
        {"id": 1, "name": "newest", "_order": days[0]},
        {"id": 1, "name": "older, but later in the file", "_order": days[1]},
        {"id": 1, "name": "unknown", "_order": None},
    ]
    receipt = place.load(
        (CreateTable(), *KEYED), rows, schema=schema, order_column="_order", route="staged", strategy="upsert"
    )
    assert (receipt.written, receipt.deduplicated_out) == (1, 2)
    assert place.query("SELECT * FROM items") == [(1, "newest")]


def test_a_table_that_is_all_key_takes_an_upsert(place: Place) -> None:
    schema = ITEMS.without("name")
    key: dict[str, Any] = {"route": "staged", "strategy": "upsert", "schema": schema}
    place.load((CreateTable(), *KEYED), [{"id": 1}, {"id": 2}, {"id": 2}], **key)
    receipt = place.load(KEYED, [{"id": 2}, {"id": 3}], **key)
    assert receipt.written == 2
    assert place.query("SELECT id FROM items ORDER BY id") == [(1,), (2,), (3,)]


def test_a_key_of_several_columns_matches_as_a_whole(place: Place) -> None:
    key = ("id", "name")
    place.load(FIRST, items((1, "a"), (1, "b"), (2, "a")))
    place.load((DeleteMatching(key), Insert()), items((1, "a")), route="staged", strategy="delete_insert")
    assert place.query(ROWS) == [(1, "a"), (1, "b"), (2, "a")]
    place.load((EnsureKey(key), Upsert(key)), items((1, "b")), route="staged", strategy="upsert")
    assert place.query(ROWS) == [(1, "a"), (1, "b"), (2, "a")]


def test_a_key_that_repeats_in_the_table_is_refused_with_the_count(place: Place) -> None:
    place.load(FIRST, items((1, "a"), (1, "b"), (2, "c"), (2, "d")))
    with pytest.raises(LoadError, match="2 values of the key"):
        place.load(KEYED, items((3, "x")), route="staged", strategy="upsert")
    assert len(place.query(ROWS)) == 4


def test_rows_of_a_unique_key_are_deleted_and_written_again_in_one_load(place: Place) -> None:
    place.load((CreateTable(), *KEYED), items(*((i, "old") for i in range(500))), route="staged", strategy="upsert")
    rows = items(*((i, "new") for i in range(500)))
    place.load((DeleteMatching(("id",)), Insert()), rows, route="staged", strategy="delete_insert")
    assert place.query("SELECT count(*), min(name) FROM items") == [(500, "new")]
    place.load((DeleteAll(), Insert()), rows[:100], strategy="replace")
    assert place.query("SELECT count(*), min(name) FROM items") == [(100, "new")]


def test_a_key_is_made_on_a_table_that_the_same_load_empties(place: Place) -> None:
    place.load(FIRST, items((1, "old"), (1, "old too")))
    place.load((DeleteAll(), *KEYED), items((1, "new"), (2, "b")), route="staged", strategy="upsert")
    assert place.query(ROWS) == [(1, "new"), (2, "b")]
    place.load(KEYED, items((2, "c")), route="staged", strategy="upsert")
    assert place.query(ROWS) == [(1, "new"), (2, "c")]


def test_a_window_of_text_times_deletes_by_time_and_not_by_letters(place: Place) -> None:
    schema = TableSchema((Field("id", "int64"), Field("at", "timestamp")))
    times = [datetime.fromisoformat(f"2024-01-02 0{hour}:00:00") for hour in (1, 2, 3)]
    rows = [{"id": i, "at": at} for i, at in enumerate(times)]
    place.load(FIRST, rows, schema=schema)
    window = DeleteWindow("at", Cursor("string", "2024-01-02T01:00:00"), Cursor("string", "2024-01-02T02:00:00"))
    place.load((window, Insert()), rows[:1], schema=schema, strategy="delete_insert")
    assert place.query("SELECT id FROM items ORDER BY id") == [(0,), (2,)]


def test_a_table_with_a_primary_key_is_replaced_in_place_and_keeps_it(place: Place) -> None:
    place.query("CREATE TABLE items (id BIGINT PRIMARY KEY, name TEXT)", "INSERT INTO items VALUES (1, 'old')")
    assert "primary key" in place.destination.attachments(T)
    place.load(REPLACE, items((1, "new"), (2, "b")))
    assert place.query(ROWS) == [(1, "new"), (2, "b")]
    assert "primary key" in place.destination.attachments(T)


def test_views_and_triggers_stay_on_a_replaced_sqlite_table(place: Place) -> None:
    if place.system != "sqlite":
        return
    place.load(FIRST, items((1, "a")))
    place.query(
        "CREATE VIEW loud AS SELECT upper(name) AS name FROM Items",
        "CREATE TABLE log (id INTEGER)",
        "CREATE TRIGGER note AFTER INSERT ON items BEGIN INSERT INTO log VALUES (new.id); END",
    )
    assert set(place.destination.attachments(T)) == {"view loud", "trigger note"}
    place.load(REPLACE, items((2, "b")))
    assert place.query("SELECT name FROM loud") == [("B",)]
    assert place.query("SELECT id FROM log") == [(2,)]


@pytest.mark.parametrize(
    "name", ['a.b "c"', "select", "grün 漢字", "x" * 63, "rowid", "'; DROP TABLE items; --", "Items", " "]
)
def test_names_made_to_break_sql_are_only_names(place: Place, name: str) -> None:
    target = TableName(None, name)
    schema = TableSchema((Field("id", "int64"), Field(f"{name}!", "string"), Field("rowid", "int64")))
    rows = [{"id": 1, f"{name}!": "x", "rowid": 9}, {"id": 1, f"{name}!": "last", "rowid": 1}]
    plan = plan_of(place.destination, target, (CreateTable(), *KEYED), schema=schema, route="staged")
    assert load_rows(place.destination, plan, rows).deduplicated_out == 1
    swapped = load_rows(place.destination, plan_of(place.destination, target, REPLACE, schema=schema), rows[1:])
    assert swapped.written == 1
    quoted = '"' + name.replace('"', '""') + '"'
    assert place.query(f"SELECT * FROM {quoted}") == [(1, "last", 1)]
    assert place.destination.ledger().heads([target])[target].sequence == 2


def test_tables_whose_names_differ_by_a_quoted_dot_have_heads_of_their_own(place: Place) -> None:
    first, second = TableName(None, "a.b"), TableName("a", "b")
    load_rows(place.destination, plan_of(place.destination, first, FIRST), items((1, "a")))
    assert second not in place.destination.ledger().heads([first, second])


def test_an_error_of_the_rows_is_raised_as_it_was(place: Place) -> None:
    class OwnError(Exception):
        pass

    def failing() -> Any:
        yield from batches_of(ITEMS, items((1, "a")))
        raise OwnError("the source broke")

    session = place.destination.begin(plan_of(place.destination, T, FIRST))
    with pytest.raises(OwnError, match="the source broke"):
        session.write(SplitId("one"), 1, failing())
    session.abort()
    assert place.destination.describe([T]) == {T: None}
    place.load(FIRST, items((1, "a")))


def test_a_count_that_is_not_what_was_handed_over_commits_nothing(place: Place) -> None:
    with pytest.raises(LoadError, match="5 rows were handed"):
        place.load(FIRST, items((1, "a")), account={"expected": 5})
    assert place.destination.describe([T]) == {T: None}


def test_a_ledger_of_a_newer_format_is_refused(place: Place) -> None:
    place.load(FIRST, items((1, "a")))
    place.query("UPDATE _penstock_ledger SET format = 2")
    with pytest.raises(LoadError, match="format 2") as caught:
        place.destination.ledger().heads([T])
    assert caught.value.fault == "config"


def test_a_head_written_by_hand_needs_the_epoch_that_is_there(place: Place) -> None:
    head = LedgerHead("items", "test:items", "tests", 1, 1, 3, START, "done", None, "by hand")
    ledger = place.destination.ledger()
    ledger.set_head(T, head, expected_epoch=0)
    assert ledger.heads([T])[T].sequence == 3
    with pytest.raises(FencedError):
        ledger.set_head(T, head, expected_epoch=0)


def test_the_boundary_is_kept_until_the_next_load_writes_another(place: Place) -> None:
    first = Boundary({f"{i:032x}": i + 1 for i in range(400)}, {"id": "int64"})
    place.load(FIRST, items((1, "a")), account={"boundary": first})
    assert place.destination.ledger().boundary(T) == first
    place.load((Insert(),), items((2, "b")))
    assert place.destination.ledger().boundary(T) == first
    place.load((Insert(),), items((3, "c")), account={"boundary": Boundary()})
    assert place.destination.ledger().boundary(T) == Boundary()


def test_an_error_shows_no_row_value(place: Place) -> None:
    place.query("CREATE TABLE items (id BIGINT NOT NULL, name TEXT UNIQUE, CHECK (length(name) < 5))")
    for rows in (items((None, "shhh")), items((1, "shhh"), (2, "shhh")), items((1, "secret"))):
        with pytest.raises(LoadError) as caught:
            place.load((Insert(),), rows)
        assert "shhh" not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_a_load_overtaken_by_another_writes_nothing(place: Place) -> None:
    place.load(FIRST, items((0, "first")))
    session = place.destination.begin(plan_of(place.destination, T, (Insert(),)))
    session._link.unlock("items")  # type: ignore[attr-defined]  # as if the system had ended it while it slept
    place.load((Insert(),), items((2, "theirs")))
    piece = session.write(SplitId("one"), 1, batches_of(ITEMS, items((1, "ours"))))
    with pytest.raises(FencedError):
        session.commit([piece], Account(START, expected=1))
    session.abort()
    assert place.query(ROWS) == [(0, "first"), (2, "theirs")]


def test_a_reader_never_sees_a_replaced_table_empty_or_mixed(place: Place) -> None:
    if place.system != "sqlite":
        return  # another process cannot open a DuckDB file that is being written
    place.load(FIRST, items((0, "0"), (1, "0")))
    seen: set[tuple[Any, ...]] = set()
    stop = threading.Event()

    def look() -> None:
        connection = sqlite3.connect(place.path, timeout=60)
        while not stop.is_set():
            seen.add(tuple(connection.execute("SELECT count(*), count(DISTINCT name) FROM items").fetchone()))
        connection.close()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for number in range(40):
            place.load(REPLACE, items((0, str(number)), (1, str(number))))
    finally:
        stop.set()
        thread.join()
    assert seen == {(2, 1)}
