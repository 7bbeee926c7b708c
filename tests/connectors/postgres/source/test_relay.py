"""Undecoded bytes: those of psql's COPY, and only between types where that is safe."""

from __future__ import annotations

import asyncio
import subprocess
from urllib.parse import urlsplit

import pytest

from penstock.connectors.postgres import loop
from penstock.connectors.postgres.relay import CopyChunks, relay_casts
from penstock.errors import ExtractionError
from penstock.values import Field, Split, SplitWish, TableSchema

from .conftest import Database


def copied_by_psql(database: Database, query: str) -> bytes:
    parts = urlsplit(database.url)
    command = [
        "psql",
        "-h",
        str(parts.hostname),
        "-p",
        str(parts.port),
        "-U",
        str(parts.username),
        "-d",
        parts.path[1:],
    ]
    return subprocess.run(
        [*command, "-qAtc", f"COPY ({query}) TO STDOUT (FORMAT binary)"], check=True, capture_output=True
    ).stdout


def relay(database: Database, split: Split) -> CopyChunks:
    chunks = database.source.reader().relay(split)
    assert isinstance(chunks, CopyChunks)
    return chunks


@pytest.mark.postgres
@pytest.mark.feature("M3")
def test_relayed_bytes_are_those_of_psql(database: Database) -> None:
    database.execute(
        "CREATE TABLE t AS SELECT i AS id, i * 1.5::numeric(12,2) AS n, md5(i::text) AS s, now() AS at,"
        "NULL::date AS d, ARRAY[i, NULL] AS l, 'NaN'::numeric AS x, 'infinity'::timestamptz AS inf"
        " FROM generate_series(1, 30000) i"
    )
    with database.source.open([database.request("t")]) as session:
        chunks = relay(database, session.splits[0])
        assert b"".join(chunks) == copied_by_psql(database, "SELECT * FROM t")
        assert (chunks.rows, chunks.encoding) == (30000, "postgres-copy-binary")


@pytest.mark.postgres
def test_a_relay_takes_the_rows_that_the_reader_takes(database: Database) -> None:
    database.execute("CREATE TABLE t AS SELECT i AS id, now() AS at FROM generate_series(1, 5000) i")
    _, position = database.load("t", "at")
    database.execute("INSERT INTO t SELECT i, now() FROM generate_series(5001, 5007) i")
    with database.source.open([database.request("t", "at", after=position)]) as session:
        chunks = relay(database, session.splits[0])
        assert b"".join(chunks) == copied_by_psql(database, "SELECT * FROM t WHERE id > 5000")
    with database.source.open([database.request("t", splits=SplitWish(3))]) as session:
        rows = []
        for split in session.splits:
            chunks = relay(database, split)
            list(chunks)
            rows.append(chunks.rows)
    assert sum(r or 0 for r in rows) == 5007
    assert len(rows) == 3


@pytest.mark.postgres
def test_a_relay_runs_on_the_shared_loop_and_stops_when_left(database: Database) -> None:
    database.execute("CREATE TABLE t AS SELECT i AS id, repeat('x', 1000) AS s FROM generate_series(1, 40000) i")

    async def gather(chunks: CopyChunks) -> bytes:
        return b"".join([chunk async for chunk in chunks])

    async def leave_early(chunks: CopyChunks) -> int:
        stream = aiter(chunks)
        first = await anext(stream)
        await asyncio.sleep(0)
        await stream.aclose()  # type: ignore[attr-defined]
        return len(first)

    with database.source.open([database.request("t")]) as session:
        split = session.splits[0]
        assert loop.run(gather(relay(database, split))) == copied_by_psql(database, "SELECT * FROM t")
        assert loop.run(leave_early(relay(database, split))) > 0
        for _ in relay(database, split):
            break


@pytest.mark.postgres
def test_casts_bring_the_bytes_to_the_targets_types(database: Database) -> None:
    database.execute("CREATE TABLE t AS SELECT 1::int2 AS a, 'x'::varchar(5) AS b, 2.5::numeric(5,2) AS c")
    target = TableSchema(tuple(field(n, t) for n, t in (("a", "bigint"), ("b", "text"), ("c", "numeric(8,2)"))))
    with database.source.open([database.request("t")]) as session:
        relayed = database.source.relay_splits(session.splits, target)
        assert relayed is not None
        expected = copied_by_psql(database, "SELECT a::bigint, b::text, c::numeric(8,2) FROM t")
        assert b"".join(relay(database, relayed[0])) == expected
        unequal = TableSchema((field("a", "double precision"), field("b", "text"), field("c", "numeric")))
        assert database.source.relay_splits(session.splits, unequal) is None


