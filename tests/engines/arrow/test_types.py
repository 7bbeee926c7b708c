"""Casts to the plan's schema are exact, or an error that names the column and counts the rows."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engines.arrow.types import fit_column, fit_rows
from penstock.errors import ConfigError, ContractError
from penstock.schema.quarantine import QUARANTINE_SCHEMA
from penstock.schema.types import from_arrow_schema, to_arrow_type
from penstock.values import Field, TableSchema
from tests.engines.arrow.pipes import rows_of

NAN = float("nan")
D = Decimal


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        (pa.int64(), "int32", 5, 5),
        (pa.int64(), "decimal(5,2)", 5, D("5.00")),
        (pa.uint64(), "decimal(20,0)", 2**64 - 1, D(2**64 - 1)),
        (pa.int64(), "float64", 2**53, float(2**53)),
        (pa.int64(), "bool", 1, True),
        (pa.int32(), "string", 7, "7"),
        (pa.float64(), "int64", 7.0, 7),
        (pa.float64(), "float32", 0.5, 0.5),
        (pa.float16(), "float64", 0.5, 0.5),
        (pa.float64(), "decimal(10,2)", 0.25, D("0.25")),
        (pa.decimal128(10, 2), "int32", D("5.00"), 5),
        (pa.decimal128(10, 2), "float64", D("0.25"), 0.25),
        (pa.decimal256(50, 3), "decimal(10,1)", D("5.500"), D("5.5")),
        (pa.string(), "decimal(10,2)", "1.50", D("1.50")),
        (pa.string(), "float64", "inf", float("inf")),
        (pa.string(), "timestamptz", "2024-01-02T03:04:05Z", dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)),
        (pa.string(), "date", "2024-01-02", dt.date(2024, 1, 2)),
        (pa.string(), "bool", "true", True),
        (pa.string(), "uuid", "as text", "as text"),
        (pa.string(), "binary", "é", "é".encode()),
        (pa.binary(), "string", "é".encode(), "é"),
        (pa.timestamp("ns"), "timestamp", dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1)),
        (pa.timestamp("us"), "date", dt.datetime(2024, 1, 1), dt.date(2024, 1, 1)),
        (pa.date32(), "timestamp", dt.date(2024, 1, 1), dt.datetime(2024, 1, 1)),
        (pa.time32("s"), "time", dt.time(1, 2, 3), dt.time(1, 2, 3)),
        (pa.list_(pa.int32()), "list<int64>", [1, None], [1, None]),
        (pa.large_string(), "string", "x", "x"),
        (pa.string_view(), "json", "{}", "{}"),
        (pa.null(), "decimal(10,2)", None, None),
    ],
)
def test_a_value_that_fits_is_cast(source: pa.DataType, target: str, value: object, expected: object) -> None:
    assert fit_column(pa.array([value, None], source), Field("c", target)).to_pylist() == [expected, None]


@pytest.mark.parametrize(
    ("source", "target", "value"),
    [
        (pa.int64(), "int32", 2**31),
        (pa.int64(), "uint8", -1),
        (pa.int64(), "float64", 2**53 + 1),
        (pa.int64(), "decimal(3,2)", 10),
        (pa.int64(), "bool", 2),
        (pa.float64(), "int64", 0.5),
        (pa.float64(), "int64", NAN),
        (pa.float64(), "float32", 0.1),
        (pa.float64(), "float32", 1e300),
        (pa.float64(), "decimal(10,2)", 0.125),
        (pa.float64(), "decimal(10,2)", NAN),
        (pa.float64(), "bool", 0.5),
        (pa.decimal128(10, 3), "decimal(10,2)", D("1.234")),
        (pa.decimal128(10, 0), "decimal(3,0)", D(1000)),
        (pa.decimal128(38, 2), "float64", D("12345678901234567890.12")),
        (pa.decimal128(10, 2), "int32", D("1.20")),
        (pa.string(), "int32", "x"),
        (pa.string(), "int32", "1.5"),
        (pa.string(), "float64", "1e400"),
        (pa.string(), "decimal(10,2)", "NaN"),
        (pa.string(), "decimal(10,2)", "1.234"),
        (pa.string(), "date", "2024-02-30"),
        (pa.string(), "timestamp", "2024-01-01 00:00:00.1234567"),
        (pa.binary(), "string", b"\xff"),
        (pa.timestamp("us"), "date", dt.datetime(2024, 1, 1, 3)),
        (pa.timestamp("ns"), "timestamp", 1),
        (pa.list_(pa.int64()), "list<int8>", [1000]),
        (pa.list_(pa.float64()), "list<float32>", [0.1]),
        (pa.struct([("a", pa.float64())]), "struct<a: float32>", {"a": 0.1}),
    ],
)
def test_a_lossy_cast_is_an_error_that_names_the_column_and_counts_without_the_value(
    source: pa.DataType, target: str, value: object
) -> None:
    rows = pa.RecordBatch.from_arrays([pa.array([None, value, None], source)], names=["price"])
    with pytest.raises(ContractError) as caught:
        fit_rows(rows, TableSchema((Field("price", target),)))
    assert f"column 'price': 1 of 3 rows do not fit {target} exactly" in str(caught.value)
    assert (caught.value.fault, caught.value.retryable) == ("data", False)
    fitted = fit_rows(rows, TableSchema((Field("price", target),)), quarantine=True)
    assert fitted.rows.to_pylist() == [{"price": None}, {"price": None}]
    assert fitted.rejected is not None
    assert fitted.rejected.num_rows == 1


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (pa.int64(), "timestamp"),
        (pa.int32(), "date"),
        (pa.timestamp("us"), "int64"),
        (pa.timestamp("us"), "time"),
        (pa.duration("us"), "interval"),
        (pa.bool_(), "binary"),
    ],
)
def test_types_without_an_exact_cast_are_a_config_error(source: pa.DataType, target: str) -> None:
    with pytest.raises(ConfigError, match="column 'c': no exact cast"):
        fit_column(pa.array([1, None]).cast(source), Field("c", target))


def test_nan_stays_nan_between_floats() -> None:
    assert str(fit_column(pa.array([NAN]), Field("c", "float32")).to_pylist()) == "[nan]"


def test_null_in_a_column_that_promises_none_is_an_error() -> None:
    with pytest.raises(ContractError, match="1 of 2 rows do not fit int64 not null"):
        fit_rows(rows_of(id=[1, None]), TableSchema((Field("id", "int64", nullable=False),)))


def test_columns_are_picked_by_name_and_a_missing_one_is_named() -> None:
    rows = rows_of(b=["x"], extra=[0], a=[1])
    assert fit_rows(rows, TableSchema((Field("a", "int64"), Field("b", "string")))).rows.to_pydict() == {
        "a": [1],
        "b": ["x"],
    }
    with pytest.raises(ContractError, match="no column 'c'"):
        fit_rows(rows, TableSchema((Field("c", "int64"),)))


def test_rejected_rows_carry_rule_position_and_the_row_as_json() -> None:
    rows = pa.RecordBatch.from_arrays(
        [
            pa.array(["1", "x", "3", "4"]),
            pa.array([1.0, NAN, 2.0, 2.5]),
            pa.array([b"\x00", b"\xff", None, b""]),
            pa.array([dt.date(2024, 1, 1)] * 4),
        ],
        names=["id", "n", "raw", "day"],
    )
    fitted = fit_rows(rows, TableSchema((Field("id", "int64"), Field("n", "int64"))), quarantine=True, position=100)
    assert fitted.rows.to_pylist() == [{"id": 1, "n": 1}, {"id": 3, "n": 2}]
    assert fitted.rejected is not None
    assert from_arrow_schema(fitted.rejected.schema) == QUARANTINE_SCHEMA
    found = fitted.rejected.to_pylist()
    assert [(row["_penstock_position"], row["_penstock_rule"]) for row in found] == [
        (101, "id: do not fit int64 exactly"),
        (103, "n: do not fit int64 exactly"),
    ]
    assert json.loads(found[0]["row"]) == {"id": "x", "n": "nan", "raw": "/w==", "day": "2024-01-01"}


def test_a_column_of_the_right_type_is_passed_on_without_a_copy() -> None:
    rows = rows_of(id=range(1000))
    fitted = fit_rows(rows, TableSchema((Field("id", "int64"),)))
    assert fitted.rows.column(0).buffers()[1].address == rows.column(0).buffers()[1].address


@given(st.lists(st.one_of(st.none(), st.floats()), max_size=30), st.sampled_from(["float32", "int64", "decimal(20,4)"]))
def test_floats_come_through_exactly_or_are_rejected(values: list[float | None], target: str) -> None:
    rows = pa.RecordBatch.from_arrays([pa.array(values, pa.float64()), pa.array(range(len(values)))], names=["v", "k"])
    fitted = fit_rows(rows, TableSchema((Field("v", target), Field("k", "int64"))), quarantine=True)
    kept = {row["k"]: row["v"] for row in fitted.rows.to_pylist()}
    for number, value in enumerate(values):
        if number in kept and value is not None:
            assert float(kept[number]) == value or (math.isnan(value) and math.isnan(kept[number]))
    rejected = 0 if fitted.rejected is None else fitted.rejected.num_rows
    assert len(kept) + rejected == len(values)
    assert all(number in kept for number, value in enumerate(values) if value is None)


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        ("timestamp", [-62_135_596_800_000_000, 253_402_300_799_999_999], [253_402_300_800_000_000, 2**63 - 1]),
        ("timestamptz", [0], [-62_135_596_800_000_001, -(2**63) + 1]),
        ("date", [-719_162, 2_932_896], [-719_163, 2_932_897, 2**31 - 1]),
    ],
)
def test_moments_outside_of_the_years_1_to_9999_are_never_written(
    kind: str, inside: list[int], outside: list[int]
) -> None:
    schema = TableSchema((Field("at", kind),))
    whole = pa.int32() if kind == "date" else pa.int64()

    def rows(numbers: list[int]) -> pa.RecordBatch:
        column = pa.array([*numbers, None], whole).view(to_arrow_type(kind))
        return pa.RecordBatch.from_arrays([column], names=["at"])

    assert fit_rows(rows(inside), schema).rows.num_rows == len(inside) + 1
    with pytest.raises(ContractError, match=f"{len(outside)} of {len(outside) + 1} rows .*years 1 to 9999"):
        fit_rows(rows(outside), schema)
    fitted = fit_rows(rows([*inside, *outside]), schema, quarantine=True)
    assert fitted.rows.num_rows == len(inside) + 1
    assert fitted.rejected is not None
    assert fitted.rejected.num_rows == len(outside)
