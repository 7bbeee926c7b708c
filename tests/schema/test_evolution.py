"""How a table's columns follow its stream."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ContractError
from penstock.schema.evolution import common_type, evolve, fits
from penstock.values import Field, Limits, TableSchema

LIMITS = Limits()
NUMBERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"]
OTHERS = ["string", "json", "decimal(5,2)", "decimal(20,0)", "decimal(38,10)", "numeric", "date", "timestamp", "bool"]
TYPES = st.sampled_from([*NUMBERS, *OTHERS, "timestamptz", "uuid"])


def table(*columns: tuple[str, str]) -> TableSchema:
    return TableSchema(tuple(Field(name, kind) for name, kind in columns))


@given(TYPES, TYPES)
def test_a_common_type_holds_both(left: str, right: str) -> None:
    wider = common_type(left, right)
    if wider is not None:
        assert fits(left, wider)
        assert fits(right, wider)


@given(TYPES, TYPES)
def test_common_type_does_not_depend_on_the_order(left: str, right: str) -> None:
    assert common_type(left, right) == common_type(right, left)


@given(TYPES, TYPES, TYPES)
def test_what_fits_into_what_fits_fits(a: str, b: str, c: str) -> None:
    if fits(a, b) and fits(b, c):
        assert fits(a, c)


@pytest.mark.parametrize(
    ("incoming", "existing"),
    [
        ("int64", "int32"),
        ("float64", "float32"),
        ("int64", "float64"),
        ("decimal(12,2)", "decimal(12,1)"),
        ("decimal(12,2)", "decimal(11,2)"),
        ("timestamp", "date"),
        ("timestamptz", "timestamp"),
        ("timestamp", "timestamptz"),
        ("string", "int32"),
        ("uint64", "int64"),
        ("int8", "uint64"),
    ],
)
def test_narrowing_never_fits(incoming: str, existing: str) -> None:
    assert not fits(incoming, existing)


@pytest.mark.feature("M22")
def test_a_new_column_is_added_as_nullable() -> None:
    incoming = TableSchema((Field("a", "int32"), Field("b", "string", nullable=False)))
    found = evolve(incoming, table(("a", "int32")), "evolve", LIMITS, where="t")
    assert [(f.name, f.nullable) for f in found.added] == [("b", True)]


@pytest.mark.claims("error:ContractError")
def test_freeze_refuses_a_new_column_and_names_it() -> None:
    with pytest.raises(ContractError, match="b: new column"):
        evolve(table(("a", "int32"), ("b", "string")), table(("a", "int32")), "freeze", LIMITS, where="t")


def test_ignore_leaves_a_new_column_out() -> None:
    found = evolve(table(("a", "int32"), ("b", "string")), table(("a", "int32")), "ignore", LIMITS, where="t")
    assert found.ignored == ("b",)
    assert found.written.names == ("a",)


def test_a_wider_stream_widens_the_table() -> None:
    found = evolve(table(("a", "int64")), table(("a", "int32")), "evolve", LIMITS, where="t")
    assert [(f.name, f.type) for f in found.widened] == [("a", "int64")]


def test_a_narrower_stream_is_cast_to_the_table() -> None:
    found = evolve(table(("a", "int16")), table(("a", "int64")), "evolve", LIMITS, where="t")
    assert found.widened == ()
    assert found.written.field("a").type == "int64"


@pytest.mark.parametrize("policy", ["freeze", "ignore"])
def test_only_evolve_widens(policy: str) -> None:
    with pytest.raises(ContractError, match="a: int64 does not fit the table's int32"):
        evolve(table(("a", "int64")), table(("a", "int32")), policy, LIMITS, where="t")  # type: ignore[arg-type]


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(ContractError, match=r"a: timestamp.*b: bool"):
        evolve(
            table(("a", "timestamp"), ("b", "bool")), table(("a", "int32"), ("b", "date")), "evolve", LIMITS, where="t"
        )


def test_a_not_null_column_that_the_stream_lost_is_refused() -> None:
    kept = TableSchema((Field("a", "int32"), Field("b", "int32", nullable=False)))
    with pytest.raises(ContractError, match="b: NOT NULL"):
        evolve(table(("a", "int32")), kept, "evolve", LIMITS, where="t")


def test_names_meet_as_the_destination_compares_them() -> None:
    folding = Limits(fold="lower")
    found = evolve(table(("ID", "int32")), table(("id", "int32")), "evolve", folding, where="t")
    assert found.added == ()
    assert found.written.names == ("id",)


@pytest.mark.parametrize("existing", ["int64", "decimal(12,2)", "numeric", "uuid", "json"])
def test_no_column_becomes_text_unasked(existing: str) -> None:
    with pytest.raises(ContractError, match=r"a: string does not fit") as refused:
        evolve(table(("a", "string")), table(("a", existing)), "evolve", LIMITS, where="t")
    assert "a: string}" in (refused.value.fix or "")
    found = evolve(table(("a", "string")), table(("a", existing)), "evolve", LIMITS, where="t", to_text={"a"})
    assert [(f.name, f.type) for f in found.widened] == [("a", "string")]


def test_nor_do_the_items_of_a_list() -> None:
    with pytest.raises(ContractError, match="a: list<string>"):
        evolve(table(("a", "list<string>")), table(("a", "list<int64>")), "evolve", LIMITS, where="t")


@pytest.mark.parametrize(("incoming", "existing"), [("numeric", "int64"), ("decimal(38,0)", "decimal(38,10)")])
def test_numbers_that_would_lie_as_text_are_text(incoming: str, existing: str) -> None:
    limits = Limits(digits=38)
    with pytest.raises(ContractError, match=f"a: {re.escape(incoming)} does not fit"):
        evolve(table(("a", incoming)), table(("a", existing)), "evolve", limits, where="t")
    assert evolve(table(("a", incoming)), table(("a", existing)), "evolve", LIMITS, where="t").widened


def test_what_text_cannot_hold_does_not_become_text_on_request() -> None:
    with pytest.raises(ContractError, match="a: string does not fit the table's date") as refused:
        evolve(table(("a", "string")), table(("a", "date")), "evolve", LIMITS, where="t", to_text={"a"})
    assert "--full-refresh" in (refused.value.fix or "")
