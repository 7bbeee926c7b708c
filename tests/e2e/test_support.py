"""Each system as a source and each write strategy of each destination: what `penstock connectors` promises is done."""

from __future__ import annotations

from pathlib import Path

import pytest

import penstock
from tests.faults.cells import SOURCE_OF, Cell, Strategy, System, make_cell

STRATEGIES: dict[System, tuple[Strategy, ...]] = {
    "sqlite": ("append", "replace", "upsert", "merge", "delete_insert"),
    "duckdb": ("append", "replace", "upsert", "merge", "delete_insert"),
    "postgres": ("append", "replace", "upsert", "merge", "delete_insert"),
    "file": ("append", "replace"),
}


def cells() -> list[object]:
    return [
        pytest.param(
            system,
            strategy,
            id=f"{system}-{strategy}",
            marks=[
                pytest.mark.claims(f"{SOURCE_OF[system]}:reads", f"{system}:writes", f"{system}:{strategy}"),
                *([pytest.mark.postgres] if system == "postgres" else []),
            ],
        )
        for system, strategies in STRATEGIES.items()
        for strategy in strategies
    ]


def run_and_compare(cell: Cell) -> None:
    penstock.run(cell.project.path / "penstock.yaml")
    assert cell.seen() == cell.source_rows()


@pytest.mark.feature("M5")
@pytest.mark.parametrize(("system", "strategy"), cells())
def test_a_strategy_brings_the_rows_and_then_the_changes(
    system: System, strategy: Strategy, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cell = make_cell(system, strategy, tmp_path, lambda: str(request.getfixturevalue("postgres_url")))
    run_and_compare(cell)
    cell.change()
    run_and_compare(cell)


@pytest.mark.feature("M2")
@pytest.mark.claims("file:reads")
def test_files_that_were_written_are_read(tmp_path: Path) -> None:
    cell = make_cell("file", "append", tmp_path, str)
    run_and_compare(cell)
    there = tmp_path / "second.duckdb"
    second = cell.project.write(
        f"""
        version: 2
        default_environment: test
        test:
          connections: {{here: {cell.destination.connection()}, there: {{variant: duckdb, database: {there}}}}}
          pipelines:
            - name: copy
              source: here
              destination: there
              tables: [{{name: rows_copy, target_name: rows_copy}}]
        """,
        "second.yaml",
    )
    penstock.run(second)
    import duckdb

    with duckdb.connect(str(there)) as link:
        assert link.execute("SELECT count(*) FROM rows_copy").fetchall() == [(20,)]
