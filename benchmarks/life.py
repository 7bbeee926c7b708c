"""Memory over the size of a table, and the run after a kill."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.cases import table
from benchmarks.measure import Reading, best, environment
from benchmarks.projects import PENSTOCK, run_project, write_project
from benchmarks.servers import database_url, empty_target, execute

Row = tuple[str, ...]
_MOST_GROWTH = 1.10
_MOST_RECOVERY = 2.0


def life_figures(rows: int, runs: int) -> list[Row]:
    return [_flatness(rows), _recovery(runs)]


def _flatness(rows: int) -> Row:
    """Peak memory of the Arrow path for a fifth of the rows and for four times as many, both read through a view.

    The smaller of two runs each: what the allocators keep varies by some 15 MB from run to run.
    """
    few, many = rows // 5, rows * 4
    execute(
        database_url("bench_source"),
        f"CREATE OR REPLACE VIEW orders_few AS SELECT * FROM orders WHERE id <= {few}",
        f"CREATE OR REPLACE VIEW orders_many AS {' UNION ALL '.join(['SELECT * FROM orders'] * 4)}",
    )
    small, large = (min(_peak_of(name) for _ in range(2)) for name in ("orders_few", "orders_many"))
    what, measured, *rest = _row(f"dedup_columns, MB at {many:,} rows over MB at {few:,}", large / small, _MOST_GROWTH)
    return (what, f"{measured} ({large >> 20} over {small >> 20})", *rest)


def _peak_of(view: str) -> int:
    folder = write_project(view, table(name=f"public.{view}", dedup_columns=["id", "updated_at"]))
    empty_target("bench_target")
    return run_project(folder).peak_bytes


def _recovery(runs: int) -> Row:
    """A relay killed when its rows are in and its commit is not, then run again."""
    folder = write_project("recovery", table())
    normal, after_kill = [], []
    for _ in range(runs):
        empty_target("bench_target")
        normal.append(run_project(folder))
        empty_target("bench_target")
        after_kill.append(_run_after_kill(folder))
    return _row("recovery after a kill, times a normal run", _seconds(after_kill) / _seconds(normal), _MOST_RECOVERY)


def _run_after_kill(folder: Path) -> Reading:
    killed = subprocess.run(
        [*PENSTOCK, "run", "--quiet"],
        cwd=folder,
        env={**environment(), "PENSTOCK_FAULTS": "load.piece_written=kill"},
        check=False,
    )
    if killed.returncode != -9:
        raise RuntimeError(f"the run was to be killed, and exited {killed.returncode}")
    return run_project(folder)


def _seconds(readings: list[Reading]) -> float:
    return best(readings).wall_seconds


def _row(what: str, measured: float, most: float) -> Row:
    return (what, f"{measured:.2f}", f"{most:.2f}", "yes" if measured <= most else "no")
