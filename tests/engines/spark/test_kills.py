"""The driver killed on its way, in a process with a session of its own; the run after it makes everything right."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from penstock.failpoints import FAILPOINTS
from tests.engines.spark.conftest import CHEAP
from tests.faults.cells import KILLED, Cell, Strategy, System, finish, make_cell
from tests.faults.test_kill_anywhere import is_on_the_way

pytestmark = [pytest.mark.feature("M9", "N2"), pytest.mark.postgres]

SETTINGS = json.dumps(
    {"engine": "spark", "lock_wait": 20, "retries": 0, "spark": {"master": "local[2,2]", "extra_config": CHEAP}}
)
CELLS: list[tuple[System, Strategy]] = [("postgres_parallel", "replace"), ("postgres", "upsert"), ("duckdb", "append")]
# In every `make test`; the whole product is run by `make test-faults`.
SAMPLE = {
    ("postgres_parallel", "replace", "commit.swapped_in"),
    ("postgres", "upsert", "begin.epoch_committed"),
    ("duckdb", "append", "commit.committed"),
}


def cells() -> list[object]:
    return [
        pytest.param(
            *cell,
            point,
            id=f"{cell[0]}-{cell[1]}-{point}",
            marks=[] if (*cell, point) in SAMPLE else [pytest.mark.faults],
        )
        for cell in CELLS
        for point in FAILPOINTS
        if is_on_the_way(*cell, point)
    ]


def make_spark_cell(system: System, strategy: Strategy, folder: Path, url: str) -> Cell:
    cell = make_cell(system, strategy, folder, lambda: url)
    cell.settings = SETTINGS
    cell.write_project()
    return cell


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("system", "strategy", "point"), cells())
def test_a_driver_killed_at_any_point_is_made_good_by_the_next(
    system: System, strategy: Strategy, point: str, tmp_path: Path, postgres_url: str
) -> None:
    cell = make_spark_cell(system, strategy, tmp_path, postgres_url)
    before, after = cell.seen(), cell.source_rows()
    armed = cell.run(faults=f"{point}=kill")
    assert armed.exit_code in (KILLED, 0, 1), armed.said  # 1: it was its tasks that died, each time
    cell.check_whole(before, after, *([type(after)()] if before is None else []))
    cell.check_ledger()
    engine = "arrow" if (system, strategy, point) in SAMPLE else "spark"  # either takes up what the other left
    recovered = cell.project.run("run", "--engine", engine, env={"TMPDIR": str(cell.temporary)})
    assert recovered.exit_code == 0, recovered.said
    wait_until_alone(cell)
    if strategy == "upsert" and cell.destination.litter():  # a load that was in, and a run that had nothing to do since
        cell.change_again()
        recovered = cell.project.run("run", "--engine", engine, env={"TMPDIR": str(cell.temporary)})
        assert recovered.exit_code == 0, recovered.said
        wait_until_alone(cell)
    cell.check_done()


@pytest.mark.claims("exit:130")
def test_an_interrupt_ends_tasks_session_and_run(tmp_path: Path, postgres_url: str) -> None:
    cell = make_spark_cell("duckdb", "append", tmp_path, postgres_url)
    project = (cell.project.path / "penstock.yaml").read_text()
    cell.project.write(project.replace("rows_copy,", "rows_copy, transform: 'slow.py::f',"))
    cell.project.write(
        """
        import pathlib, time

        def f(df: "pyarrow.Table"):
            if df.num_rows:
                pathlib.Path(__file__).with_name("asleep").touch()
                time.sleep(90)
            return df
        """,
        "slow.py",
    )
    process = cell.start()
    deadline = time.monotonic() + 90
    while not (cell.project.path / "asleep").exists():
        assert process.poll() is None, finish(process).said
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    ended = finish(process)
    assert ended.exit_code == 130, ended.said
    assert time.monotonic() - began < 40
    assert cell.seen() is None
    wait_until_alone(cell)
    assert list(cell.temporary.iterdir()) == []


def wait_until_alone(cell: Cell) -> None:
    """A killed driver's JVM ends by itself, when it sees that its owner is gone."""
    deadline = time.monotonic() + 30
    while cell.processes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert cell.processes() == []
