"""A project that is run a second time on an unchanged source writes nothing, or leaves the same rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.cells import Strategy, System, make_cell


@pytest.mark.feature("M3", "M5")
@pytest.mark.parametrize(
    ("system", "strategy"),
    [("sqlite", "append"), ("sqlite", "upsert"), ("duckdb", "append"), ("duckdb", "upsert"), ("file", "append")],
)
def test_an_incremental_table_run_twice_makes_one_load(system: System, strategy: Strategy, tmp_path: Path) -> None:
    cell = make_cell(system, strategy, tmp_path, str)
    first = cell.run()
    assert first.exit_code == 0, first.said
    ledger = cell.destination.ledger()
    again = cell.run()
    assert again.exit_code == 0, again.said
    assert cell.destination.ledger() == ledger
    cell.check_done()


@pytest.mark.feature("M3", "M5")
@pytest.mark.parametrize("system", ["sqlite", "duckdb", "file"])
def test_a_replaced_table_run_twice_holds_the_same_rows(system: System, tmp_path: Path) -> None:
    cell = make_cell(system, "replace", tmp_path, str)
    for _ in range(2):
        done = cell.run()
        assert done.exit_code == 0, done.said
        cell.check_done()
