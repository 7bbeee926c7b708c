"""What is written is read back: every house type, through SQLite and DuckDB files."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from penstock.connectors.duckdb import CONNECTOR as DUCKDB
from penstock.connectors.sqlite import CONNECTOR as SQLITE
from penstock.values import Connection, Field, ReadRequest, StreamName, TableName, TableSchema
from tests.connectors.sql.loads import FIRST, load_rows, plan_of

CONNECTORS = {"sqlite": SQLITE, "duckdb": DUCKDB}
T = TableName(None, "typed")


def naive(text: str) -> datetime:
    return datetime.fromisoformat(text)


VALUES: dict[str, list[Any]] = {
    "bool": [True, False],
    "int8": [-128, 127],
    "int16": [-32768, 32767],
    "int32": [-(2**31), 2**31 - 1],
    "int64": [-(2**63), 2**63 - 1],
    "uint8": [0, 255],
    "uint16": [0, 65535],
    "uint32": [0, 2**32 - 1],
    "uint64": [0, 2**64 - 1],
    "float32": [0.5, -0.0, math.inf, -math.inf],
    "float64": [0.1, 5e-324, 1.7976931348623157e308, math.inf, -math.inf],
    "decimal(12,2)": [Decimal("12.30"), Decimal("-9999999999.99"), Decimal("0.00")],
    "decimal(38,10)": [Decimal("1234567890123456789012345678.0123456789"), Decimal("1E-10")],
    "decimal(50,3)": [Decimal("12345678901234567890123456789012345678901234567.125")],
    "numeric": ["NaN", "1" * 200, "-0.000000000000000000000000000001"],
    "string": ["", "NULL", "'; DROP TABLE typed; --", "grün 漢字 \U0001f600", "a\nb\tc", "12.30"],
    "binary": [b"", b"\x00\xff", b"text"],
    "date": [date(1, 1, 1), date(2024, 2, 29), date(9999, 12, 31)],
    "time": [time(0), time(23, 59, 59, 999999)],
    "timestamp": [naive("0001-01-01"), naive("2024-01-02 03:04:05.000006"), naive("9999-12-31 23:59:59.999999")],
    "timestamptz": [datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC)],
    "interval": [pa.MonthDayNano([14, -3, 5_000_000_000]), pa.MonthDayNano([0, 0, -1_000])],
    "uuid": ["c0ffee00-0000-4000-8000-000000000000", "12345678-1234-1234-1234-123456789012"],
    "json": ['{"a": [1, 2.50, null]}', "5", "1.50", '"x"'],
    "enum": ["small", "12.30"],
}
NESTED: dict[str, list[Any]] = {
    "list<int64>": [[1, None, 3], []],
    "list<string>": [["a", ""], [None]],
    "struct<a: int64, b: string>": [{"a": 1, "b": None}],
    "list<struct<d: decimal(10,2), u: uuid>>": [[{"d": Decimal("1.50"), "u": VALUES["uuid"][0]}]],
}
CELLS = [
    *((system, kind, values) for system in sorted(CONNECTORS) for kind, values in VALUES.items()),
    *(("duckdb", kind, values) for kind, values in NESTED.items()),
]


@pytest.mark.parametrize(("system", "kind", "values"), CELLS, ids=[f"{s}-{k}" for s, k, _ in CELLS])
def test_values_come_back_as_they_were(system: str, kind: str, values: list[Any], tmp_path: Path) -> None:
    connection = Connection("x", system, database=str(tmp_path / "x.db"))
    connector = CONNECTORS[system]
    assert connector.open_source
    assert connector.open_destination
    schema = TableSchema((Field("id", "int64"), Field("v", kind)))
    destination = connector.open_destination(connection)
    rows = [{"id": i, "v": value} for i, value in enumerate([*values, None])]
    load_rows(destination, plan_of(destination, T, FIRST, schema=schema), rows)

    source = connector.open_source(connection)
    request = ReadRequest(StreamName("typed"), types={"v": kind})
    with source.open([request]) as session:
        back = [r for b in source.reader().read(session.splits[0]) for r in b.rows.to_pylist()]
    assert [row["v"] for row in sorted(back, key=lambda row: row["id"])] == [*values, None]


@pytest.mark.parametrize("system", sorted(CONNECTORS))
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_nan_is_neither_null_nor_an_error(system: str, kind: str, tmp_path: Path) -> None:
    connection = Connection("x", system, database=str(tmp_path / "x.db"))
    connector = CONNECTORS[system]
    assert connector.open_source
    assert connector.open_destination
    schema = TableSchema((Field("v", kind),))
    destination = connector.open_destination(connection)
    load_rows(destination, plan_of(destination, T, FIRST, schema=schema), [{"v": math.nan}])
    source = connector.open_source(connection)
    with source.open([ReadRequest(StreamName("typed"))]) as session:
        back = [r for b in source.reader().read(session.splits[0]) for r in b.rows.to_pylist()]
    assert math.isnan(back[0]["v"])


# What a column of our own making is read as when nobody says: the same, but where the system has no such type.
READ_AS = {
    "sqlite": {
        **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16", "uint32"), "int64"),
        "uint64": "decimal(20,0)",
        "enum": "string",
    },
    "duckdb": {"decimal(50,3)": "string", "numeric": "string", "enum": "string"},
}


@pytest.mark.parametrize("system", sorted(CONNECTORS))
def test_a_type_is_described_as_it_was_asked_for(system: str, tmp_path: Path) -> None:
    connector = CONNECTORS[system]
    assert connector.open_destination
    destination = connector.open_destination(Connection("x", system, database=str(tmp_path / "x.db")))
    kinds = [*VALUES, *(NESTED if system == "duckdb" else ())]
    schema = TableSchema(tuple(Field(f"c{i}", kind) for i, kind in enumerate(kinds)))
    load_rows(destination, plan_of(destination, T, FIRST, schema=schema), [])
    found = destination.describe([T])[T]
    assert found is not None
    assert [f.type for f in found.fields] == [READ_AS[system].get(kind, kind) for kind in kinds]
