"""What the catalog says: names of any kind, tables of every kind, missing ones."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from penstock.connectors.postgres.identifiers import candidates, to_stream_name
from penstock.connectors.postgres.source import PostgresSource
from penstock.errors import ConfigError, ExtractionError, PenstockError, SourceChangedError
from penstock.values import Secret

from .conftest import Database

pytestmark = pytest.mark.postgres

HOSTILE = [
    'semi;colon"quote',
    "dollar$1 %s {query_filter}",
    "per%cent",
    "new\nline",
    "Ünïcödé 😀",
    "a.b",
    "select",
    "'; DROP TABLE t; --",
    " lead and trail ",
    "back\\slash",
    "x" * 63,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_any_kind_are_described_and_read(database: Database, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    database.execute(
        f"CREATE SCHEMA {quoted}; CREATE TABLE {quoted}.{quoted} ({quoted} int, at timestamptz DEFAULT now());"
        f"INSERT INTO {quoted}.{quoted} VALUES (1)"
    )
    source = PostgresSource(replace(database.connection, schema=name))
    (spec,) = source.streams(None)
    assert spec.schema is not None
    assert spec.schema.names == (name, "at")
    request = database.request(spec.name, name)
    rows, bounds = database.read(request, source)
    assert [row[name] for row in rows] == [1]
    again = replace(request, after=bounds.position)
    assert source.probe([again])[0].idle is True
    full = database.source.streams([to_stream_name(name, name, "public")])
    assert [s.schema and s.schema.names for s in full] == [(name, "at")]


def test_a_dotted_name_means_the_schema_first() -> None:
    assert candidates("a.b", "public") == (("a", "b"), ("public", "a.b"))
    assert candidates('"a.b"', "public") == (("public", "a.b"),)
    assert candidates('s."a.""b"', "public") == (("s", 'a."b'),)
    assert candidates('odd"name', "public") == (("public", 'odd"name'),)


def test_a_name_that_does_not_exist_is_left_out_and_reading_it_is_an_error(database: Database) -> None:
    database.execute("CREATE TABLE here (id int)")
    assert [s.name for s in database.source.streams(["gone", "here", "no.such"])] == ["here"]
    with pytest.raises(ExtractionError, match="no table or view 'gone'") as raised:
        database.read(database.request("gone"))
    assert raised.value.fault == "config"


def test_tables_views_and_partitions_are_told_apart(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 500); ANALYZE t;"
        "CREATE VIEW v AS SELECT * FROM t; CREATE MATERIALIZED VIEW m AS SELECT * FROM t;"
        "CREATE TABLE p (id int, at timestamptz DEFAULT now()) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20); INSERT INTO p SELECT generate_series(0, 19)"
    )
    specs = {str(s.name): s for s in database.source.streams()}
    assert {name: s.ordinary_table for name, s in specs.items()} == {"t": True, "v": False, "m": False, "p": True}
    assert (specs["t"].rows_estimate, specs["v"].size_bytes) == (500, None)
    assert (specs["p"].size_bytes or 0) > 0
    ids, position = database.load("p", "at")
    assert ids == list(range(20))
    database.execute("INSERT INTO p1 VALUES (5)")
    assert database.load("p", "at", position)[0] == [5]


@pytest.mark.claims("error:SourceChangedError")
def test_a_column_dropped_after_planning_stops_the_read_once(database: Database) -> None:
    database.execute("CREATE TABLE t (id int, a int, b int)")
    list(database.source.streams(["t"]))
    database.execute("ALTER TABLE t DROP COLUMN b")
    with pytest.raises(SourceChangedError, match="columns of the source changed") as raised:
        database.read(database.request("t"))
    assert raised.value.retryable
    rows, _ = database.read(database.request("t"))
    assert rows == []


def test_ddl_waits_while_a_session_reads(database: Database) -> None:
    database.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
    with database.source.open([database.request("t")]) as session:
        database.execute("SET lock_timeout = '100ms'")
        for ddl in ("DROP TABLE t", "TRUNCATE t", "ALTER TABLE t ADD COLUMN b int", "ALTER TABLE t RENAME TO u"):
            with pytest.raises(PenstockError, match="lock timeout"):
                database.execute(ddl)
        rows = [r for s in session.splits for b in database.source.reader().read(s) for r in b.rows.to_pylist()]
    assert rows == [{"id": 1}]
    database.execute("DROP TABLE t")


def test_a_missing_cursor_column_names_the_columns_there_are(database: Database) -> None:
    database.execute("CREATE TABLE t (id int, at timestamptz, f float8)")
    with pytest.raises(ConfigError, match="no column 'updated'"):
        database.read(database.request("t", "updated"))
    with pytest.raises(ConfigError, match="is of type float8"):
        database.read(database.request("t", "f"))


def test_one_bad_table_does_not_hide_the_others_from_a_probe(database: Database) -> None:
    role = f"{database.connection.database}_reader"
    database.execute(
        f"CREATE TABLE t (id int); INSERT INTO t VALUES (1); CREATE ROLE {role} LOGIN;GRANT SELECT ON t TO {role}"
    )
    database.execute("CREATE TABLE secret (id int); INSERT INTO secret VALUES (1)")
    try:
        source = PostgresSource(replace(database.connection, user=role, password=None))
        requests = [database.request(name, "id") for name in ("t", "secret", "gone")]
        good, denied, gone = source.probe(requests)
        assert good.upper is not None
        assert "permission denied" in denied.notes[0]
        assert "no table or view 'gone'" in gone.notes[0]
        with pytest.raises(ExtractionError, match="permission denied") as raised:
            database.read(requests[1], source)
        assert raised.value.fault == "config"
    finally:
        database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
def unreachable(database: Database) -> PostgresSource:
    return PostgresSource(replace(database.connection, port=1, password=Secret("x", lambda: "hunter2")))


def test_a_server_that_is_not_there_is_transient_and_shows_no_password(
    unreachable: PostgresSource, database: Database
) -> None:
    with pytest.raises(PenstockError) as raised:
        unreachable.check()
    assert raised.value.fault == "transient"
    opened = database.source.open([database.request("pg_catalog.pg_class")])
    with opened as session, pytest.raises(PenstockError) as read:
        list(unreachable.reader().read(session.splits[0]))
    assert read.value.fault == "transient"
    assert "hunter2" not in str(raised.value) + str(read.value)


def test_check_passes_on_a_server_that_can_be_read(database: Database) -> None:
    database.source.check()
    assert database.source.identity.startswith("postgres://")
    assert (os.environ.get("PGPASSWORD") or "no password") not in database.source.identity


def test_the_snapshot_lost_with_its_session_is_transient(database: Database) -> None:
    database.execute("CREATE TABLE t (id int)")
    with database.source.open([database.request("t")]) as session:
        splits = list(session.splits)
    with pytest.raises(ExtractionError, match="snapshot is gone") as raised:
        list(database.source.reader().read(splits[0]))
    assert raised.value.retryable
