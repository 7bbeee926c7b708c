"""The small figures: start-up, a tiny run, and idle runs over many tables, straight and through a slow link."""

from __future__ import annotations

import sqlite3
import sys

from benchmarks.cases import idle_tables
from benchmarks.measure import Reading, best, measure
from benchmarks.projects import OUT, PENSTOCK, run_project, write_tables
from benchmarks.servers import connection_yaml, empty_target
from benchmarks.slow_link import SlowLink

Row = tuple[str, ...]


def small_figures(runs: int) -> list[Row]:
    return [_floor(runs), _help(runs), _tiny(runs), *_idle(runs)]


def _floor(runs: int) -> Row:
    """What the machine takes for the libraries alone: figures in seconds follow it."""
    words = [sys.executable, "-c", "import pyarrow, duckdb; duckdb.connect()"]
    reading = best([measure(words, env={"OPENBLAS_NUM_THREADS": "1"}) for _ in range(runs)])
    return (
        "for comparison: importing pyarrow and DuckDB and opening a database, CPU s",
        f"{reading.cpu_seconds:.2f}",
        "-",
        "-",
    )


def _help(runs: int) -> Row:
    reading = best([measure([*PENSTOCK, "--help"]) for _ in range(runs)])
    return _row("`penstock --help`, CPU s", reading.cpu_seconds, 0.20)


def _tiny(runs: int) -> Row:
    folder = write_tables(
        "tiny",
        [{"name": "t", "target_name": "t"}],
        source={"variant": "sqlite", "database": "source.db"},
        destination={"variant": "duckdb", "database": "target.duckdb"},
    )
    with sqlite3.connect(folder / "source.db") as database:
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
        database.executemany("INSERT INTO t VALUES (?, ?)", [(i, f"row {i}") for i in range(10)])
    reading = best([run_project(folder) for _ in range(runs)])
    return _row("10 rows SQLite to DuckDB, CPU s", reading.cpu_seconds, 0.80)


def _idle(runs: int) -> list[Row]:
    tables, make = idle_tables(100)
    make()
    empty_target("bench_target")
    folder = write_tables("idle", list(tables))
    run_project(folder)
    straight = best([run_project(folder) for _ in range(runs)])
    slow = best([_through_slow_link(list(tables)) for _ in range(runs)])
    return [
        _row("idle run over 100 incremental tables, s", straight.wall_seconds, 1.0),
        _row("the same through a link of 20 ms, s", slow.wall_seconds, 2.0),
    ]


def _through_slow_link(tables: list[dict[str, object]]) -> Reading:
    """The same tables, both servers behind a proxy that holds each answer back for 20 ms."""
    source, target = connection_yaml("bench_source"), connection_yaml("bench_target")
    with SlowLink(str(source["host"]), int(source["port"]), delay_seconds=0.020) as link:
        folder = write_tables(
            "idle", list(tables), source={**source, "port": link.port}, destination={**target, "port": link.port}
        )
        return run_project(folder)


def _row(what: str, measured: float, most: float) -> Row:
    return (what, f"{measured:.2f}", f"{most:.2f}", "yes" if measured <= most else "no")


__all__ = ["OUT", "small_figures"]