@pytest.mark.postgres
def test_a_relay_that_fails_says_so_without_values(database: Database) -> None:
    database.execute(
        "CREATE FUNCTION fail(i int) RETURNS int LANGUAGE plpgsql AS"
        " $$BEGIN IF i > 500 THEN RAISE 'no s3cret %', i; END IF; RETURN i; END$$"
    )
    query = "SELECT fail(i) AS id FROM generate_series(1, 1000) i"
    with database.source.open([database.request("q", query=query, limit=1)]) as session:
        split = session.splits[0]
        sql = str(split.work["relay_sql"]).removesuffix(" LIMIT 1")
        broken = Split(split.id, split.stream, split.schema, {**split.work, "relay_sql": sql, "sql": sql})
        with pytest.raises(ExtractionError) as relayed:
            list(database.source.reader().relay(broken))
        with pytest.raises(ExtractionError) as read:
            list(database.source.reader().read(broken))
    assert "s3cret" not in str(relayed.value) + str(read.value)


@pytest.mark.postgres
def test_a_killed_server_session_is_transient(database: Database) -> None:
    database.execute("CREATE TABLE t AS SELECT i AS id, repeat('x', 1000) AS s FROM generate_series(1, 60000) i")
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 AND datname = $2"
    with database.source.open([database.request("t")]) as session:
        chunks = iter(database.source.reader().relay(session.splits[0]))
        next(chunks)
        database.main.query(kill, "penstock relay", database.connection.database)
        with pytest.raises(ExtractionError) as relayed:
            list(chunks)
        batches = database.source.reader().read(session.splits[0])
        next(batches)
        database.main.query(kill, "penstock reader", database.connection.database)
        with pytest.raises(ExtractionError) as read:
            list(batches)
    assert (relayed.value.fault, read.value.fault) == ("transient", "transient")


def field(name: str, native: str | None) -> Field:
    return Field(name, "string", True, native)


@pytest.mark.parametrize(
    ("source", "target", "cast"),
    [
        ("integer", "integer", None),
        ("timestamp(3) with time zone", "timestamp(3) with time zone", None),
        ("numeric(10,2)[]", "numeric(10,2)[]", None),
        ("character varying(5)", "character varying(9)", "character varying(9)"),
        ("smallint", "bigint", "bigint"),
        ("numeric(5,2)", "numeric", "numeric"),
        ("jsonb", "text", "text"),
    ],
)
@pytest.mark.claims("relay:pairs")
def test_pairs_that_may_be_relayed(source: str, target: str, cast: str | None) -> None:
    assert relay_casts([field("c", source)], [field("c", target)]) == (cast,)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("double precision", "timestamp with time zone"),
        ("numeric", "numeric(10,2)"),
        ("numeric(10,2)", "numeric(10,1)"),
        ("numeric(10,2)", "numeric(9,2)"),
        ("numeric(10,2)", "numeric(10,4)"),
        ("bigint", "double precision"),
        ("bigint", "integer"),
        ("character varying(9)", "character varying(5)"),
        ("character varying", "character varying(5)"),
        ("text", "character(5)"),
        ("timestamp without time zone", "timestamp with time zone"),
        ("integer[]", "bigint[]"),
        ("oid", "oid"),
        ("money", "money"),
        ("xml", "xml"),
        ("regclass", "regclass"),
        ("aclitem[]", "aclitem[]"),
        ("mood", "mood"),
        ("jsonb", "jsonb(1)"),
        (None, "text"),
        ("text", None),
    ],
)
@pytest.mark.claims("relay:pairs")
def test_pairs_that_must_be_decoded(source: str | None, target: str | None) -> None:
    assert relay_casts([field("c", source)], [field("c", target)]) is None


def test_other_numbers_of_columns_are_never_relayed() -> None:
    assert relay_casts([field("a", "text")], []) is None
