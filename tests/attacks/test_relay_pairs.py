"""Between PostgreSQL tables of unequal types: each value arrives as it is, or an error says why not; never garbage."""

from __future__ import annotations

import pytest

import penstock
from tests.attacks.conftest import MakeLab
from tests.attacks.lab import Lab

pytestmark = [pytest.mark.postgres, pytest.mark.feature("M2")]

TYPES = (
    "CREATE TYPE src.mood AS ENUM ('a', 'b')",
    "CREATE TYPE src.temper AS ENUM ('c', 'b', 'a')",
    "CREATE DOMAIN src.positive AS integer CHECK (VALUE > 0)",
    "CREATE TYPE src.pair AS (n integer, t text)",
)

# source type, target type, a value. The first eight are those that COPY BINARY itself would take and make garbage of.
REFUSED = (
    ("double precision", "timestamp with time zone", "700000000.5"),
    ("bigint", "double precision", "4611686018427387904"),
    ("double precision", "bigint", "1.5"),
    ("bigint", "timestamp without time zone", "42"),
    ("integer", "date", "42"),
    ("date", "integer", "'2024-05-06'"),
    ("timestamp without time zone", "timestamp with time zone", "'2024-05-06 07:08:09'"),
    ("uuid", "bytea", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
    ("bytea", "uuid", "'0123456789abcdef'"),
    ("bytea", "text", "'\\xff00'"),
    ("text", "bytea", "'\\x41'"),
    ("timestamp with time zone", "timestamp without time zone", "'2024-05-06 07:08:09+03'"),
    ("timestamp with time zone", "date", "'2024-05-06 07:08:09+03'"),
    ("time without time zone", "interval", "'07:08:09'"),
    ("interval", "time without time zone", "'25 hours'"),
    ("numeric", "double precision", "0.1000000000000000055"),
    ("double precision", "numeric(12,2)", "0.123"),
    ("bigint[]", "double precision[]", "'{1,2}'"),
    ("point", "double precision[]", "'(1,2)'"),
    ("boolean", "integer", "true"),
    ("integer", "boolean", "2"),
    ("inet", "cidr", "'10.1.2.3/8'"),
    ("integer", "src.positive", "-5"),
    ("src.mood", "src.fewer", "'b'"),
    # what the server itself would cut or round
    ("text", "character varying(3)", "'abcdef'"),
    ("text", "character varying(3)", "'ab   '"),
    ("character varying(10)[]", "character varying(2)[]", "'{abc}'"),
    ("timestamp(6) without time zone", "timestamp(0) without time zone", "'2024-05-06 07:08:09.75'"),
    ("timestamp with time zone", "timestamp(3) with time zone", "'2024-05-06 07:08:09.0001'"),
    ("timestamp without time zone[]", "timestamp(0) without time zone[]", "'{2024-05-06 07:08:09.75}'"),
    ("time without time zone", "time(2) without time zone", "'07:08:09.125'"),
    ("interval", "interval(0)", "'1.5 seconds'"),
    ("bit(8)", "bit varying(4)", "B'10101010'"),
    ("bit varying", "bit(1)", "B'10'"),
    ("interval", "interval year to month", "'1 month 2 days'"),
    ("interval", "interval minute", "'00:05:01.5'"),
    ("interval[]", "interval year to month[]", "'{1 month 2 days}'"),
    # a zone that nobody named, or that vanishes; a day's time
    ("tsrange", "tstzrange", "'[2024-05-06 07:08:09,2024-05-07)'"),
    ("tstzrange", "tsrange", "'[2024-05-06 07:08:09+03,2024-05-07)'"),
    ("tsrange", "daterange", "'[2024-05-06 07:08:09,2024-05-07)'"),
    ("tsrange[]", "tstzrange[]", "array['[2024-05-06 07:08:09,2024-05-07)'::tsrange]"),
    ("text", "tsrange", "'[2024-05-06 07:08:09.1234567,2024-05-07)'"),
    ("text", "time with time zone", "'07:08:09'"),
    ("time with time zone", "time(0) with time zone", "'07:08:09.5+03'"),
    ("numeric", "money", "12.345"),
    ("text", '"char"', "'ab'"),
)

# source type, target type, what is in the target already, a value, what it is as text there
KEPT = (
    ("bigint", "integer", "-7", "5000000000", "5000000000"),
    ("integer", "real", "0.5", "16777217", "16777217"),
    ("real", "double precision", "0.1", "0.5", "0.5"),
    ("numeric(12,2)", "numeric(6,2)", "1.25", "1234567890.12", "1234567890.12"),
    ("numeric(12,2)", "numeric(12,4)", "1.2345", "12.34", "12.3400"),
    ("numeric", "numeric(6,2)", "1.25", "12.345", "12.345"),
    ("integer", "numeric(5,3)", "1.234", "70000", "70000.000"),
    ("date", "timestamp without time zone", "'2024-01-01 10:00:00'", "'2024-05-06'", "2024-05-06 00:00:00"),
    ("timestamp(6) without time zone", "timestamp(3) without time zone", "NULL", "'2024-05-06 07:08:09.25'", None),
    ("interval", "interval(1)", "NULL", "'1 month 2 days 00:00:01.5'", "1 mon 2 days 00:00:01.5"),
    ("text", "integer", "7", "'12'", "12"),
    ("uuid", "text", "'zz'", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("text", "uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'zz'", "zz"),
    ("json", "text", "'x'", "'{\"a\":  1}'", '{"a":  1}'),
    ("jsonb", "text", "'x'", "'{\"a\": 1}'", '{"a": 1}'),
    ("text", "jsonb", "'{\"a\": 1}'", "'b'", "b"),
    ("src.mood", "src.temper", "'c'", "'b'", "b"),
    ("src.mood", "text", "'zz'", "'b'", "b"),
    ("text", "src.mood", "'a'", "'zz'", "zz"),
    ("integer[]", "bigint[]", "'{5000000000}'", "'{1,2}'", "{1,2}"),
    ("numeric[]", "numeric(5,1)[]", "'{1.5}'", "'{1.25}'", "{1.25}"),
    ("integer[]", "integer[]", "'{1}'", "'{{1,2},{3,4}}'", "{{1,2},{3,4}}"),
    ("bigint", "src.positive", "5", "-5", "-5"),
    ("oid", "integer", "-5", "4000000000", "4000000000"),
    ("xid", "integer", "-5", "'7'", "7"),
    ("money", "bigint", "50000000000000000", "12.34", "$12.34"),
    ("money", "numeric(12,4)", "1.2345", "12.34", "$12.34"),
    ("inet", "integer", "5", "'10.1.2.3'", "10.1.2.3/32"),
    ('"char"', "text", "'x'", "'a'", "a"),
    ("src.pair", "text", "'x'", "'(1,a)'", "(1,a)"),
    ("src.pair", "src.pair", "'(2,b)'", "'(1,a)'", "(1,a)"),
    ("interval", "interval year to month", "NULL", "'1 year 2 months'", "1 year 2 mons"),
    ("interval", "interval day to second(1)", "NULL", "'3 days 00:00:01.5'", "3 days 00:00:01.5"),
    ("text", "tsrange", "NULL", "'[2024-05-06 07:08:09,infinity)'", '["2024-05-06 07:08:09",infinity)'),
    ("text", "tstzrange", "NULL", "'[2024-05-06T07:08:09Z,)'", '["2024-05-06 07:08:09+00",)'),
    ("text", "daterange", "NULL", "'[2024-05-06,2024-05-06]'", "[2024-05-06,2024-05-07)"),
    ("daterange", "tsrange", "NULL", "'[2024-05-06,)'", '["2024-05-06 00:00:00",)'),
    ("int4range", "int8range", "NULL", "'[1,4]'", "[1,5)"),
    ("time with time zone", "time with time zone", "NULL", "'07:08:09.25+03:30'", "07:08:09.25+03:30"),
    ("text", "time with time zone", "NULL", "'07:08:09Z'", "07:08:09+00"),
    ("numeric(5,2)", "money", "NULL", "12.34", "$12.34"),
    ("money", "money", "NULL", "-1234.5", "-$1,234.50"),
)

# those that only `columns: {v: string}` makes text
TO_TEXT = {
    ("text", "integer"),
    ("text", "uuid"),
    ("text", "jsonb"),
    ("text", "src.mood"),
    ("money", "bigint"),
    ("money", "numeric(12,4)"),
    ("inet", "integer"),
}


def pair_of(lab: Lab, number: int, source: str, target: str, value: str, old: str | None = None) -> dict[str, object]:
    lab.here.execute(
        f"CREATE TABLE src.t{number} (v {source})",
        f"INSERT INTO src.t{number} VALUES ({value})",
        f"CREATE TABLE dst.t{number} (v {target}, _ingested_at timestamptz)",
        *([f"INSERT INTO dst.t{number} VALUES ({old})"] if old else []),
    )
    return {
        "name": f"src.t{number}",
        "target_name": f"t{number}",
        "write_strategy": "append",
        "on_existing": "append",
        "pass_on_error": True,
    }


def texts(lab: Lab, number: int) -> list[str | None]:
    return [row[0] for row in lab.there.query(f"SELECT v::text FROM dst.t{number} ORDER BY _ingested_at NULLS FIRST")]


def test_what_a_column_cannot_hold_exactly_is_refused_and_nothing_arrives(make_lab: MakeLab) -> None:
    lab = make_lab("postgres", "postgres")
    lab.here.execute(*TYPES, "CREATE TYPE src.fewer AS ENUM ('a')")
    result = lab.run(*(pair_of(lab, n, *pair) for n, pair in enumerate(REFUSED)))
    told = {str(target): str(error) for target, error in result.errors.items()}
    arrived = {REFUSED[n]: texts(lab, n) for n in range(len(REFUSED)) if texts(lab, n)}
    assert arrived == {}
    assert set(told) == {f"dst.t{n}" for n in range(len(REFUSED))}
    assert not [error for error in told.values() if "unexpected" in error or "internal" in error]


def test_what_a_column_can_be_widened_to_keeps_the_rows_of_both(make_lab: MakeLab) -> None:
    lab = make_lab("postgres", "postgres")
    lab.here.execute(*TYPES)
    tables = [pair_of(lab, n, source, target, value, old) for n, (source, target, old, value, _) in enumerate(KEPT)]
    asked = [n for n, (source, target, *_) in enumerate(KEPT) if (source, target) in TO_TEXT]
    before = [texts(lab, n)[0] for n in range(len(KEPT))]
    result = lab.run(*tables)
    assert sorted(map(str, result.errors)) == sorted(f"dst.t{n}" for n in asked), result.errors
    assert all("v: string does not fit" in str(error) for error in result.errors.values())
    lab.moved(*(tables[n] | {"columns": {"v": "string"}} for n in asked))
    for n, (source, target, _, value, expected) in enumerate(KEPT):
        old, new = texts(lab, n)
        assert new == (expected or value.strip("'")), (source, target)
        assert as_number(old) == as_number(before[n]), (source, target)


def as_number(text: str | None) -> object:
    """A number by its value: 1.25 in a numeric column may have been 1.250 before."""
    try:
        return float(text or "")
    except ValueError:
        return text


def test_what_jsonb_does_to_json_is_told_by_plan(make_lab: MakeLab) -> None:
    lab = make_lab("postgres", "postgres")
    lab.here.execute(
        "CREATE TABLE src.docs (kept json, anew json, same jsonb)", "CREATE TABLE dst.docs (kept json, anew jsonb)"
    )
    table = {"name": "src.docs", "target_name": "docs", "write_strategy": "append"}
    (planned,) = penstock.plan(lab.write(table)).tables
    assert "anew: jsonb keeps the last of an object's repeated keys, and no order of keys" in planned.notes
