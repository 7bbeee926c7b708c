"""Arrow batches arrive in PostgreSQL as they were."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.connectors.postgres.connect import Session
from penstock.connectors.postgres.encode import HEADER, TRAILER, CopyEncoder, EncodedColumn, WireType, takes
from penstock.errors import LoadError
from penstock.schema.types import to_arrow_type

pytestmark = [pytest.mark.postgres, pytest.mark.feature("M2")]

INT2, INT4, INT8 = WireType("int2", 21), WireType("int4", 23), WireType("int8", 20)
NUMERIC, TEXT, UUID = WireType("numeric", 1700), WireType("text", 25), WireType("uuid", 2950)
TIMESTAMPTZ = WireType("timestamptz", 1184)

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
naive = st.datetimes()
numbers = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, places=None).map(lambda d: f"{d:f}"[:900]),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "0", "-0", "0.000", "9" * 1000, "-1." + "7" * 1000, "00012.50"]),
    st.from_regex(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?", fullmatch=True),
    st.sampled_from(["1e10", "-2.5E-7", "10000", "0.0001", "1000000000000.0000000001"]),
)
json_values = st.recursive(
    st.none() | st.integers(-9, 9) | texts, lambda inner: st.lists(inner, max_size=3), max_leaves=4
)


def integers(bits: int, *, signed: bool = True) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


# house type, type in PostgreSQL, values, how the server's text of them is told from Python
CASES: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "bool": ("boolean", st.booleans()),
    "int8": ("int2", integers(8)),
    "int16": ("int2", integers(16)),
    "int32": ("int4", integers(32)),
    "int64": ("int8", integers(64)),
    "uint8": ("int2", integers(8, signed=False)),
    "uint16": ("int4", integers(16, signed=False)),
    "uint32": ("int8", integers(32, signed=False)),
    "uint64": ("numeric(20,0)", integers(64, signed=False)),
    "float32": ("float4", st.floats(width=32, allow_nan=False)),
    "float64": ("float8", st.floats(allow_nan=False)),
    "decimal(12,2)": ("numeric(12,2)", st.decimals(-9999999, 9999999, places=2)),
    "decimal(60,20)": ("numeric(60,20)", st.decimals(-(10**15), 10**15, places=5)),
    "string": ("text", texts),
    "binary": ("bytea", st.binary(max_size=8)),
    "date": ("date", st.dates()),
    "time": ("time", st.times()),
    "timestamp": ("timestamp", naive),
    "timestamptz": ("timestamptz", naive.map(lambda moment: moment.replace(tzinfo=UTC))),
    "uuid": ("uuid", st.uuids().map(str)),
    "enum": ("text", texts),
}


def wire_type(session: Session, native: str) -> WireType:
    found = "SELECT oid::int8, typname::text FROM pg_type WHERE oid = $1::text::regtype"
    oid, name = session.query(found, native)[0]
    if name.startswith("_"):
        return WireType(name, oid, element=wire_type(session, native[:-2]))
    return WireType(name, oid)


def copy_in(session: Session, table: str, encoder: CopyEncoder, batches: list[pa.RecordBatch]) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield HEADER
        for batch in batches:
            yield encoder.rows(batch)
        yield TRAILER

    session.wait(session.raw.copy_to_table(table, source=chunks(), format="binary"))


def round_trip(session: Session, spelling: str, native: str, arrays: list[pa.Array], read: str = "v") -> list[Any]:
    session.execute(f"CREATE TEMP TABLE round_trip (at int4, v {native})")
    try:
        encoder = CopyEncoder(
            [EncodedColumn("at", "int32", INT4), EncodedColumn("v", spelling, wire_type(session, native))], where="test"
        )
        start, batches = 0, []
        for values in arrays:
            at = pa.array(range(start, start + len(values)), pa.int32())
            batches.append(pa.record_batch([at, values], names=["at", "v"]))
            start += len(values)
        copy_in(session, "round_trip", encoder, batches)
        return [row[0] for row in session.query(f"SELECT {read} FROM round_trip ORDER BY at")]
    finally:
        session.execute("DROP TABLE round_trip")


SLOW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("spelling", CASES)
@SLOW
@given(data=st.data())
def test_every_type_arrives_as_it_was(session: Session, spelling: str, data: st.DataObject) -> None:
    native, values = CASES[spelling]
    drawn = data.draw(st.lists(st.none() | values, max_size=12))
    array = pa.array(drawn, to_arrow_type(spelling))
    cut = data.draw(st.integers(0, len(drawn)))
    got = round_trip(session, spelling, native, [array[:cut], array[cut:]])
    assert [str(v) if isinstance(v, uuid.UUID) else v for v in got] == drawn


@pytest.mark.parametrize("spelling", CASES)
@SLOW
@given(data=st.data())
def test_lists_of_every_type_arrive_as_they_were(session: Session, spelling: str, data: st.DataObject) -> None:
    native, values = CASES[spelling]
    drawn = data.draw(st.lists(st.none() | st.lists(st.none() | values, max_size=4), max_size=8))
    array = pa.array(drawn, pa.list_(to_arrow_type(spelling)))
    cut = data.draw(st.integers(0, len(drawn)))
    native = native.split("(")[0]
    got = round_trip(session, f"list<{spelling}>", f"{native}[]", [array[:cut], array[cut:]])
    assert [v and [str(i) if isinstance(i, uuid.UUID) else i for i in v] for v in got] == drawn


@SLOW
@given(drawn=st.lists(st.none() | numbers, max_size=12))
def test_unbounded_numerics_keep_every_digit_and_their_scale(session: Session, drawn: list[str | None]) -> None:
    if session.query("SELECT current_setting('server_version_num')::int < 140000")[0][0]:
        drawn = [v for v in drawn if v is None or "Inf" not in v]  # the type has had them since 14
    expected = [row[0] for row in session.query("SELECT v::numeric::text FROM unnest($1::text[]) v", drawn)]
    assert round_trip(session, "numeric", "numeric", [pa.array(drawn, pa.string())], "v::text") == expected


@SLOW
@given(drawn=st.lists(st.none() | json_values, max_size=8))
def test_json_arrives_in_both_json_types(session: Session, drawn: list[Any]) -> None:
    import json

    array = pa.array([json.dumps(v) for v in drawn], pa.string())
    for native in ("json", "jsonb"):
        got = round_trip(session, "json", native, [array])
        assert [json.loads(v) for v in got] == drawn


@SLOW
@given(drawn=st.lists(st.none() | st.tuples(integers(20), integers(20), integers(50)), max_size=8))
def test_intervals_keep_months_days_and_microseconds(
    session: Session, drawn: list[tuple[int, int, int] | None]
) -> None:
    array = pa.array([v and (v[0], v[1], v[2] * 1000) for v in drawn], pa.month_day_nano_interval())
    expected = [
        row[0]
        for row in session.query(
            "SELECT (make_interval(months => m, days => d) + u * interval '1 microsecond')::text "
            "FROM unnest($1::int[], $2::int[], $3::int8[]) AS t (m, d, u)",
            *([v and v[i] for v in drawn] for i in range(3)),
        )
    ]
    assert round_trip(session, "interval", "interval", [array], "v::text") == expected


@pytest.mark.parametrize(
    ("array", "spelling", "native", "expected"),
    [
        (pa.array([1, None], pa.timestamp("ns")), "timestamp", "timestamp", None),
        (pa.array([86_400_000, None], pa.date64()), "date", "date", [date(1970, 1, 2), None]),
        (pa.array([1000, None], pa.timestamp("ns", "Europe/Paris")), "timestamptz", "timestamptz",
         [datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC), None]),
        (pa.array(["a", None, "a"]).dictionary_encode(), "string", "text", ["a", None, "a"]),
        (pa.array(["a", None], pa.large_string()), "string", "varchar(3)", ["a", None]),
        (pa.array(["a", None], pa.string_view()), "string", "text", ["a", None]),
        (pa.array([b"a", None], pa.large_binary()), "binary", "bytea", [b"a", None]),
        (pa.array([b"a", None], pa.binary_view()), "binary", "bytea", [b"a", None]),
        (pa.nulls(2), "null", "int4", [None, None]),
        (pa.array([1.5], pa.float16()), "float32", "float4", [1.5]),
        (pa.array([1.5], pa.float32()), "float32", "float8", [1.5]),
        (pa.array([3], pa.int64()), "int64", "int4", [3]),
        (pa.array([3], pa.int32()), "int32", "numeric(5,1)", [Decimal("3.0")]),
        (pa.array([time(1, 2, 3)], pa.time32("s")), "time", "time", [time(1, 2, 3)]),
        (pa.array([timedelta(seconds=5)], pa.duration("s")), "interval", "interval", [timedelta(seconds=5)]),
        (pa.array([uuid.UUID(int=7)], pa.uuid()), "uuid", "uuid", [uuid.UUID(int=7)]),
        (pa.array(["{00000000000000000000000000000007}"]), "uuid", "uuid", [uuid.UUID(int=7)]),
        (pa.array([{"a": 1, "b": None}]), "struct<a: int64, b: null>", "jsonb", ['{"a": 1, "b": null}']),
        (pa.array([[[1], [2, 3]]]), "list<list<int64>>", "jsonb", ["[[1], [2, 3]]"]),
        (pa.array([Decimal("1.5")], pa.decimal32(5, 2)), "decimal(5,2)", "numeric", [Decimal("1.50")]),
    ],
    ids=str,
)  # fmt: skip
def test_other_arrow_types_are_brought_into_form(
    session: Session, array: pa.Array, spelling: str, native: str, expected: list[Any] | None
) -> None:
    if expected is None:
        with pytest.raises(LoadError, match="cannot hold"):
            round_trip(session, spelling, native, [array])
        return
    assert round_trip(session, spelling, native, [array]) == expected


def test_nul_bytes_are_refused_before_bytes_move_and_counted() -> None:
    batch = pa.record_batch([pa.array(["fine", "b\0d", "w\0rse"])], names=["note"])
    encoder = CopyEncoder([EncodedColumn("note", "string", TEXT)], where="public.t")
    with pytest.raises(LoadError, match=r"'note' holds NUL bytes.*2 of 3 rows") as caught:
        encoder.rows(batch)
    assert caught.value.fault == "data"
    assert "b\0d" not in str(caught.value)


def test_a_slice_that_left_the_nul_bytes_out_is_taken() -> None:
    values = pa.array(["fine", "b\0d"])[:1]
    encoder = CopyEncoder([EncodedColumn("note", "string", TEXT)], where="public.t")
    assert b"fine" in encoder.rows(pa.record_batch([values], names=["note"]))


@pytest.mark.parametrize(
    ("array", "target"),
    [
        (pa.array([70_000]), INT2),
        (pa.array(["x1"]), NUMERIC),
        (pa.array(["not-a-uuid"]), UUID),
        (pa.array([2**62], pa.timestamp("s", "UTC")), TIMESTAMPTZ),
        (pa.array([-(2**63) + 1], pa.timestamp("us", "UTC")), TIMESTAMPTZ),
    ],
    ids=str,
)
def test_a_value_that_does_not_fit_is_an_error_that_does_not_show_it(array: pa.Array, target: WireType) -> None:
    encoder = CopyEncoder([EncodedColumn("v", "string", target)], where="public.t")
    with pytest.raises(LoadError) as caught:
        encoder.rows(pa.record_batch([array], names=["v"]))
    for value in ("70000", "x1", "not-a-uuid", "4611686018427387904", "9223372036854775"):
        assert value not in str(caught.value)


def test_types_whose_binary_form_is_not_their_text_ask_for_a_cast() -> None:
    assert not takes("string", WireType("inet", 869))
    assert not takes("string", INT8)
    assert not takes("timestamp", TIMESTAMPTZ)
    assert not takes("float64", WireType("float4", 700))
    assert takes("string", WireType("mood", 99_999, is_enum=True))
    assert takes("list<uuid>", WireType("_uuid", 2951, element=UUID))


@pytest.mark.faults
@pytest.mark.parametrize(("spelling", "native"), [("string", "text"), ("binary", "bytea"), ("json", "json")])
def test_a_cell_of_100_mb_passes(session: Session, spelling: str, native: str) -> None:
    text = '"' + "x" * (100 << 20) + '"'
    array = pa.array([text.encode() if spelling == "binary" else text], to_arrow_type(spelling))
    assert round_trip(
        session, spelling, native, [array], f"length(v::{'bytea' if spelling == 'binary' else 'text'})"
    ) == [(100 << 20) + 2]
