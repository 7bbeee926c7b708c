"""The columns that every pair of systems must carry: each source's own types, and values at the edges of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

Cells = tuple[tuple[str, Any], ...]  # (how the source writes the value, the value)


@dataclass(frozen=True)
class Column:
    """A column of a source. `declared` is the type under the table's `columns:`, where the file does not say."""

    native: str
    house: str
    cells: Cells
    declared: str | None = None


def same(*texts: str) -> Cells:
    return tuple((text, text) for text in texts)


BOOL: Cells = (("true", True), ("false", False))
FLOATS: Cells = (
    ("0.1", 0.1),
    ("NaN", math.nan),
    ("Infinity", math.inf),
    ("-Infinity", -math.inf),
    ("-0.0", -0.0),
    ("5e-324", 5e-324),
    ("1.7976931348623157e308", 1.7976931348623157e308),
)
SINGLES: Cells = (
    ("0.5", 0.5),
    ("NaN", math.nan),
    ("-Infinity", -math.inf),
    ("-0.0", -0.0),
    ("3.4028235e38", 3.4028234663852886e38),
)
MONEY: Cells = tuple((t, Decimal(t)) for t in ("12.30", "-9999999999.99", "0.00"))
WIDE: Cells = tuple((t, Decimal(t)) for t in ("1234567890123456789012345678.0123456789", "-0.0000000001"))
WIDER: Cells = tuple((t, Decimal(t)) for t in ("12345678901234567890123456789012345678901234567.125", "-0.001"))
UNBOUNDED = same("NaN", "1" * 60, "-0.00000000000000000000000000000000000000000001", "12.30")
TEXT = same("", "NULL", 'it\'s, "quoted"', "grün 漢字 \U0001f600", "a\nb\tc", "\\N", " 12.30 ", "nan")
DATES: Cells = tuple((t, date.fromisoformat(t)) for t in ("0001-01-01", "2024-02-29", "9999-12-31"))
TIMES: Cells = tuple((t, time.fromisoformat(t)) for t in ("00:00:00", "23:59:59.999999"))
MOMENTS: Cells = tuple(
    (t, datetime.fromisoformat(t))
    for t in (
        "0001-01-01 00:00:00",
        "2024-01-02 03:04:05.000006",
        "1969-12-31 23:59:59.5",
        "9999-12-31 23:59:59.999999",
    )
)
ZONED: Cells = tuple(
    (t, datetime.fromisoformat(t).astimezone(UTC))
    for t in ("0001-01-01 00:00:00+00:00", "2024-03-31 03:30:00+02:00", "9999-12-31 23:59:59.999999+00:00")
)
INTERVALS: Cells = (
    ("14 months -3 days 5.000001 seconds", pa.MonthDayNano([14, -3, 5_000_001_000])),
    ("-1 days", pa.MonthDayNano([0, -1, 0])),
)
UUIDS = same("c0ffee00-0000-4000-8000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff")
JSONS = same('{"a": [1, 2.50, null], "b": "ü\\""}', "5", '"x"', "null", "[]")
MOODS = same("fine", "it's bad", "12.30")


def whole(*numbers: int) -> Cells:
    return tuple((str(n), n) for n in numbers)


def signed(bits: int) -> Cells:
    return whole(-(1 << bits - 1), (1 << bits - 1) - 1, 0)


def unsigned(bits: int) -> Cells:
    return whole((1 << bits) - 1, 0)


