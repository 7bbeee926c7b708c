"""Kill -9 at every failpoint, at the first load and at the next one; the run after it makes everything right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from penstock.failpoints import FAILPOINTS
from tests.faults.cells import CELLS, KILLED, Cell, Strategy, System, make_cell

# In every `make test`: one point per stage and each system; the whole product is run by `make test-faults`.
SAMPLE = {
    ("postgres", "append", "commit.ledger_written"),
    ("postgres", "upsert", "commit.committed"),
    ("postgres_decoded", "append", "load.batch_written"),
    ("postgres_parallel", "replace", "load.piece_committed"),
    ("sqlite", "upsert", "commit.ledger_written"),
    ("sqlite", "append", "begin.epoch_committed"),
    ("duckdb", "append", "commit.committed"),
    ("duckdb", "replace", "commit.applied"),
    ("file", "append", "files.manifest_written"),
    ("file", "replace", "files.manifest_renamed"),
}
# Staged loads make the table while they apply the stage, shadow loads make its successor.
MADE_ELSEWHERE = {("duckdb", "upsert"), ("postgres_decoded", "upsert"), ("postgres_parallel", "replace")}


def is_on_the_way(system: System, strategy: Strategy, point: str) -> bool:
    """Whether a load of this cell passes this point."""
    on_the_way = {
        "files.part_renamed": system == "file",
        "files.manifest_written": system == "file",
        "files.manifest_renamed": system == "file",
        "commit.swapped_out": strategy == "replace" and system != "file",
        "commit.swapped_in": strategy == "replace" and system != "file",
        "commit.schema_changed": strategy == "upsert" or system == "file",
        "source.acknowledging": strategy != "replace",
        "source.acknowledged": strategy != "replace",
        "load.batch_written": system not in ("postgres", "postgres_parallel"),
        "load.piece_committed": system in ("file", "postgres_parallel"),
        "load.stage_created": strategy == "upsert" or system in ("file", "postgres_parallel"),
        "load.target_created": (system, strategy) not in MADE_ELSEWHERE,
    }
    return on_the_way.get(point, True)


def cells() -> Sequence[object]:
    made = []
    for system, strategy in CELLS:
        for point in (point for point in FAILPOINTS if is_on_the_way(system, strategy, point)):
            marks = [pytest.mark.postgres] if system.startswith("postgres") else []
            if (system, strategy, point) not in SAMPLE:
                marks.append(pytest.mark.faults)
            marks.append(pytest.mark.claims(point))
            made.append(pytest.param(system, strategy, point, marks=marks, id=f"{system}-{strategy}-{point}"))
    return made


@pytest.mark.feature("N2", "M3", "M5")
@pytest.mark.parametrize(("system", "strategy", "point"), cells())
def test_a_run_killed_at_any_point_is_made_good_by_the_next(
    system: System, strategy: Strategy, point: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cell = make_cell(system, strategy, tmp_path, lambda: str(request.getfixturevalue("postgres_url")))
    first = kill_then_recover(cell, point)
    cell.change()
    second = kill_then_recover(cell, point)
    assert {first, second} <= {0, KILLED}
    assert KILLED in (first, second)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("system", "strategy"),
    [pytest.param(*c, marks=[pytest.mark.postgres] if c[0].startswith("postgres") else []) for c in CELLS],
)
def test_no_run_passes_a_point_that_is_not_on_its_way(
    system: System, strategy: Strategy, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cell = make_cell(system, strategy, tmp_path, lambda: str(request.getfixturevalue("postgres_url")))
    elsewhere = [point for point in FAILPOINTS if not is_on_the_way(system, strategy, point)]
    for change in (None, cell.change):
        if change:
            change()
        done = cell.run(faults=",".join(f"{point}=kill" for point in elsewhere))
        assert done.exit_code == 0, done.said
        cell.check_done()


def kill_then_recover(cell: Cell, point: str) -> int:
    """How the armed run ended; whatever that was, the run after it ends well."""
    before, after = cell.seen(), cell.source_rows()
    armed = cell.run(faults=f"{point}=kill")
    cell.check_whole(before, after, *([type(after)()] if before is None else []))
    cell.check_ledger()
    recovered = cell.run()
    assert recovered.exit_code == 0, recovered.said
    cell.check_done()
    return armed.exit_code
