"""Signals in the middle of a large load, and a second run beside a first one."""

from __future__ import annotations

import signal
import sqlite3
import time
from pathlib import Path

import pytest

from penstock.testing.project import ProjectFolder

ROWS = 500_000
PROJECT = """
version: 2
default_environment: dev
dev:
  settings: {{lock_wait: 1, retries: 0}}
  connections:
    here: {{variant: sqlite, database: here.db}}
    there: {there}
  pipelines:
    - name: large
      source: here
      destination: there
      tables:
        - {{name: numbers, target_name: numbers{how}}}
"""
THERE = {
    "sqlite": "{variant: sqlite, database: there.db}",
    "duckdb": "{variant: duckdb, database: there.duckdb}",
    "file": "{variant: file, extra: {path: lake}}",
}
UPSERT = ", replication_method: incremental, iterate_column: id, write_strategy: upsert, write_key: [id]"


def large_project(folder: Path, there: str, how: str = "") -> ProjectFolder:
    project = ProjectFolder(folder)
    project.write(PROJECT.format(there=THERE[there], how=how))
    database = sqlite3.connect(folder / "here.db")
    numbers = f"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {ROWS}) SELECT n AS id FROM c"
    database.execute(f"CREATE TABLE numbers AS {numbers}")
    database.commit()
    database.close()
    return project


@pytest.mark.feature("N2")
@pytest.mark.parametrize(
    ("there", "how", "number"),
    [
        ("sqlite", UPSERT, signal.SIGTERM),
        ("sqlite", "", signal.SIGINT),
        ("duckdb", "", signal.SIGTERM),
        ("file", "", signal.SIGINT),
    ],
)
def test_a_signal_in_a_large_load_ends_it_within_ten_seconds_and_shows_nothing(
    there: str, how: str, number: signal.Signals, tmp_path: Path
) -> None:
    project = large_project(tmp_path, there, how)
    process = project.start("run", "--json", faults=f"load.batch_written=pause:{tmp_path}/reached@2")
    deadline = time.monotonic() + 60
    while not (tmp_path / "reached").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
    process.send_signal(number)
    (tmp_path / "reached").unlink()
    began = time.monotonic()
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number, stdout + stderr
    assert time.monotonic() - began < 10
    assert "never loaded" in project.run("status").stdout
    done = project.run("run", "--quiet")
    assert done.exit_code == 0, done.said
    verified = project.run("verify")
    assert verified.exit_code == 0, verified.said
    assert f"{ROWS:,} in the target" in verified.stdout


@pytest.mark.feature("N2")
@pytest.mark.parametrize("there", ["sqlite", "file"])
def test_a_second_run_waits_and_is_refused_naming_the_first(there: str, tmp_path: Path) -> None:
    project = ProjectFolder(tmp_path)
    project.write(PROJECT.format(there=THERE[there], how=""))
    database = sqlite3.connect(tmp_path / "here.db")
    database.execute("CREATE TABLE numbers AS SELECT 1 AS id")
    database.close()
    first = project.start("run", faults=f"commit.started=pause:{tmp_path}/reached@1")
    deadline = time.monotonic() + 60
    while not (tmp_path / "reached").exists():
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < deadline
    second = project.run("run")
    (tmp_path / "reached").unlink()
    stdout, stderr = first.communicate(timeout=60)
    assert second.exit_code == 4, second.said
    assert str(first.pid) in second.stderr
    assert first.returncode == 0, stdout + stderr
