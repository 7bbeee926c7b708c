"""Cells cast to inferred types: the quick looks refuse exactly what the patterns they stand for refuse."""

from __future__ import annotations

import re
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.connectors.files.infer import guess_kind
from penstock.schema.texts import BadCellError, from_text, is_exact

pytestmark = pytest.mark.feature("M11r")

_TYPES = {"int64": pa.int64(), "int16": pa.int16(), "float64": pa.float64(), "date": pa.date32()}
_LEADING_ZERO = re.compile(r"^-?0[0-9]")
_DATE = re.compile(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")

_NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.text("0123456789-+.eE ", max_size=24),
    st.from_regex(r"-?0{0,2}[0-9]{0,20}(\.[0-9]{0,20})?", fullmatch=True),
)
_DATES = st.one_of(st.dates().map(str), st.text("0123456789-/ T", min_size=8, max_size=11))
_STRANGE = st.sampled_from(
    ["", " ", "0", "-0", "00", "-00", "-01", "0x1F", "1e400", "nan", "-inf", "٣", "007", "\0", "é"]
)
CELLS = st.lists(st.one_of(st.none(), _NUMBERS, _DATES, _STRANGE), max_size=12)
# most columns hold what fits but for one cell: a list of anything is refused at its first cell too often
ONE_STRANGE = st.tuples(st.lists(st.integers(0, 999).map(str), max_size=8), st.one_of(_NUMBERS, _STRANGE)).map(
    lambda pair: [*pair[0], pair[1], "5", None]
)


def cast_cell(text: str, kind: str, *, strict: bool) -> object:
    """One cell on its own, by the rules as they are written down. Raises ValueError."""
    if kind == "date" and not _DATE.search(text):
        raise ValueError
    value = pc.cast(pa.array([text], pa.string()), _TYPES[kind])[0].as_py()
    if kind == "float64" and abs(value) == float("inf") and re.search("[0-9]", text):
        raise ValueError
    if strict and kind != "date" and _LEADING_ZERO.search(text):
        raise ValueError
    if strict and kind == "float64" and len(text) > 15 and not is_exact(text, value):
        raise ValueError
    return value


def expected(cells: list[str | None], kind: str, *, strict: bool) -> list[str] | None:
    try:
        return [repr(None if cell is None else cast_cell(cell, kind, strict=strict)) for cell in cells]
    except ValueError:
        return None


def found(column: pa.Array, kind: str, *, strict: bool) -> list[str] | None:
    try:
        values = from_text(column, kind, strict=strict)
    except BadCellError as error:
        blamed = column[error.index].as_py()
        return None if expected([blamed], kind, strict=strict) is None else [f"blamed: {blamed!r}"]
    assert values.type == _TYPES[kind]
    return [repr(value) for value in values.to_pylist()]


@given(st.one_of(CELLS, ONE_STRANGE), st.sampled_from(sorted(_TYPES)), st.booleans(), st.integers(0, 3))
@example(["9", "-", "0"], "int64", True, 0)
@example(["0", "1"], "int64", True, 0)
@example(["x", "0", None], "float64", True, 1)
@example(["0.1", "-0.5", "-0"], "float64", True, 0)
@example(["1", "-07.5"], "float64", True, 0)
def test_a_column_is_cast_as_each_of_its_cells_is(cells: list[str | None], kind: str, strict: bool, cut: int) -> None:
    column = pa.array(cells, pa.string()).slice(cut)
    assert found(column, kind, strict=strict) == expected(cells[cut:], kind, strict=strict)


@given(st.one_of(CELLS, ONE_STRANGE))
def test_no_guessed_number_changes_what_is_written(cells: list[str | None]) -> None:
    kind = guess_kind(pa.array(cells, pa.string()))
    present = [cell for cell in cells if cell is not None]
    if kind not in ("int64", "exact int", "float64"):
        return
    values = from_text(pa.array(present, pa.string()), "float64" if kind == "float64" else "int64", strict=True)
    assert not [cell for cell in present if _LEADING_ZERO.search(cell)]
    finite = [(cell, v) for cell, v in zip(present, values.to_pylist(), strict=True) if v - v == 0]
    assert all(Decimal(cell) == Decimal(repr(value)) for cell, value in finite)


@pytest.mark.parametrize("position", range(11))
def test_no_other_form_than_the_plain_one_is_a_date(position: int) -> None:
    for number in [*range(0x250), 0x661, 0x2010, 0x2212, 0xFF11]:
        text = f"{'2020-11-12'[:position]}{chr(number)}{'2020-11-12'[position + 1 :]}"
        assert (found(pa.array([text]), "date", strict=True) is None) is (expected([text], "date", strict=True) is None)


def test_a_form_is_tried_on_all_cells_not_only_on_the_first() -> None:
    assert guess_kind(pa.array([*["1"] * 100, "x"])) == "string"
    assert guess_kind(pa.array([*["1"] * 100, "1.5"])) == "float64"
    assert guess_kind(pa.array([*["1"] * 100, "007"])) == "string"
