"""Command lines gone wrong: an empty variable, a pattern, a number without bounds; and a disk that is full."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.testing.project import Ended, ProjectFolder

pytestmark = pytest.mark.feature("M1")

PROJECT = """
version: 2
default_environment: prod
prod:
  settings: {{retries: 0}}
  connections:
    here: {{variant: sqlite, database: here.db}}
    there: {there}
  pipelines:
    - name: p
      source: here
      destination: there
      tables:
        - {{name: orders, target_name: orders}}
"""
THERE = {
    "sqlite": "{variant: sqlite, database: there.db}",
    "duckdb": "{variant: duckdb, database: there.duckdb}",
    "parquet": "{variant: file, extra: {path: lake}}",
    "csv": "{variant: file, extra: {path: lake, format: csv}}",
}
ROWS = 20_000


def project_in(folder: Path, there: str = "duckdb") -> ProjectFolder:
    database = sqlite3.connect(folder / "here.db")
    database.execute("CREATE TABLE orders (id int, note text)")
    numbers = f"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {ROWS}) SELECT n"
    database.execute(f"INSERT INTO orders {numbers}, hex(randomblob(100)) FROM c")
    database.commit()
    database.close()
    project = ProjectFolder(folder, warm=True)
    project.write(PROJECT.format(there=THERE[there]))
    return project


NOTHING_CHOSEN = (
    ("--env", ""),
    ("--tags", ""),
    ("-p", ""),
    ("-t", ""),
    ("-t", "*"),
    ("-t", "%"),
    ("-t", "o_ders"),
    ("-t", "ORDERS"),
    ("-t", "orders\x1b[31m"),
)


@pytest.mark.parametrize("words", NOTHING_CHOSEN, ids=repr)
def test_a_choice_that_is_empty_or_a_pattern_chooses_nothing(tmp_path: Path, words: tuple[str, str]) -> None:
    done = project_in(tmp_path).run("run", *words)
    assert done.exit_code == 2, done.said
    assert "\x1b[31m" not in done.said
    assert not (tmp_path / "there.duckdb").exists()


@pytest.mark.parametrize("words", [("run",), ("preview", "orders"), ("runs",)], ids=" ".join)
def test_a_limit_that_no_system_takes_is_a_mistake_of_the_command_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = project_in(tmp_path).run(*words, "--limit", "99999999999999999999")
    assert (done.exit_code, done.stdout) == (2, ""), done.said
    assert "--limit" in done.stderr


@pytest.mark.parametrize("name", ["%", "_", "*", "'; DROP TABLE penstock_runs; --"])
def test_the_id_of_a_run_is_no_pattern(tmp_path: Path, name: str) -> None:
    project = project_in(tmp_path)
    assert project.run("run", "--quiet").exit_code == 0
    assert "in the history" in project.run("show", name).stderr
    assert project.run("show", "last").exit_code == 0


def run_with_files_of_at_most(size_bytes: int, project: ProjectFolder) -> Ended:
    """The run's own disk is full: no file of it grows beyond that size."""
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "run"],
        cwd=project.path,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes)),
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.feature("N2")
@pytest.mark.parametrize("there", THERE)
def test_a_disk_that_is_full_ends_the_load_and_the_next_run_brings_all_of_it(tmp_path: Path, there: str) -> None:
    project = project_in(tmp_path, there)
    full = run_with_files_of_at_most(1_000_000, project)
    assert full.exit_code == 1, full.said
    assert "Traceback" not in full.said
    assert "unexpected" not in full.said
    done = project.run("run")
    assert done.exit_code == 0, done.said
    verified = project.run("verify")
    assert verified.exit_code == 0, verified.said
    assert f"{ROWS:,} in the target" in verified.stdout


def test_a_disk_too_full_for_the_run_history_ends_the_run_before_any_row(tmp_path: Path) -> None:
    project = project_in(tmp_path)
    full = run_with_files_of_at_most(1_000, project)
    assert full.exit_code == 1, full.said
    assert "the run history cannot be used" in full.stderr
    assert not (tmp_path / "there.duckdb").exists()
    assert project.run("run").exit_code == 0
