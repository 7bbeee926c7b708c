"""Somebody drops, renames or alters the target between a load's plan and its commit.

Not in DuckDB: a run holds the file from its first look at it until the load has ended, so nobody else can.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.cells import Strategy, System, make_cell

HARMS = {
    "dropped": "DROP TABLE rows_copy",
    "renamed": "ALTER TABLE rows_copy RENAME TO elsewhere",
    "column dropped": "ALTER TABLE rows_copy DROP COLUMN ratio",
}
POINTS = {"sqlite": "begin.epoch_committed", "postgres": "begin.epoch_committed"}


def cases() -> list[object]:
    made: list[object] = []
    for system in ("sqlite", "postgres"):
        for strategy in ("append", "upsert", "replace"):
            for harm in HARMS:
                marks = [pytest.mark.postgres] if system == "postgres" else []
                if (strategy, harm) not in (("append", "dropped"), ("upsert", "column dropped")):
                    marks.append(pytest.mark.faults)
                made.append(pytest.param(system, strategy, harm, marks=marks, id=f"{system}-{strategy}-{harm}"))
    return made


@pytest.mark.feature("N2")
@pytest.mark.parametrize(("system", "strategy", "harm"), cases())
def test_a_target_that_changes_under_a_load_is_planned_anew_or_refused(
    system: System, strategy: Strategy, harm: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cell = make_cell(system, strategy, tmp_path, lambda: str(request.getfixturevalue("postgres_url")))
    assert cell.run().exit_code == 0
    cell.change()
    paused = cell.start_paused(POINTS[system])
    cell.destination.execute(HARMS[harm])
    ended = paused.resume()
    if harm != "column dropped" and strategy != "replace":
        for end in (ended, cell.run()):  # what is new must not pass for the whole table, now or later
            assert end.exit_code == 4, end.said
            assert "the table is gone" in end.stderr
        assert cell.seen() is None
        ended = cell.run_refreshing()
    assert ended.exit_code == 0, ended.said
    if harm == "column dropped" and strategy != "replace":  # the values of old rows went with their column
        seen = cell.seen()
        assert seen is not None
        assert {row[0] for row in seen} == {row[0] for row in cell.source_rows()}
        assert seen.total() == cell.source_rows().total()
        assert cell.run_refreshing().exit_code == 0
    cell.check_done()