BYTES = (b"", b"\x00\xff", b"text")
POSTGRES = (
    Column("smallint", "int16", signed(16)),
    Column("integer", "int32", signed(32)),
    Column("bigint", "int64", signed(64)),
    Column("numeric(12,2)", "decimal(12,2)", MONEY),
    Column("numeric(38,10)", "decimal(38,10)", WIDE),
    Column("numeric(50,3)", "decimal(50,3)", WIDER),
    Column("numeric", "numeric", (*UNBOUNDED, ("Infinity", "Infinity"))),
    Column("real", "float32", SINGLES),
    Column("double precision", "float64", FLOATS),
    Column("boolean", "bool", BOOL),
    Column("text", "string", TEXT),
    Column("character varying(20)", "string", TEXT),
    Column("character(4)", "string", (("ab", "ab  "),)),
    Column("bytea", "binary", tuple(("\\x" + b.hex(), b) for b in BYTES)),
    Column("date", "date", DATES),
    Column("time without time zone", "time", TIMES),
    Column("time with time zone", "string", same("10:00:00+02")),
    Column("timestamp without time zone", "timestamp", MOMENTS),
    Column("timestamp with time zone", "timestamptz", ZONED),
    Column("interval", "interval", INTERVALS),
    Column("uuid", "uuid", UUIDS),
    Column("json", "json", JSONS),
    Column("jsonb", "json", same('{"a": [1, 2.50, null]}', "5", '"x"', "null", "[]")),
    Column("mood", "enum", MOODS),
    Column("inet", "string", same("10.0.0.1/8")),
    Column("bit varying(8)", "string", same("0101", "")),
    Column("xml", "string", same("<a>b</a>")),
    Column("int4range", "string", same("[1,5)", "empty")),
    Column("point", "string", same("(1,2)")),
    Column("oid", "int64", whole((1 << 32) - 1)),
    Column("numeric(5,-2)", "decimal(7,0)", (("12345", Decimal(12300)),)),
    Column("timestamp(3) with time zone", "timestamptz", (ZONED[0], ZONED[1])),
    Column("boolean[]", "list<bool>", (("{t,NULL,f}", [True, None, False]),)),
    Column("bytea[]", "list<binary>", (('{"\\\\x00ff"}', [b"\x00\xff"]),)),
    Column("date[]", "list<date>", (("{0001-01-01,9999-12-31}", [DATES[0][1], DATES[2][1]]),)),
    Column("uuid[]", "list<uuid>", (("{c0ffee00-0000-4000-8000-000000000000}", [UUIDS[0][0]]),)),
    Column("mood[]", "list<string>", (("{fine,NULL}", ["fine", None]),)),
    Column("integer[]", "list<int32>", (("{1,NULL,-2147483648}", [1, None, -(1 << 31)]), ("{}", []))),
    Column("text[]", "list<string>", (('{a,"",NULL,"it\'s \\"q\\""}', ["a", "", None, 'it\'s "q"']),)),
    Column("double precision[]", "list<float64>", (("{NaN,0.1}", [math.nan, 0.1]),)),
    Column(
        "timestamp with time zone[]",
        "list<timestamptz>",
        (("{2024-01-01 00:00:00+00}", [datetime(2024, 1, 1, tzinfo=UTC)]),),
    ),
    Column("numeric(5,2)[]", "list<decimal(5,2)>", (("{1.50,NULL}", [Decimal("1.50"), None]),)),
    Column(
        "numeric[]",
        "list<numeric>",
        (
            (
                "{NaN,-0.00000000000000000000000000000000000000000001}",
                ["NaN", "-0.00000000000000000000000000000000000000000001"],
            ),
        ),
    ),
    Column("interval[]", "string", same('{"1 day"}')),
)
SQLITE = (
    Column("INTEGER", "int64", signed(64)),
    Column("REAL", "float64", tuple(c for c in FLOATS if c[0] not in ("NaN", "-0.0"))),
    Column("DECIMAL(12,2)", "decimal(12,2)", (("12.5", Decimal("12.50")), ("7", Decimal("7.00")))),
    Column("DECIMAL_TEXT(38,10)", "decimal(38,10)", WIDE),
    Column("NUMERIC_TEXT", "numeric", UNBOUNDED),
    Column("BOOLEAN", "bool", (("1", True), ("0", False))),
    Column("TEXT", "string", TEXT),
    Column("VARCHAR(20)", "string", TEXT),
    Column("BLOB", "binary", tuple((f"x'{b.hex()}'", b) for b in BYTES)),
    Column("DATE", "date", DATES),
    Column("TIME", "time", TIMES),
    Column("TIMESTAMP", "timestamp", MOMENTS),
    Column("DATETIME", "timestamp", MOMENTS),
    Column("TIMESTAMPTZ", "timestamptz", ZONED),
    Column("DURATION_TEXT", "interval", (("P14M-3DT5.000001000S", INTERVALS[0][1]),)),
    Column("UUID", "uuid", UUIDS),
    Column("JSON", "json", JSONS),
)
DUCKDB = (
    Column("TINYINT", "int8", signed(8)),
    Column("SMALLINT", "int16", signed(16)),
    Column("INTEGER", "int32", signed(32)),
    Column("BIGINT", "int64", signed(64)),
    Column("HUGEINT", "decimal(38,0)", tuple((str(n), Decimal(n)) for n in (10**38 - 1, 1 - 10**38, 0))),
    Column("UTINYINT", "uint8", unsigned(8)),
    Column("USMALLINT", "uint16", unsigned(16)),
    Column("UINTEGER", "uint32", unsigned(32)),
    Column("UBIGINT", "uint64", unsigned(64)),
    Column("DECIMAL(12,2)", "decimal(12,2)", MONEY),
    Column("DECIMAL(38,10)", "decimal(38,10)", WIDE),
    Column("FLOAT", "float32", SINGLES),
    Column("DOUBLE", "float64", FLOATS),
    Column("BOOLEAN", "bool", BOOL),
    Column("VARCHAR", "string", TEXT),
    Column("BLOB", "binary", tuple(("".join(f"\\x{byte:02X}" for byte in b), b) for b in BYTES)),
    Column("DATE", "date", DATES),
    Column("TIME", "time", TIMES),
    Column("TIMESTAMP", "timestamp", MOMENTS),
    Column("TIMESTAMP_MS", "timestamp", (("2024-01-02 03:04:05.006", datetime(2024, 1, 2, 3, 4, 5, 6000)),)),
    Column("TIMESTAMP_S", "timestamp", (("2024-01-02 03:04:05", datetime(2024, 1, 2, 3, 4, 5)),)),
    Column("TIMESTAMP_NS", "timestamp", (MOMENTS[1],)),
    Column("TIMESTAMP WITH TIME ZONE", "timestamptz", ZONED),
    Column("TIME WITH TIME ZONE", "string", same("10:00:00+02")),
    Column("BIT", "string", same("0101")),
    Column("UHUGEINT", "numeric", same(str((1 << 128) - 1), "0")),
    Column("BIGNUM", "numeric", same("1" * 60, "-5")),
    Column("MAP(VARCHAR, INTEGER)", "json", (("{a=1}", '{"a":1}'),)),
    Column("VARCHAR[][]", "list<list<string>>", (("[[a, NULL], []]", [["a", None], []]),)),
    Column("UUID[]", "list<uuid>", (("[c0ffee00-0000-4000-8000-000000000000]", [UUIDS[0][0]]),)),
    Column("INTERVAL", "interval", INTERVALS),
    Column("UUID", "uuid", UUIDS),
    Column("JSON", "json", JSONS),
    Column("mood", "enum", MOODS),
    Column("INTEGER[]", "list<int32>", (("[1, NULL, -2147483648]", [1, None, -(1 << 31)]), ("[]", []))),
    Column("DECIMAL(5,2)[]", "list<decimal(5,2)>", (("[1.50, NULL]", [Decimal("1.50"), None]),)),
    Column(
        "STRUCT(a INTEGER, b VARCHAR)", "struct<a: int32, b: string>", (("{'a': 1, 'b': NULL}", {"a": 1, "b": None}),)
    ),
)
# For Parquet the text of a cell is never used: the values themselves are written.
PARQUET = (
    Column("int8", "int8", signed(8)),
    Column("int16", "int16", signed(16)),
    Column("int32", "int32", signed(32)),
    Column("int64", "int64", signed(64)),
    Column("uint8", "uint8", unsigned(8)),
    Column("uint16", "uint16", unsigned(16)),
    Column("uint32", "uint32", unsigned(32)),
    Column("uint64", "uint64", unsigned(64)),
    Column("float", "float32", SINGLES),
    Column("double", "float64", FLOATS),
    Column("decimal128(12, 2)", "decimal(12,2)", MONEY),
    Column("decimal128(38, 10)", "decimal(38,10)", WIDE),
    Column("decimal256(50, 3)", "decimal(50,3)", WIDER),
    Column("bool", "bool", BOOL),
    Column("string", "string", TEXT),
    Column("dictionary<string>", "string", TEXT),
    Column("binary", "binary", tuple(("", b) for b in BYTES)),
    Column("fixed_size_binary[2]", "binary", (("", b"\x00\xff"),)),
    Column("date32[day]", "date", DATES),
    Column("time64[us]", "time", TIMES),
    Column("time32[ms]", "time", (("", time(23, 59, 59, 999000)),)),
    Column("timestamp[us]", "timestamp", MOMENTS),
    Column("timestamp[ms]", "timestamp", (("", datetime(2024, 1, 2, 3, 4, 5, 6000)),)),
    Column("timestamp[us, tz=UTC]", "timestamptz", ZONED),
    Column("timestamp[ns]", "timestamp", (MOMENTS[1],)),
    Column("time64[ns]", "time", TIMES),
    Column("halffloat", "float32", (("", 0.5), ("", -0.0), ("", math.nan))),
    Column("large_string", "string", TEXT),
    Column("duration[us]", "interval", (("", pa.MonthDayNano([0, 0, 5_000_001_000])),)),
    Column("list<int32>", "list<int32>", (("", [1, None]), ("", []))),
    Column("list<struct<a: int32>>", "list<struct<a: int32>>", (("", [{"a": 1}, None]),)),
    Column("list<string>", "list<string>", (("", ["a", "", None]),)),
    Column("struct<a: int32, b: string>", "struct<a: int32, b: string>", (("", {"a": 1, "b": None}),)),
)
# What a file of text does not say and a project can: the type under `columns:`.
DECLARED = (
    Column("text", "uint64", unsigned(64), "uint64"),
    Column("text", "decimal(12,2)", MONEY, "decimal(12,2)"),
    Column("text", "decimal(38,10)", WIDE, "decimal(38,10)"),
    Column("text", "float32", SINGLES, "float32"),
    Column("text", "date", DATES, "date"),
    Column("text", "time", TIMES, "time"),
    Column("text", "timestamp", MOMENTS, "timestamp"),
    Column("text", "timestamptz", ZONED, "timestamptz"),
    Column("text", "interval", (("P14M-3DT5.000001S", INTERVALS[0][1]),), "interval"),
    Column("text", "uuid", UUIDS, "uuid"),
    Column("text", "json", JSONS, "json"),
    Column("text, base64", "binary", (("", b""), ("AP8=", b"\x00\xff")), "binary"),
)
CSV = (
    Column("whole numbers", "int64", signed(64)),
    Column("larger whole numbers", "numeric", same("1" * 60, "5")),
    Column("numbers with a point", "float64", tuple((t, float(t)) for t in ("0.1", "-0.5", "1e300"))),
    Column("numbers of more digits than a double", "numeric", same("0.12345678901234567890", "12.30")),
    Column("true, false", "bool", BOOL),
    Column("text", "string", TEXT),
    Column("0123", "string", same("0123", "007")),
    *DECLARED,
)
JSONL = (
    Column("whole numbers", "int64", signed(64)),
    Column("larger whole numbers", "numeric", same("1" * 60, "5")),
    Column("numbers with a point", "float64", tuple((t, float(t)) for t in ("0.1", "-0.5", "1e300"))),
    Column("numbers of more digits than a double", "numeric", same("0.12345678901234567890", "12.30")),
    Column("true, false", "bool", BOOL),
    Column("strings", "string", TEXT),
    Column("objects, lists, mixtures", "json", same('{"a":[1,2.50,null]}', "5", '"x"', "[]")),
    *(column for column in DECLARED if column.house != "json"),
    Column("list of numbers", "list<int64>", (("[1, null]", [1, None]), ("[]", [])), "list<int64>"),
)
COLUMNS: dict[str, tuple[Column, ...]] = {
    "postgres": POSTGRES,
    "sqlite": SQLITE,
    "duckdb": DUCKDB,
    "parquet": PARQUET,
    "csv": CSV,
    "jsonl": JSONL,
}


