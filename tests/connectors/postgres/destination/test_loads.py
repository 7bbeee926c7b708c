"""Every strategy by every route, and what PostgreSQL adds: natives, stamps, casts, keys, litter, locks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from penstock.connectors.postgres.connect import Session
from penstock.connectors.postgres.destination import PostgresDestination
from penstock.connectors.postgres.names import quote, quote_table
from penstock.errors import ConfigError, FencedError, LoadError
from penstock.schema.types import from_arrow_schema, to_arrow_schema
from penstock.testing.loads import Loads, account_for, batches_of, write
from penstock.values import (
    AddColumns,
    Connection,
    CreateTable,
    Cursor,
    DeleteAll,
    DeleteMatching,
    DeleteWindow,
    EnsureKey,
    Field,
    Insert,
    LoadPlan,
    Route,
    SplitId,
    Swap,
    TableName,
    TableSchema,
    Upsert,
    WidenColumns,
    WriteStep,
)

pytestmark = [pytest.mark.postgres, pytest.mark.feature("M5")]

TARGET = TableName("public", "items")
ITEMS = TableSchema((Field("id", "int64"), Field("name", "string")))
STARTED = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)


def items(*pairs: tuple[int | None, str | None]) -> pa.Table:
    return pa.table({"id": pa.array([p[0] for p in pairs], pa.int64()), "name": pa.array([p[1] for p in pairs])})


def loads_to(connection: Connection, target: TableName = TARGET, **changes: Any) -> Loads:
    return Loads(PostgresDestination(connection), target, changes={"started_at": STARTED, **changes})


def rows_of(look: Session, table: TableName = TARGET, columns: str = "id, name") -> list[tuple[Any, ...]]:
    return look.query(f"SELECT {columns} FROM {quote_table(table)} ORDER BY 1, 2")


def deliver(loads: Loads, plan: LoadPlan, splits: Sequence[pa.Table], **account: Any) -> Any:
    session = loads.destination.begin(plan)
    try:
        pieces = [write(session, str(i), rows) for i, rows in enumerate(splits)]
        return session.commit(pieces, replace(account_for(pieces), **account))
    finally:
        session.abort()


OLD = items((1, "old"), (2, "old"), (9, "old"))
NEW = (items((1, "new"), (3, "new")), items((4, "new"), (5, "new")))
NEW_ROWS = [(1, "new"), (3, "new"), (4, "new"), (5, "new")]
WINDOW = DeleteWindow("id", Cursor("int", 1), Cursor("int", 5))
OLD_ROWS = [(1, "old"), (2, "old"), (9, "old")]


@pytest.mark.parametrize(
    ("route", "writers", "steps", "expected"),
    [
        ("direct", 1, [Insert()], OLD_ROWS + NEW_ROWS),
        ("staged", 1, [Insert()], OLD_ROWS + NEW_ROWS),
        ("staged", 2, [Insert()], OLD_ROWS + NEW_ROWS),
        ("direct", 1, [CreateTable(), Insert(), Swap()], NEW_ROWS),
        ("shadow", 2, [CreateTable(), Insert(), Swap()], NEW_ROWS),
        ("direct", 1, [DeleteAll(), Insert()], NEW_ROWS),
        ("staged", 2, [DeleteAll(), Insert()], NEW_ROWS),
        ("staged", 1, [EnsureKey(("id",)), Upsert(("id",))], [(2, "old"), (9, "old"), *NEW_ROWS]),
        ("staged", 2, [EnsureKey(("id",)), Upsert(("id",))], [(2, "old"), (9, "old"), *NEW_ROWS]),
        ("staged", 1, [DeleteMatching(("id",)), Insert()], [(2, "old"), (9, "old"), *NEW_ROWS]),
        ("staged", 2, [DeleteMatching(("id",)), Insert()], [(2, "old"), (9, "old"), *NEW_ROWS]),
        ("direct", 1, [WINDOW, Insert()], [(9, "old"), *NEW_ROWS]),
        ("staged", 2, [WINDOW, Insert()], [(9, "old"), *NEW_ROWS]),
        ("direct", 1, [CreateTable(), Insert(), EnsureKey(("id",)), Swap()], NEW_ROWS),
        ("shadow", 2, [CreateTable(), Insert(), EnsureKey(("id",)), Swap()], NEW_ROWS),
    ],
)
def test_every_strategy_by_every_route_stamps_its_rows_and_leaves_no_litter(
    own_database: Connection,
    look: Session,
    route: Route,
    writers: int,
    steps: list[WriteStep],
    expected: list[tuple[int, str]],
) -> None:
    loads = loads_to(own_database, ingested_at_column="_ingested_at", writers=writers)
    loads.deliver(OLD)
    later = replace(loads.plan(ITEMS, "append", route=route, steps=steps), started_at=STARTED + timedelta(hours=1))
    receipt = deliver(loads, later, NEW)
    assert rows_of(look) == sorted(expected)
    assert receipt.written == 4
    stamps = look.query("SELECT DISTINCT name, _ingested_at FROM items ORDER BY name")
    assert stamps == [
        s for s in (("new", later.started_at), ("old", STARTED)) if s[0] == "new" or OLD_ROWS[2] in expected
    ]
    kinds = "SELECT relname::text FROM pg_class WHERE relname LIKE '\\_penstock\\_%' AND relkind = 'r' ORDER BY 1"
    assert [r[0] for r in look.query(kinds)] == ["_penstock_boundary", "_penstock_ledger", "_penstock_loads"]
    assert look.query("SELECT relpersistence::text FROM pg_class WHERE oid = 'items'::regclass") == [("p",)]


@pytest.mark.parametrize("writers", [1, 2])
def test_a_first_load_by_each_route_makes_a_table_that_others_can_write_to(
    own_database: Connection, look: Session, writers: int
) -> None:
    loads = loads_to(own_database, ingested_at_column="_ingested_at", writers=writers)
    steps: list[WriteStep] = [CreateTable(), Insert(), Swap()] if writers == 2 else [CreateTable(), Insert()]
    deliver(loads, loads.plan(ITEMS, steps=steps, route="shadow" if writers == 2 else "direct"), NEW)
    look.execute("INSERT INTO items (id, name) VALUES (7, 'by hand')")
    assert rows_of(look, columns="id, _ingested_at")[-2:] == [(5, STARTED), (7, None)]


def test_a_later_row_of_a_key_wins_within_one_load(own_database: Connection, look: Session) -> None:
    loads = loads_to(own_database)
    steps: list[WriteStep] = [CreateTable(), EnsureKey(("id",)), Upsert(("id",))]
    plan = loads.plan(ITEMS, "upsert", steps=steps, key=("id",))
    receipt = deliver(loads, plan, [items((1, "a"), (2, "b"), (1, "c")), items((2, "d"))])
    assert rows_of(look) == [(1, "c"), (2, "d")]
    assert (receipt.written, receipt.deduplicated_out) == (2, 2)


def test_an_all_key_table_keeps_its_rows(own_database: Connection, look: Session) -> None:
    loads = loads_to(own_database)
    loads.deliver(items((1, "a")), "upsert", key=("id", "name"))
    loads.deliver(items((1, "a"), (1, "b")), "upsert", key=("id", "name"))
    assert rows_of(look) == [(1, "a"), (1, "b")]


def test_duplicates_that_are_there_already_are_counted_and_refused(own_database: Connection, look: Session) -> None:
    loads = loads_to(own_database)
    loads.deliver(items((1, "a"), (1, "b"), (2, "c"), (2, "d"), (3, "e")))
    with pytest.raises(LoadError, match=r"2 values of the key \(id\) occur more than once"):
        loads.deliver(items((4, "f")), "upsert", key=("id",))
    assert len(rows_of(look)) == 5


def test_a_unique_index_of_the_users_own_is_enough(own_database: Connection, look: Session) -> None:
    loads = loads_to(own_database)
    loads.deliver(items((1, "a")))
    look.execute("CREATE UNIQUE INDEX by_hand ON items (id)")
    loads.deliver(items((1, "b")), "upsert", key=("id",))
    assert look.query("SELECT indexname::text FROM pg_indexes WHERE tablename = 'items'") == [("by_hand",)]
    assert rows_of(look) == [(1, "b")]


def test_a_missing_schema_is_made_and_the_ledger_lies_where_it_is_asked_to(own_database: Connection) -> None:
    connection = replace(own_database, schema="mart", ledger_schema='le"dger')
    session = Session(connection, application="tests")
    target = TableName("mart", "items")
    loads_to(connection, target).deliver(items((1, "a")))
    assert session.query("SELECT id FROM mart.items") == [(1,)]
    assert session.query('SELECT target FROM "le""dger"._penstock_ledger') == [("mart.items",)]
    session.close()


def test_a_same_system_copy_keeps_native_types_not_null_and_comments(own_database: Connection, look: Session) -> None:
    look.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    fields = (
        Field("id", "int64", nullable=False, native="bigint", comment="the number, isn't it"),
        Field("code", "string", native="character varying(10)"),
        Field("host", "string", native="inet"),
        Field("span", "string", native="int4range"),
        Field("state", "enum", native="mood"),
        Field("lost", "enum", native="public.no_such_type"),
        Field("evil", "string", native="text DEFAULT 1); DROP TABLE x; --"),
        Field("doc", "json", native="json"),
        Field("ids", "list<uuid>", native="uuid[]"),
        Field("states", "list<string>", native="mood[]"),
        Field("none", "list<string>", native="no_such_type[]"),
    )
    schema = TableSchema(fields, system="postgres")
    identifier = "00000000-0000-0000-0000-000000000007"
    row = {
        "id": 1, "code": "x", "host": "10.0.0.1/8", "span": "[1,5)", "state": "glad", "lost": "l", "evil": "e",
        "doc": '{"a":  1}', "ids": [identifier], "states": ["sad", None], "none": ["n"],
    }  # fmt: skip
    loads = loads_to(own_database)
    rows = pa.Table.from_pylist([row], schema=to_arrow_schema(schema))
    for route, writers, steps in (
        ("direct", 1, [CreateTable(), Insert()]),
        ("staged", 2, [Insert()]),
        ("shadow", 2, [CreateTable(), Insert(), Swap()]),
    ):
        plan = replace(loads.plan(schema, route=route, steps=steps), writers=writers)  # type: ignore[arg-type]
        deliver(loads, plan, [rows])
    described = loads.destination.describe([TARGET])[TARGET]
    assert described is not None
    assert [f.native for f in described.fields] == [
        "bigint", "character varying(10)", "inet", "int4range", "mood", "text", "text", "json", "uuid[]",
        "mood[]", "text[]",
    ]  # fmt: skip
    assert not described.field("id").nullable
    assert described.field("id").comment == "the number, isn't it"
    texts = look.query(
        "SELECT id, code, host::text, span::text, state::text, lost, evil, doc::text, ids::text[], states::text[], "
        "none FROM items"
    )
    assert texts == [tuple(row.values())]


def test_columns_are_added_and_widened_in_the_load_s_transaction(own_database: Connection, look: Session) -> None:
    narrow = TableSchema(
        (
            Field("id", "int32"),
            Field("name", "string", native="character varying(3)"),
            Field("price", "decimal(6,2)"),
            Field("share", "float32"),
        ),
        system="postgres",
    )
    loads = loads_to(own_database)
    first = {"id": [1], "name": ["abc"], "price": [None], "share": [0.5]}
    loads.deliver(pa.table(first, schema=to_arrow_schema(narrow)), plan=loads.plan(narrow))
    wide = TableSchema(
        (
            Field("id", "int64"),
            Field("name", "string", native="character varying(30)"),
            Field("price", "decimal(12,4)"),
            Field("share", "float64"),
            Field("note", "json"),
        ),
        system="postgres",
    )
    steps: list[WriteStep] = [AddColumns(wide.fields[4:]), WidenColumns(wide.fields[:4]), Insert()]
    second = {"id": [1 << 40], "name": ["a longer name"], "price": [None], "share": [1e300], "note": ['{"a": 1}']}
    loads.deliver(pa.table(second, schema=to_arrow_schema(wide)), plan=loads.plan(wide, steps=steps))
    described = loads.destination.describe([TARGET])[TARGET]
    assert described is not None
    natives = [f.native for f in described.fields]
    assert natives == ["bigint", "character varying(30)", "numeric(12,4)", "double precision", "jsonb"]
    assert rows_of(look) == [(1, "abc"), (1 << 40, "a longer name")]


@pytest.mark.parametrize("route", ["direct", "staged"])
def test_a_user_s_default_of_the_stamp_column_stays_for_the_user(
    own_database: Connection, look: Session, route: Route
) -> None:
    look.execute("CREATE TABLE items (id int8, name text, at timestamptz DEFAULT '2001-01-01 00:00+00')")
    loads = loads_to(own_database, ingested_at_column="at")
    loads.deliver(items((1, "a")), plan=loads.plan(ITEMS, route=route, steps=[Insert()]))
    look.execute("INSERT INTO items (id) VALUES (2)")
    assert rows_of(look, columns="id, at") == [(1, STARTED), (2, datetime(2001, 1, 1, tzinfo=UTC))]


def test_a_live_table_without_the_stamp_column_gets_it(own_database: Connection, look: Session) -> None:
    look.execute("CREATE TABLE items (id int8, name text); INSERT INTO items VALUES (1, 'there')")
    loads = loads_to(own_database, ingested_at_column="_ingested_at")
    loads.deliver(items((2, "a")))
    assert rows_of(look, columns="id, _ingested_at") == [(1, None), (2, STARTED)]


def test_a_table_of_1600_columns_is_loaded(own_database: Connection, look: Session) -> None:
    wide = pa.table({f"c{i}": pa.array([i, None, i], pa.int32()) for i in range(1600)})
    loads_to(own_database).deliver(wide)
    assert look.query("SELECT count(*), count(c1599), sum(c1599) FROM items") == [(3, 2, 3198)]


def test_nul_bytes_fail_the_load_and_leave_nothing(own_database: Connection, look: Session) -> None:
    with pytest.raises(LoadError, match="NUL bytes"):
        loads_to(own_database).deliver(items((1, "a"), (2, "b\0")))
    assert look.query("SELECT to_regclass('items') IS NULL") == [(True,)]


def test_a_value_the_server_refuses_fails_the_load_naming_the_column_only(
    own_database: Connection, look: Session
) -> None:
    look.execute("CREATE DOMAIN short AS text CHECK (length(VALUE) < 4); CREATE TABLE items (id int8, name short)")
    with pytest.raises(LoadError, match=r"violates check constraint.*'name'") as caught:
        loads_to(own_database).deliver(items((1, "secret")))
    assert "secret" not in str(caught.value)
    assert rows_of(look) == []


def test_what_a_failing_reader_raises_is_what_the_load_raises(own_database: Connection, look: Session) -> None:
    loads = loads_to(own_database)
    session = loads.destination.begin(loads.plan(ITEMS))

    def broken() -> Any:
        yield from batches_of(items((1, "a")))
        raise KeyError("the reader broke")

    with pytest.raises(KeyError, match="the reader broke"):
        session.write(SplitId("0"), 1, broken())
    session.abort()
    assert look.query("SELECT to_regclass('items') IS NULL") == [(True,)]
    loads.deliver(items((1, "a")))
    assert rows_of(look) == [(1, "a")]


def test_the_holder_of_a_lock_is_named_with_process_address_and_time(own_database: Connection, look: Session) -> None:
    loads = loads_to(own_database)
    session = loads.destination.begin(loads.plan(ITEMS))
    pid = look.query("SELECT pid FROM pg_locks WHERE locktype = 'advisory'")[0][0]
    with pytest.raises(FencedError) as caught:
        loads.destination.begin(loads.plan(ITEMS))
    session.abort()
    assert "penstock suite on this machine" in caught.value.what
    assert f"server process {pid}" in caught.value.what
    assert "127.0.0.1" in caught.value.what
    assert "connected since 20" in caught.value.what
    assert not caught.value.retryable


def test_the_same_table_under_two_ledgers_has_two_locks(own_database: Connection) -> None:
    here, there = loads_to(own_database), loads_to(replace(own_database, ledger_schema="other"))
    first = here.destination.begin(here.plan(ITEMS))
    second = there.destination.begin(there.plan(ITEMS))
    for session, loads in ((first, here), (second, there)):
        with pytest.raises(FencedError):  # each holds its own
            loads.destination.begin(loads.plan(ITEMS))
        session.abort()


def test_a_quarantined_row_commits_with_the_load(own_database: Connection, look: Session) -> None:
    loads = loads_to(own_database)
    session = loads.destination.begin(loads.plan(ITEMS))
    rejected = pa.table({"id": ["x"], "why": ["not a number"]})
    pieces = [write(session, "0", items((1, "a")))]
    pieces.append(session.write(SplitId("0"), 1, batches_of(rejected), into="quarantine"))
    session.commit(pieces, account_for(pieces))
    session.abort()
    assert look.query("SELECT id, why FROM items__quarantine") == [("x", "not a number")]


@pytest.mark.parametrize("name", ["long" * 15 + "abc", "ü" * 31, "é" * 28])
def test_a_long_name_keeps_its_quarantine_apart(own_database: Connection, look: Session, name: str) -> None:
    target = TableName("public", name)
    loads = loads_to(own_database, target)
    session = loads.destination.begin(loads.plan(ITEMS))
    pieces = [write(session, "0", items((1, "a")))]
    rejected = pa.table({"id": ["x"]})
    pieces.append(session.write(SplitId("0"), 1, batches_of(rejected), into="quarantine"))
    session.commit(pieces, account_for(pieces))
    session.abort()
    assert rows_of(look, target) == [(1, "a")]
    (kept,) = look.query("SELECT relname::text FROM pg_class WHERE relname LIKE '%\\_\\_quarantine'")
    assert look.query(f'SELECT id FROM "{kept[0]}"') == [("x",)]


@pytest.mark.parametrize(
    "name", ["select", 'a"b', "it's", "%s $1 {x} \\", "a.b", "Ü 🙂", "1", "x'); DROP TABLE canary; --"]
)
def test_a_hostile_name_is_only_a_name_everywhere(own_database: Connection, look: Session, name: str) -> None:
    look.execute("CREATE TABLE canary ()")
    target = TableName(f"s {name}", f"t {name}")
    schema = TableSchema((Field(f"k {name}", "int64"), Field(f"v {name}", "string", comment=name)))
    connection = replace(own_database, schema=target.schema, ledger_schema=f"l {name}")
    loads = loads_to(connection, target, ingested_at_column=f"at {name}", holder=name)
    key = (f"k {name}",)

    def rows(text: str) -> pa.Table:
        return pa.table([[1], [text]], names=list(schema.names))

    plan = loads.plan(schema, "upsert", key=key)
    loads.deliver(rows("first"), plan=plan)
    look.execute(f"CREATE INDEX ON {quote_table(target)} ({quote(key[0])})")
    for route, writers, steps in (
        ("staged", 2, [EnsureKey(key), Upsert(key)]),
        ("direct", 1, [CreateTable(), Insert(), Swap()]),
        ("shadow", 2, [CreateTable(), Insert(), Swap()]),
        ("staged", 1, [DeleteMatching(key), Insert()]),
    ):
        later = replace(loads.plan(schema, route=route, steps=steps), writers=writers)  # type: ignore[arg-type]
        deliver(loads, later, [rows(route)])
        assert rows_of(look, target, f"{quote(key[0])}, {quote(schema.names[1])}") == [(1, route)]
    assert look.query("SELECT to_regclass('canary') IS NOT NULL") == [(True,)]
    assert look.query("SELECT count(*) FROM pg_index WHERE indrelid = to_regclass($1)", quote_table(target)) == [(2,)]


def test_a_name_the_server_would_cut_off_is_refused(own_database: Connection) -> None:
    loads = loads_to(own_database, TableName("public", "x" * 64))
    with pytest.raises(ConfigError, match="longer than the 63 bytes"):
        loads.deliver(items((1, "a")))


def test_describe_answers_for_many_tables_at_once(own_database: Connection, look: Session) -> None:
    look.execute('CREATE TABLE a (id int4 PRIMARY KEY); CREATE TABLE "b.c" (x numeric(5,2)); CREATE TABLE bare ()')
    names = [TableName("public", name) for name in ("a", "b.c", "bare", "absent")]
    found = PostgresDestination(own_database).describe(names)
    assert found[names[0]] == TableSchema(
        (Field("id", "int32", nullable=False, native="integer"),), ("id",), "postgres"
    )
    assert found[names[1]] == TableSchema((Field("x", "decimal(5,2)", native="numeric(5,2)"),), (), "postgres")
    assert found[names[2]] == TableSchema((), (), "postgres")
    assert found[names[3]] is None


def test_the_schema_of_an_arrow_table_is_what_a_load_describes(own_database: Connection) -> None:
    rows = pa.table({"a": pa.array([1], pa.uint64()), "b": [[1, 2]], "c": [{"x": 1}], "d": pa.array([1], pa.float32())})
    loads = loads_to(own_database)
    loads.deliver(rows, plan=loads.plan(from_arrow_schema(rows.schema)))
    described = loads.destination.describe([TARGET])[TARGET]
    assert described is not None
    assert [f.type for f in described.fields] == ["decimal(20,0)", "list<int64>", "json", "float32"]
