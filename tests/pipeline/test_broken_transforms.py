"""Transforms that cannot be used: told together, and where a table may be passed over, the others are loaded."""

from __future__ import annotations

import pytest

import penstock
from penstock.errors import ConfigError, PenstockError
from tests.pipeline.conftest import Shop

PASSED = """
- {name: orders, target_name: first, transform: "no.py::f", pass_on_error: true}
- {name: orders, target_name: second}
- {name: orders, target_name: third, transform_sql: "SELEC 1", pass_on_error: true}
"""


@pytest.mark.parametrize("call", [penstock.plan, penstock.run])
def test_several_broken_transforms_are_told_at_once(shop: Shop, call: object) -> None:
    file = shop.write(
        """
        - {name: orders, target_name: first, transform: "no.py::f"}
        - {name: orders, target_name: second}
        - {name: orders, target_name: third, transform: "nothing.py::f", pass_on_error: true}
        """
    )
    with pytest.raises(ConfigError, match="2 transforms in") as raised:
        call(file)  # type: ignore[operator]
    assert [(m.message, m.where.partition(":")[0].rpartition("/")[2]) for m in raised.value.mistakes] == [
        ("no transform file 'no.py'", "penstock.yaml"),
        ("no transform file 'nothing.py'", "penstock.yaml"),
    ]
    assert all(m.fix for m in raised.value.mistakes)
    assert not (shop.folder / "target.db").exists()


def test_a_table_that_may_be_passed_over_leaves_the_others_alone(shop: Shop) -> None:
    file = shop.write(PASSED)
    planned = penstock.plan(file).tables
    assert [(t.target, t.error is not None) for t in planned] == [("first", True), ("second", False), ("third", True)]
    result = penstock.run(file, raise_on_error=False)
    assert [(t.target, t.state) for t in result.tables] == [
        ("first", "failed"),
        ("second", "succeeded"),
        ("third", "failed"),
    ]
    assert result.exit_code != 0
    assert "no transform file 'no.py'" in str(result.errors["first"])
    assert shop.target("SELECT count(*) FROM second") == [(5,)]


def test_a_frame_needs_no_transform(shop: Shop) -> None:
    import pyarrow as pa

    penstock.load(shop.write(PASSED), table="first", df=pa.table({"id": [1]}))
    assert shop.target("SELECT id FROM first") == [(1,)]


def test_one_broken_transform_is_told_as_it_is(shop: Shop) -> None:
    with pytest.raises(PenstockError, match=r"^no transform file"):
        penstock.run(shop.write('- {name: orders, target_name: first, transform: "no.py::f"}'))
