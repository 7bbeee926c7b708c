"""A DuckDB file that another process holds."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time

import pytest

from penstock.testing.project import ProjectFolder

HOLD = "import duckdb, sys; d = duckdb.connect('target.duckdb'); print('held', flush=True); sys.stdin.read()"
PROJECT = """
version: 2
default_environment: dev
dev:
  settings: {lock_wait: 1s}
  connections:
    s: {variant: sqlite, database: source.db}
    d: {variant: duckdb, database: target.duckdb}
  pipelines:
    - name: p
      source: s
      destination: d
      tables:
        - {name: t, target_name: t}
"""


@pytest.mark.claims("exit code 4")
def test_a_held_file_is_waited_for_lock_wait_long_and_then_refused_naming_the_holder(
    tmp_project: ProjectFolder,
) -> None:
    tmp_project.write(PROJECT)
    with sqlite3.connect(tmp_project.path / "source.db") as database:
        database.execute("CREATE TABLE t (id INTEGER)")
    database.close()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=tmp_project.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        started = time.monotonic()
        ended = tmp_project.run("run")
        assert time.monotonic() - started < 30
        holder.communicate("")
    assert ended.exit_code == 4, ended.said
    assert f"is held by process {holder.pid} (python" in ended.said
    assert "and was for the 1 s of lock_wait" in ended.said
    assert "run again once that process has ended" in ended.said
    assert tmp_project.run("run").exit_code == 0
