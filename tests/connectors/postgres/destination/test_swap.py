"""Replace by renaming keeps what belongs to the table, and readers never see it empty."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from penstock.connectors.postgres.connect import Session
from penstock.connectors.postgres.destination import PostgresDestination
from penstock.errors import LoadError
from penstock.testing.loads import Loads, account_for, write
from penstock.values import Connection, CreateTable, Field, Insert, Swap, TableName, TableSchema
from tests.connectors.postgres.destination.test_loads import ITEMS, TARGET, items, loads_to, rows_of

pytestmark = [pytest.mark.postgres, pytest.mark.feature("M5")]

DRESSED = """
CREATE TABLE items (
    id int8 PRIMARY KEY,
    name text COLLATE "C" DEFAULT 'nameless' CHECK (name <> 'no'),
    at timestamptz,
    twice int8 GENERATED ALWAYS AS (id * 2) STORED,
    UNIQUE (name, at) DEFERRABLE INITIALLY DEFERRED,
    EXCLUDE USING gist (int8range(id, id, '[]') WITH &&)
);
INSERT INTO items (id, name) VALUES (1, 'old');
CREATE INDEX "by ""USING "" name" ON items USING btree (lower(name) DESC) WHERE id > 0;
CREATE UNIQUE INDEX ids ON items (id) INCLUDE (name);
COMMENT ON INDEX ids IS 'it''s ids';
COMMENT ON TABLE items IS 'it''s items';
COMMENT ON COLUMN items.name IS 'the name';
CREATE STATISTICS items_stats ON id, name FROM items;
DROP ROLE IF EXISTS "penstock reader"; DROP ROLE IF EXISTS penstock_owner;
CREATE ROLE "penstock reader"; CREATE ROLE penstock_owner;
GRANT SELECT ON items TO "penstock reader" WITH GRANT OPTION;
GRANT UPDATE (name) ON items TO "penstock reader";
GRANT INSERT ON items TO PUBLIC;
ALTER TABLE items OWNER TO penstock_owner;
GRANT CREATE ON SCHEMA public TO penstock_owner;
ALTER DEFAULT PRIVILEGES GRANT DELETE ON TABLES TO "penstock reader";
"""
LOOKS = {
    "owner": "SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE oid = 'items'::regclass",
    "grants": "SELECT x::text FROM pg_class, unnest(relacl) x WHERE oid = 'items'::regclass ORDER BY 1",
    "column grants": "SELECT attname::text, attacl::text FROM pg_attribute WHERE attrelid = 'items'::regclass "
    "AND attnum > 0 ORDER BY attnum",
    "indices": "SELECT pg_get_indexdef(indexrelid), obj_description(indexrelid, 'pg_class') FROM pg_index "
    "WHERE indrelid = 'items'::regclass ORDER BY 1",
    "constraints": "SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE conrelid = 'items'::regclass ORDER BY 1",
    "comments": "SELECT obj_description('items'::regclass, 'pg_class'), col_description('items'::regclass, 2)",
    "defaults": "SELECT attname::text, pg_get_expr(adbin, adrelid) FROM pg_attrdef JOIN pg_attribute "
    "ON attrelid = adrelid AND attnum = adnum WHERE adrelid = 'items'::regclass ORDER BY 1",
    "columns": "SELECT attname::text, format_type(atttypid, atttypmod), attcollation::regcollation::text, attnotnull, "
    "attgenerated::text FROM pg_attribute WHERE attrelid = 'items'::regclass AND attnum > 0 ORDER BY attnum",
}


@pytest.fixture
def dressed(look: Session) -> Any:
    look.execute(DRESSED)
    yield
    look.execute('DROP OWNED BY "penstock reader", penstock_owner')
    look.execute('DROP ROLE "penstock reader"; DROP ROLE penstock_owner')


def looks_of(look: Session) -> dict[str, list[tuple[Any, ...]]]:
    return {name: look.query(sql) for name, sql in LOOKS.items()}


@pytest.mark.usefixtures("dressed")
@pytest.mark.parametrize("writers", [1, 2])
def test_a_swap_keeps_owner_grants_indices_constraints_comments_and_defaults(
    own_database: Connection, look: Session, writers: int
) -> None:
    before = looks_of(look)
    loads = loads_to(own_database, writers=writers)
    plan = loads.plan(ITEMS, steps=[CreateTable(), Insert(), Swap()], route="direct" if writers == 1 else "shadow")
    oid = look.query("SELECT 'items'::regclass::oid::int8")
    loads.deliver(items((5, "new"), (6, "newer")), plan=plan)
    assert rows_of(look, columns="id, name, twice") == [(5, "new", 10), (6, "newer", 12)]
    assert looks_of(look) == before
    assert look.query("SELECT 'items'::regclass::oid::int8") != oid
    assert look.query("SELECT count(*) FROM pg_statistic_ext WHERE stxrelid = 'items'::regclass") == [(1,)]


def test_the_successor_follows_the_plan_s_columns_and_loses_none(own_database: Connection, look: Session) -> None:
    look.execute(
        "CREATE TABLE items (id int4 DEFAULT 7, name varchar(3), kept date, required int4 NOT NULL);"
        "INSERT INTO items VALUES (1, 'old', NULL, 1)"
    )
    wanted = (Field("id", "int64"), Field("name", "string", native="text"), Field("more", "uuid"))
    schema = TableSchema(wanted, system="postgres")
    rows = items((1 << 40, "long name")).append_column("more", pa.array([None], pa.string()))
    loads = loads_to(own_database)
    loads.deliver(rows, plan=loads.plan(schema, steps=[CreateTable(), Insert(), Swap()]))
    described = loads.destination.describe([TARGET])[TARGET]
    assert described is not None
    found = [(f.name, f.native) for f in described.fields]
    assert found == [("id", "bigint"), ("name", "text"), ("kept", "date"), ("more", "uuid")]
    assert rows_of(look) == [(1 << 40, "long name")]


HANGERS = {
    "view seen": "CREATE VIEW seen AS SELECT id FROM items",
    "materialized view stored": "CREATE MATERIALIZED VIEW stored AS SELECT id FROM items",
    "foreign key child_id_fkey of child": "CREATE TABLE child (id int8 REFERENCES items (id))",
    "foreign key items_boss_fkey of items": "CREATE TABLE boss (id int8 PRIMARY KEY);"
    "ALTER TABLE items ADD boss int8 REFERENCES boss (id)",
    "publication published": "CREATE PUBLICATION published FOR TABLE items",
    "trigger watcher": "CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
    "CREATE TRIGGER watcher BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION watch()",
    "rule ruled": "CREATE RULE ruled AS ON UPDATE TO items DO ALSO NOTHING",
    "child heir": "CREATE TABLE heir () INHERITS (items)",
    "parent forebear": "CREATE TABLE forebear (id int8 NOT NULL); ALTER TABLE items INHERIT forebear",
    "sequence items_number_seq": "ALTER TABLE items ADD number serial",
    "row security": "ALTER TABLE items ENABLE ROW LEVEL SECURITY",
    "storage options": "ALTER TABLE items SET (fillfactor = 50)",
    "replica identity": "ALTER TABLE items REPLICA IDENTITY FULL",
    "unlogged": "ALTER TABLE items SET UNLOGGED",
    "function counted": "CREATE FUNCTION counted() RETURNS int8 LANGUAGE sql "
    "BEGIN ATOMIC SELECT count(*) FROM items; END",
    "column pair of holder": "CREATE TABLE holder (pair items)",
}


@pytest.mark.parametrize("name", HANGERS)
def test_what_hangs_on_a_table_is_named(own_database: Connection, look: Session, name: str) -> None:
    look.execute("CREATE TABLE items (id int8 PRIMARY KEY, name text)")
    destination = PostgresDestination(own_database)
    if (
        "BEGIN ATOMIC" in HANGERS[name]
        and look.query("SELECT current_setting('server_version_num')::int < 140000")[0][0]
    ):
        pytest.skip("PostgreSQL 13 has no functions that hang on a table")
    other = TableName("public", "absent")
    assert destination.attachments_of([TARGET, other]) == {TARGET: (), other: ()}
    look.execute(HANGERS[name])
    assert destination.attachments(TARGET) == (name,)


def test_what_came_to_hang_on_the_table_after_planning_survives(own_database: Connection, look: Session) -> None:
    look.execute("CREATE TABLE items (id int8 PRIMARY KEY, name text); INSERT INTO items VALUES (1, 'old')")
    loads = loads_to(own_database)
    session = loads.destination.begin(loads.plan(ITEMS, "replace"))
    piece = write(session, "0", items((2, "new")))
    look.execute("CREATE VIEW seen AS SELECT name FROM items")
    session.commit([piece], account_for([piece]))
    session.abort()
    assert look.query("SELECT name FROM seen") == [("new",)]
    assert look.query("SELECT count(*) FROM pg_class WHERE relname LIKE '\\_penstock\\_%' AND relkind = 'r'") == [(3,)]


def test_the_latest_view_is_made_again_over_the_new_table(own_database: Connection, look: Session) -> None:
    loads = loads_to(own_database, ingested_at_column="at", latest_view="newest", view_key="id")
    for name in ("old", "new"):
        loads.deliver(items((1, name)), "replace")
        assert look.query("SELECT name FROM newest") == [(name,)]


@pytest.mark.feature("M15")
def test_a_snapshot_older_than_the_swap_sees_the_new_rows_and_never_none(
    own_database: Connection, look: Session
) -> None:
    loads = loads_to(own_database)
    loads.deliver(items((1, "old")), "replace")
    look.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    look.query("SELECT pg_current_snapshot()::text")
    loads.deliver(items((2, "new"), (3, "new")), "replace")
    assert rows_of(look) == [(2, "new"), (3, "new")]
    look.rollback()


def test_a_reader_who_holds_the_table_is_named_and_the_load_leaves_everything_as_it_was(
    own_database: Connection, look: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.connectors.postgres.swap.ATTEMPTS", 1)
    loads = loads_to(own_database)
    loads.deliver(items((1, "old")), "replace")
    look.begin()
    assert rows_of(look) == [(1, "old")]
    with pytest.raises(LoadError, match="it is in use by penstock tests look") as caught:
        loads.deliver(items((2, "new")), "replace")
    assert caught.value.retryable
    look.rollback()
    assert rows_of(look) == [(1, "old")]


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("times", [30, pytest.param(1_000, marks=pytest.mark.faults)])
def test_readers_never_see_the_table_empty_or_mixed_while_it_is_replaced(
    own_database: Connection, look: Session, times: int, *, in_place: bool
) -> None:
    loads = Loads(PostgresDestination(own_database), TARGET)
    loads.deliver(items((0, "0"), (1, "0")), "replace")
    if in_place:
        look.execute("ALTER TABLE items SET (fillfactor = 90)")
    done = threading.Event()
    seen: Counter[tuple[int, int]] = Counter()

    def poll() -> None:
        session = Session(own_database, application="reader")
        while not done.is_set():
            seen[session.query("SELECT count(*), count(DISTINCT name) FROM items")[0]] += 1
        session.close()

    reader = threading.Thread(target=poll)
    reader.start()
    for number in range(times):
        loads.deliver(items((0, str(number)), (1, str(number))), "replace")
    done.set()
    reader.join()
    assert set(seen) == {(2, 1)}
    assert sum(seen.values()) > 20
