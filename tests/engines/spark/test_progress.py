"""Rows that tasks moved reach the run's progress while tasks run, or as each of them ends, and once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.pipeline.results import RunOptions, Selection
from penstock.telemetry.events import Bus, Event, RowsMoved
from tests.engines.spark.conftest import CHEAP, free_port
from tests.engines.spark.lab import Lab, make_lab
from tests.engines.spark.server import start_server
from tests.engines.spark.test_failures import KILLS

pytestmark = [pytest.mark.feature("M9"), pytest.mark.postgres]

TWO_SPLITS = {"write_strategy": "replace", "partitions_column": "id", "partitions_count": 2}
# The task of the last rows does not end before the listener heard of any row.
WAITS = """
import pathlib, time
import pyarrow.compute as pc

def f(df: "pyarrow.Table"):
    told = pathlib.Path("TOLD")
    deadline = time.monotonic() + 100
    while df.num_rows and pc.max(df["id"]).as_py() == 19 and not told.exists():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)
    return df
"""


class Listener:
    """Keeps what was moved, and leaves the mark that the transform waits for."""

    def __init__(self, folder: Path) -> None:
        self.moved: list[tuple[int, int]] = []
        self._told = folder / "told"

    def __call__(self, event: Event) -> None:
        if isinstance(event, RowsMoved):
            self.moved.append((event.rows, event.size_bytes))
            self._told.touch()

    @property
    def rows(self) -> int:
        return sum(rows for rows, _ in self.moved)


def lab_of(folder: Path, url: str, transform: str, **settings: Any) -> Lab:
    table = {"target_name": "copy", "transform": "t.py::f", **TWO_SPLITS}
    lab = make_lab(folder / "lab", [table], source="postgres", destination="postgres", url=url, settings=settings)
    (lab.folder / "t.py").write_text(transform.replace("TOLD", str(lab.folder / "told")))
    return lab


def followed(lab: Lab, spark: object) -> Listener:
    listener, bus = Listener(lab.folder), Bus()
    bus.subscribe(listener)
    result = lab.open().run(Selection(), RunOptions(spark=spark), bus=bus)
    assert result.errors == {}
    return listener


def test_rows_are_told_before_the_last_task_ends(tmp_path: Path, postgres_url: str, spark: object) -> None:
    listener = followed(lab_of(tmp_path, postgres_url, WAITS), spark)
    assert listener.rows == 20
    assert sum(size for _, size in listener.moved) > 0


def test_a_second_attempt_of_a_task_is_not_told_twice(tmp_path: Path, postgres_url: str, classic_spark: object) -> None:
    lab = lab_of(tmp_path, postgres_url, KILLS)
    assert followed(lab, classic_spark).rows == 20
    assert list(lab.folder.glob("attempt-1-*"))


def test_a_relay_tells_its_bytes(tmp_path: Path, postgres_url: str, classic_spark: object) -> None:
    lab = lab_of(tmp_path, postgres_url, WAITS)
    lab.tables = [{"target_name": "copy", **TWO_SPLITS}]
    assert sum(size for _, size in followed(lab, classic_spark).moved) > 0


def followed_apart(lab: Lab) -> dict[str, Any]:
    """The same in a process of its own, by the project's own session."""
    lab.write()
    command = [sys.executable, "-m", "tests.engines.spark.test_progress", str(lab.folder)]
    done = subprocess.run(command, env={**os.environ}, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.timeout(300)
def test_tasks_on_other_machines_are_told_as_each_ends(tmp_path: Path, postgres_url: str) -> None:
    spark = {"master": "local-cluster[2,1,1024]", "executor_memory": "1g", "extra_config": CHEAP}
    lab = lab_of(tmp_path, postgres_url, WAITS, engine="spark", spark=spark)
    assert followed_apart(lab) == {"rows": 20, "first": 10}
    assert lab.rows() == lab.source.rows("rows")


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_tasks_behind_a_server_are_told_as_each_ends(tmp_path: Path, postgres_url: str) -> None:
    config = {**CHEAP, "spark.executor.memory": "1g"}
    server = start_server(tmp_path, free_port(), config, "local-cluster[2,1,1024]")
    try:
        lab = lab_of(tmp_path, postgres_url, WAITS, engine="spark", spark={"remote": server.url})
        assert followed_apart(lab) == {"rows": 20, "first": 10}
    finally:
        server.kill()


if __name__ == "__main__":
    from penstock.pipeline.project import Project

    home = Path(sys.argv[1])
    heard, events = Listener(home), Bus()
    events.subscribe(heard)
    outcome = Project.open(home / "penstock.yaml").run(Selection(), RunOptions(), bus=events)
    assert outcome.errors == {}, outcome.errors
    sys.stdout.write(json.dumps({"rows": heard.rows, "first": heard.moved[0][0]}))
