"""`penstock test`: transforms are run on the rows kept beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.engines.arrow.fixtures import FixtureCheck, check_fixtures
from penstock.errors import ConfigError

SOURCE = """
import pyarrow as pa, pyarrow.compute as pc
def double(df: pa.Table, ctx):
    if len(df) and df["id"][0].as_py() == 99:
        raise ValueError("ninety-nine")
    df = df.set_column(1, "price", pc.multiply(df["price"], pa.scalar(2)).cast(pa.decimal128(12, 2)))
    return df.append_column("target", pa.array([ctx.target] * len(df), pa.string()))
"""


def check(folder: Path, fixture: str) -> list[FixtureCheck]:
    (folder / "transforms").mkdir(exist_ok=True)
    (folder / "transforms" / "prices.py").write_text(SOURCE)
    (folder / "transforms" / "prices.double.yaml").write_text(fixture)
    return list(check_fixtures("transforms/prices.py::double", str(folder)))


CASE = """
cases:
  - name: prices are doubled
    types: {price: "decimal(10,2)", day: date}
    context: {target: orders}
    input:
      - {id: 1, price: "1.50", day: 2024-01-02}
      - {id: 2, price: 2}
    expected:
      - {id: 2, price: 4, target: orders}
      - {id: 1, price: "3.00", day: "2024-01-02", target: orders}
"""


@pytest.mark.feature("M7")
def test_rows_as_expected_pass_in_any_order(tmp_path: Path) -> None:
    expected = FixtureCheck("transforms/prices.double.yaml", "double", "prices are doubled", ok=True)
    assert check(tmp_path, CASE) == [expected]


def test_order_counts_where_the_case_says_so(tmp_path: Path) -> None:
    (found,) = check(tmp_path, CASE + "    ordered: true\n")
    assert (found.ok, found.message) == (False, "the rows are those expected, in another order")


@pytest.mark.feature("M7")
def test_a_difference_shows_the_rows(tmp_path: Path) -> None:
    (found,) = check(tmp_path, CASE.replace('"3.00"', '"3.01"'))
    assert not found.ok
    assert "missing: {'id': 1, 'price': Decimal('3.01')" in found.message
    assert "not expected: {'id': 1, 'price': Decimal('3.00')" in found.message


def test_an_exception_fails_its_case_alone_and_shows_its_text(tmp_path: Path) -> None:
    failing = """
  - input: [{id: 99, price: "1.50"}]
    types: {price: "decimal(10,2)"}
    expected: []
"""
    passed, failed = check(tmp_path, CASE + failing)
    assert (passed.ok, failed.ok, failed.case) == (True, False, "case 2")
    assert "prices.py:5" in failed.message
    assert "ninety-nine" in failed.message


def test_an_expected_column_that_is_not_returned_fails_the_case(tmp_path: Path) -> None:
    (found,) = check(tmp_path, CASE.replace("target: orders}\n      - {id: 1", "targt: orders}\n      - {id: 1"))
    assert "targt" in found.message


def test_a_transform_without_a_fixture_has_no_checks(tmp_path: Path) -> None:
    assert list(check_fixtures("gone.py::f", str(tmp_path))) == []


@pytest.mark.parametrize(
    ("fixture", "says"),
    [
        ("cases: [", "no YAML"),
        ("[]", "no cases"),
        ("cases: []", "no cases"),
        ("cases: [{input: 1, expected: []}]", "needs `input` and `expected`"),
        ("cases: [{input: [], expected: [], inputs: []}]", "inputs"),
        ("cases: [{input: [], expected: [], types: {a: decimal}}]", "decimal"),
        ("cases: [{input: [], expected: [], context: {user: x}}]", "user"),
        ("cases: [{input: [{a: 1}, {a: x}], expected: []}]", "'a' mixes types"),
    ],
)
def test_a_fixture_that_cannot_be_read_is_an_error_with_its_file(tmp_path: Path, fixture: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        check(tmp_path, fixture)
    assert "prices.double.yaml" in str(caught.value.where)


COUNTS = """
import penstock, pyarrow as pa
@penstock.transform(SCOPE)
def double(df: pa.Table):
    return df.group_by("id").aggregate([("price", "count")]).rename_columns(["id", "n"])
"""
COUNTED = """
cases:
  - input: [{id: 1, price: 2}, {id: 1, price: 3}, {id: 2, price: 2}, {id: 2, price: 2}]
    expected: [{id: 1, n: 2}, {id: 2, n: 2}]
"""


@pytest.mark.feature("M7")
@pytest.mark.parametrize(
    ("scope", "ok"),
    [
        ('scope="rows"', False),
        ('scope="keys", keys=["price"]', False),
        ('scope="keys", keys=["id"]', True),
        ('scope="table"', True),
    ],
)
def test_a_transform_that_must_see_more_than_it_declares_fails(tmp_path: Path, scope: str, ok: bool) -> None:
    (tmp_path / "prices.py").write_text(COUNTS.replace("SCOPE", scope))
    (tmp_path / "prices.double.yaml").write_text(COUNTED)
    (found,) = check_fixtures("prices.py::double", str(tmp_path))
    assert found.ok is ok, found.message
    assert ok or "scope is" in found.message