@dataclass(frozen=True)
class Extreme:
    """A value outside of what every system holds: where it is refused, and the type under `columns:` that takes it."""

    source: str
    column: Column
    says: str
    refused_by: tuple[str, ...] = ()  # none named: by the source, wherever it is to go
    way_out: str | None = None


def _only(native: str, house: str, text: str, declared: str | None = None, value: Any = None) -> Column:
    return Column(native, house, ((text, value),), declared)


NUL = "a\x00b"
EXTREMES = (
    Extreme("postgres", _only("timestamp without time zone", "timestamp", "infinity"), "infinity", way_out="string"),
    Extreme("postgres", _only("timestamp with time zone", "timestamptz", "-infinity"), "-infinity", way_out="string"),
    Extreme("postgres", _only("date", "date", "0044-03-15 BC"), "a date before the year 1", way_out="string"),
    Extreme(
        "postgres", _only("timestamp without time zone", "timestamp", "10000-01-01"), "the year 10000", way_out="string"
    ),
    Extreme("postgres", _only("time without time zone", "time", "24:00"), "24:00", way_out="string"),
    Extreme("postgres", _only("numeric(5,2)", "decimal(5,2)", "NaN"), "NaN", way_out="numeric"),
    Extreme(
        "postgres", _only("interval", "interval", "3000000 hours"), "more than 292 years of time", way_out="string"
    ),
    Extreme("postgres", _only("integer[]", "list<int32>", "{{1,2},{3,4}}"), "several dimensions", way_out="string"),
    Extreme("sqlite", _only("INTEGER", "int64", "'many'"), "text", way_out="string"),
    Extreme("sqlite", _only("BOOLEAN", "bool", "2"), "a number that is neither 0 nor 1", way_out="int64"),
    Extreme("sqlite", _only("DECIMAL(12,2)", "decimal(12,2)", "0.125"), "more digits than declared", way_out="numeric"),
    Extreme("sqlite", _only("DATE", "date", "2024-02-30"), "a day that is none", way_out="string"),
    Extreme("sqlite", _only("TIMESTAMP", "timestamp", "10000-01-01 00:00:00"), "the year 10000", way_out="string"),
    Extreme("duckdb", _only("TIMESTAMP", "timestamp", "infinity"), "infinity", way_out="string"),
    Extreme("duckdb", _only("TIMESTAMP WITH TIME ZONE", "timestamptz", "-infinity"), "-infinity", way_out="string"),
    Extreme("duckdb", _only("DATE", "date", "infinity"), "infinity", way_out="string"),
    Extreme("duckdb", _only("DATE", "date", "0044-03-15 (BC)"), "a date before the year 1", way_out="string"),
    Extreme("duckdb", _only("TIMESTAMP", "timestamp", "10000-01-01"), "the year 10000", way_out="string"),
    Extreme(
        "duckdb", _only("TIMESTAMP_NS", "timestamp", "2024-01-02 03:04:05.123456789"), "nanoseconds", way_out="string"
    ),
    Extreme("duckdb", _only("HUGEINT", "decimal(38,0)", str((1 << 127) - 1)), "39 digits", way_out="numeric"),
    Extreme("duckdb", _only("INTERVAL", "interval", "3000000 hours"), "more than 292 years of time", way_out="string"),
    Extreme("parquet", _only("timestamp[ns]", "timestamp", "", value=1_704_164_645_123_456_789), "nanoseconds"),
    Extreme("parquet", _only("timestamp[us]", "timestamp", "", value=253_402_300_800_000_000), "the year 10000"),
    Extreme("parquet", _only("time64[ns]", "time", "", value=1), "nanoseconds"),
    Extreme("parquet", _only("string", "string", "", value=NUL), "a NUL character", ("postgres",)),
    Extreme("jsonl", _only("strings", "string", NUL), "a NUL character", ("postgres",)),
    Extreme("jsonl", _only("objects, lists, mixtures", "json", '{"a":"\\u0000"}'), "a NUL character", ("postgres",)),
    Extreme("csv", _only("text", "int64", "many", "int64"), "text", way_out="string"),
    Extreme(
        "csv", _only("text", "decimal(4,2)", "0.125", "decimal(4,2)"), "more digits than declared", way_out="numeric"
    ),
    Extreme("csv", _only("text", "int64", "9223372036854775808", "int64"), "a number past the type", way_out="numeric"),
    Extreme("jsonl", _only("numbers with a point", "int64", "0.5", "int64"), "a fraction", way_out="float64"),
    Extreme(
        "jsonl", _only("text", "timestamp", "10000-01-01 00:00:00", "timestamp"), "the year 10000", way_out="string"
    ),
)
