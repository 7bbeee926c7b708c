"""Every value arrives as it is, or the error names the column and the way out."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from penstock.errors import ConfigError, ExtractionError
from penstock.schema.types import to_arrow_schema

from .conftest import Database

pytestmark = pytest.mark.postgres

LONG = "1234567890123456789012345678.0123456789"
LONGER = f"{'9' * 55}.00001"
INTERVAL = pa.MonthDayNano([14, 3, 4_500_000_000])
EXACT: list[tuple[str, str, str, Any]] = [
    ("bool", "true", "bool", True),
    ("int2", "(-32768)", "int16", -32768),
    ("int4", "2147483647", "int32", 2147483647),
    ("int8", "(-9223372036854775808)", "int64", -(1 << 63)),
    ("oid", "4294967295", "int64", 4294967295),
    ("float4", "1.5", "float32", 1.5),
    ("float8", "0.1", "float64", 0.1),
    ("float8", "'-Infinity'", "float64", float("-inf")),
    ("numeric(12,2)", "1234567890.12", "decimal(12,2)", Decimal("1234567890.12")),
    ("numeric(38,10)", LONG, "decimal(38,10)", Decimal(LONG)),
    ("numeric(60,5)", LONGER, "decimal(60,5)", Decimal(LONGER)),
    ("numeric(3,-2)", "12345", "decimal(5,0)", Decimal(12300)),
    ("numeric(2,4)", "0.0012", "decimal(4,4)", Decimal("0.0012")),
    ("numeric", f"{'7' * 200}.5", "numeric", f"{'7' * 200}.5"),
    ("numeric", "'NaN'", "numeric", "NaN"),
    ("numeric(100,2)", "1.25", "numeric", "1.25"),
    ("text", "''", "string", ""),
    ("text", "E'a\\nb\\tc''\\\"\\\\ é 😀'", "string", "a\nb\tc'\"\\ é 😀"),
    ("varchar(3)", "'ab '", "string", "ab "),
    ("char(4)", "'ab'", "string", "ab  "),
    ("name", "'n'", "string", "n"),
    ("bytea", "'\\x00ff'", "binary", b"\x00\xff"),
    ("date", "'0001-01-01'", "date", date(1, 1, 1)),
    ("date", "'9999-12-31'", "date", date(9999, 12, 31)),
    ("time", "'23:59:59.999999'", "time", time(23, 59, 59, 999999)),
    ("timetz", "'10:00:00+02'", "string", "10:00:00+02"),
    ("timestamp", "'0001-01-01 00:00:00'", "timestamp", datetime(1, 1, 1)),
    ("timestamptz", "'2024-03-31 03:30:00+02'", "timestamptz", datetime(2024, 3, 31, 1, 30, tzinfo=UTC)),
    ("interval", "'1 year 2 mons 3 days 4.5 s'", "interval", INTERVAL),
    ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("json", "'{\"b\": 1,  \"a\": 2}'", "json", '{"b": 1,  "a": 2}'),
    ("jsonb", "'{\"b\": 1,  \"a\": 2}'", "json", '{"a": 2, "b": 1}'),
    ("mood", "'fine'", "enum", "fine"),
    ("inet", "'10.0.0.1/8'", "string", "10.0.0.1/8"),
    ("money", "12.5", "string", "$12.50"),
    ("xml", "'<a/>'", "string", "<a/>"),
    ("int4range", "'[1,5)'", "string", "[1,5)"),
    ("point", "'(1,2)'", "string", "(1,2)"),
    ("pair", "row(1,'x')", "string", "(1,x)"),
    ("cents", "5.5", "decimal(9,1)", Decimal("5.5")),
    ("small", "7", "int16", 7),
    ("int4[]", "'{1,NULL,3}'", "list<int32>", [1, None, 3]),
    ("text[]", "'{a,\"\",NULL}'", "list<string>", ["a", "", None]),
    ("date[]", "'{2024-01-01}'", "list<date>", [date(2024, 1, 1)]),
    ("bool[]", "'{}'", "list<bool>", []),
    ("numeric(5,2)[]", "'{1.5,NULL}'", "list<decimal(5,2)>", [Decimal("1.50"), None]),
    ("numeric[]", "'{NaN,0.00000000000000000001}'", "list<numeric>", ["NaN", "0.00000000000000000001"]),
    ("uuid[]", "'{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}'", "list<uuid>", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    ("mood[]", "'{fine,NULL}'", "list<string>", ["fine", None]),
    ("inet[]", "'{10.0.0.1}'", "string", "{10.0.0.1}"),
    ("regclass", "'pg_class'", "string", "pg_class"),
    ("tsvector", "'a b'", "string", "'a' 'b'"),
]  # fmt: skip
SINCE = {"numeric(3,-2)": 150_000, "numeric(2,4)": 150_000}
SETUP = (
    "CREATE TYPE mood AS ENUM ('fine', 'bad'); CREATE TYPE pair AS (a int, b text);"
    "CREATE DOMAIN cents AS numeric(9,1) CHECK (value > 0); CREATE DOMAIN small AS int2; CREATE DOMAIN small2 AS small;"
)


@pytest.mark.claims("postgres.types")
def test_each_type_arrives_exactly(database: Database) -> None:
    known = [case for case in EXACT if database.version >= SINCE.get(case[0], 0)]
    columns = ", ".join(f"c{i} {kind}" for i, (kind, *_) in enumerate(known))
    values = ", ".join(f"{value}::{kind}" for kind, value, *_ in known)
    database.execute(f"{SETUP} CREATE TABLE t ({columns}); INSERT INTO t SELECT {values}; INSERT INTO t VALUES (NULL)")
    (spec,) = database.source.streams(["t"])
    assert spec.schema is not None
    assert [f.type for f in spec.schema.fields] == [house for _, _, house, _ in known]
    rows, _ = database.read(database.request("t"))
    arrived = [row for row in rows if row["c0"] is not None]
    assert list(arrived[0].values()) == [value for *_, value in known]
    assert [v for row in rows if row["c0"] is None for v in row.values()] == [None] * len(known)


def test_batches_have_the_schema_of_their_split(database: Database) -> None:
    known = [case for case in EXACT if database.version >= SINCE.get(case[0], 0)]
    columns = ", ".join(f"c{i} {kind}" for i, (kind, *_) in enumerate(known))
    values = ", ".join(f"{value}::{kind}" for kind, value, *_ in known)
    database.execute(f"{SETUP} CREATE TABLE t ({columns}); INSERT INTO t SELECT {values}")
    with database.source.open([database.request("t")]) as session:
        (split,) = session.splits
        (batch,) = database.source.reader().read(split)
        assert batch.rows.schema.equals(to_arrow_schema(split.schema), check_metadata=True)


def test_native_types_keep_their_modifiers_and_domains_their_names(database: Database) -> None:
    database.execute(
        f"{SETUP} CREATE TABLE t (a varchar(7), b numeric(10,2) NOT NULL, c cents, d timestamptz(3), e small2)"
    )
    database.execute("COMMENT ON COLUMN t.a IS 'the a'; ALTER TABLE t ADD PRIMARY KEY (b, a)")
    (spec,) = database.source.streams(["t"])
    assert spec.schema is not None
    assert [f.native for f in spec.schema.fields] == [
        "character varying(7)",
        "numeric(10,2)",
        "cents",
        "timestamp(3) with time zone",
        "small2",
    ]
    assert [f.nullable for f in spec.schema.fields] == [False, False, True, True, True]
    assert (spec.schema.fields[0].comment, spec.schema.key) == ("the a", ("b", "a"))
    assert spec.schema.field("e").type == "int16"


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("timestamp", "'infinity'", "infinity"),
        ("timestamptz", "'-infinity'", "infinity"),
        ("date", "'infinity'", "infinity"),
        ("date", "'-infinity'", "infinity"),
        ("date", "'0044-03-15 BC'", "years 1 to 9999"),
        ("timestamp", "'10000-01-01'", "years 1 to 9999"),
        ("timestamp[]", "'{2024-01-01,infinity}'", "infinity"),
        ("time", "'24:00'", "24:00:00"),
        ("numeric(5,2)", "'NaN'", "NaN"),
        ("numeric(5,2)[]", "'{NaN}'", "list<numeric>"),
        ("numeric[]", "'{{1},{2}}'", "several dimensions"),
        ("int4[]", "'{{1,2},{3,4}}'", "several dimensions"),
        ("interval", "'3000000 hours'", "292 years"),
    ],
)
@pytest.mark.claims("error:out of range")
def test_what_arrow_cannot_hold_is_an_error_and_text_is_the_way_out(
    database: Database, kind: str, value: str, words: str
) -> None:
    database.execute(f'CREATE TABLE t (id int, "the col" {kind}); INSERT INTO t VALUES (1, NULL), (2, {value})')
    with pytest.raises(ExtractionError, match=words) as raised:
        database.read(database.request("t"))
    assert "the col" in str(raised.value)
    assert not raised.value.retryable
    house = {"numeric(5,2)": "numeric", "numeric(5,2)[]": "list<numeric>"}.get(kind, "string")
    rows, _ = database.read(database.request("t", types={"the col": house}))
    (text,) = database.main.query('SELECT "the col"::text FROM t WHERE id = 2')[0]
    assert [row["the col"] for row in rows] == [None, ["NaN"] if house == "list<numeric>" else text]


@pytest.mark.parametrize(
    ("kind", "value", "house", "expected"),
    [
        ("int4", "5", "string", "5"),
        ("text", "'12.50'", "decimal(6,2)", Decimal("12.50")),
        ("text", "'2024-01-31'", "date", date(2024, 1, 31)),
        ("int8", "200", "uint8", 200),
        ("numeric", "18446744073709551615", "uint64", (1 << 64) - 1),
        ("numeric", "1.23456", "decimal(5,2)", Decimal("1.23")),
        ("numeric(12,0)", "123456789012", "int64", 123456789012),
        ("text", "'{1,2}'", "list<int64>", [1, 2]),
        ("text", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("json", "'{}'", "string", "{}"),
        ("text", "E'\\\\x41 \\\\\\\\ é'", "binary", "\\x41 \\\\ é".encode()),
    ],
)
def test_columns_are_read_as_the_project_says(
    database: Database, kind: str, value: str, house: str, expected: object
) -> None:
    database.execute(f"CREATE TABLE t (c {kind}); INSERT INTO t VALUES ({value})")
    rows, _ = database.read(database.request("t", types={"c": house}))
    assert rows == [{"c": expected}]


def test_a_cast_that_a_row_breaks_shows_no_value(database: Database) -> None:
    database.execute("CREATE TABLE t (c text); INSERT INTO t VALUES ('s3cret')")
    with pytest.raises(ExtractionError) as raised:
        database.read(database.request("t", types={"c": "int32"}))
    assert "s3cret" not in str(raised.value)
    assert raised.value.fault == "data"
    assert raised.value.__cause__ is None


def test_types_for_columns_that_are_not_there_are_refused(database: Database) -> None:
    database.execute("CREATE TABLE t (c text)")
    with pytest.raises(ConfigError, match="names 'd', which the stream does not have"):
        database.read(database.request("t", types={"d": "int32"}))
    with pytest.raises(ConfigError, match="cannot be read as"):
        database.read(database.request("t", types={"c": "struct<a: int32>"}))


def test_batches_stay_within_rows_and_large_cells_pass(database: Database) -> None:
    database.execute("CREATE TABLE t AS SELECT i AS id, repeat('x', 100) AS s FROM generate_series(1, 25000) i")
    database.execute("INSERT INTO t VALUES (0, repeat('y', 20000000))")
    with database.source.open([database.request("t", batch_rows=1000, batch_bytes=1 << 20)]) as session:
        (split,) = session.splits
        sizes = [b.rows.num_rows for b in database.source.reader().read(split)]
    assert sum(sizes) == 25001
    assert max(sizes) == 1000


def test_text_of_a_database_without_encoding_is_never_garbage(database: Database) -> None:
    name = f"{database.connection.database}_ascii"
    database.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'")
    ascii_only = Database(database.url.rpartition("/")[0] + f"/{name}")
    try:
        ascii_only.execute("CREATE TABLE t (id int, s text); INSERT INTO t VALUES (1, 'plain')")
        assert ascii_only.read(ascii_only.request("t"))[0] == [{"id": 1, "s": "plain"}]
        ascii_only.execute("INSERT INTO t VALUES (2, E'\\xe9')")
        with pytest.raises(ExtractionError, match="invalid byte sequence"):
            ascii_only.read(ascii_only.request("t"))
        with ascii_only.source.open([ascii_only.request("t")]) as session, pytest.raises(ExtractionError):
            list(ascii_only.source.reader().relay(session.splits[0]))
    finally:
        ascii_only.close()
        database.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_table_without_columns_or_rows_keeps_its_schema(database: Database) -> None:
    database.execute("CREATE TABLE t (a int, b text)")
    rows, bounds = database.read(database.request("t"))
    assert (rows, bounds.rows) == ([], 0)
    with database.source.open([database.request("t")]) as session:
        assert session.splits[0].schema.names == ("a", "b")
