"""A process killed at every failpoint of a load: the next run makes the target equal the source."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.values import LedgerHead
from tests.connectors.sql.crash import TARGET, open_both, run
from tests.connectors.sql.place import SYSTEMS

ROOT = Path(__file__).resolve().parents[3]
POINTS = (
    "source.opened",
    "begin.locked",
    "begin.epoch_written",
    "begin.epoch_committed",
    "load.stage_created",
    "load.target_created",
    "load.batch_written",
    "load.piece_written",
    "commit.started",
    "commit.applied",
    "commit.swapped_out",
    "commit.swapped_in",
    "commit.ledger_written",
    "commit.committed",
    "commit.cleaned",
)
STRATEGIES = ("append", "replace", "in_place", "upsert")
SAMPLE = {("commit.ledger_written", "append"), ("commit.swapped_out", "replace"), ("commit.committed", "upsert")}


def run_killed(system: str, folder: Path, strategy: str, point: str) -> int:
    """In a process of its own; the exit code."""
    paths = [str(folder / "source.db"), str(folder / "target.db")]
    command = [sys.executable, "-m", "tests.connectors.sql.crash", system, *paths, strategy]
    environment = {**os.environ, "PENSTOCK_FAULTS": f"{point}=kill", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    return subprocess.run(command, env=environment, cwd=ROOT, check=False, stderr=subprocess.DEVNULL).returncode


def run_whole(system: str, folder: Path, strategy: str) -> None:
    run(system, str(folder / "source.db"), str(folder / "target.db"), strategy)


def fill_source(folder: Path, first: int, last: int) -> list[Any]:
    connection = sqlite3.connect(folder / "source.db")
    connection.execute("CREATE TABLE IF NOT EXISTS items (id INTEGER PRIMARY KEY, name TEXT)")
    connection.executemany("INSERT INTO items VALUES (?, ?)", [(i, f"row {i}") for i in range(first, last)])
    connection.commit()
    rows = connection.execute("SELECT id, name FROM items ORDER BY id").fetchall()
    connection.close()
    return rows


def head_of(system: str, folder: Path) -> LedgerHead:
    _, destination = open_both(system, str(folder / "source.db"), str(folder / "target.db"))
    return destination.ledger().heads([TARGET])[TARGET]


def check_killed_run(system: str, folder: Path, strategy: str, point: str) -> None:
    query = SYSTEMS[system][1]
    target = folder / "target.db"
    fill_source(folder, 1, 600)
    run_whole(system, folder, strategy)
    before = head_of(system, folder)
    rows = fill_source(folder, 600, 1200)
    code = run_killed(system, folder, strategy, point)
    seen = query(target, "SELECT id, name FROM target ORDER BY id")
    assert seen in (rows, rows[:599]), "a reader sees a whole load or nothing of it"
    between = head_of(system, folder)
    assert between.sequence >= before.sequence
    run_whole(system, folder, strategy)
    assert query(target, "SELECT id, name FROM target ORDER BY id") == rows
    after = head_of(system, folder)
    assert after.sequence >= between.sequence
    assert after.epoch >= between.epoch
    names = {str(row[0]) for row in query(target, "SELECT name FROM sqlite_master")}
    ours = {name for name in names if name.startswith("_penstock_")}
    assert ours == {"_penstock_ledger", "_penstock_loads", "_penstock_boundary"}
    assert {p.name for p in folder.iterdir()} - {"target.db.wal"} == {"source.db", "target.db"}  # .wal is DuckDB's
    assert code in (0, -9)


@pytest.mark.feature("N2")
@pytest.mark.parametrize("system", sorted(SYSTEMS))
@pytest.mark.parametrize(("point", "strategy"), sorted(SAMPLE))
def test_a_killed_load_is_made_good_by_the_next_run(system: str, point: str, strategy: str, tmp_path: Path) -> None:
    check_killed_run(system, tmp_path, strategy, point)


@pytest.mark.faults
@pytest.mark.feature("N2")
@pytest.mark.parametrize("system", sorted(SYSTEMS))
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("point", POINTS)
def test_a_load_killed_anywhere_is_made_good_by_the_next_run(
    system: str, strategy: str, point: str, tmp_path: Path
) -> None:
    check_killed_run(system, tmp_path, strategy, point)
