"""Two runs at once, and readers beside the writer, at the destinations that are files."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import penstock
from penstock.testing.project import ProjectFolder
from tests.faults.cells import Cell, Strategy, System, finish, make_cell
from tests.faults.places import DuckdbPlace, FilesPlace, SqlitePlace

PLACES: list[System] = ["sqlite", "duckdb", "file"]
HOLDS = {"sqlite": "is being loaded by", "duckdb": "held by process", "file": "is being loaded by"}
LOADS = 1_000


@pytest.mark.feature("N2")
@pytest.mark.parametrize("strategy", ["append", pytest.param("replace", marks=pytest.mark.faults)])
@pytest.mark.parametrize("system", PLACES)
def test_of_two_runs_at_once_the_second_loads_after_the_first_and_each_row_once(
    system: System, strategy: Strategy, tmp_path: Path
) -> None:
    cell = make_cell(system, strategy, tmp_path, str)
    first = cell.start_paused("load.piece_written")
    second = cell.start()
    ends = [first.resume(), finish(second)]
    assert [end.exit_code for end in ends] == [0, 0], ends
    cell.check_done()


@pytest.mark.feature("N2")
@pytest.mark.claims("error:FencedError", "exit:4")
@pytest.mark.parametrize("point", ["commit.started", pytest.param("load.batch_written", marks=pytest.mark.faults)])
@pytest.mark.parametrize("system", PLACES)
def test_the_second_run_is_refused_naming_the_holder_once_the_wait_is_over(
    system: System, point: str, tmp_path: Path
) -> None:
    cell = make_cell(system, "append", tmp_path, str)
    file = cell.project.path / "penstock.yaml"
    file.write_text(file.read_text().replace("lock_wait: 20", "lock_wait: 1, retries: 0"))
    first = cell.start_paused(point)
    second = cell.run()
    assert second.exit_code == 4, second.said
    assert HOLDS[system] in second.stderr
    assert str(first.process.pid) in second.stderr
    ended = first.resume()
    assert ended.exit_code == 0, ended.said
    cell.check_done()


@pytest.mark.feature("N2")
@pytest.mark.parametrize("system", PLACES)
def test_runs_of_different_tables_into_one_place_at_once_all_deliver(system: System, tmp_path: Path) -> None:
    cell = make_cell(system, "append", tmp_path, str)
    tables = ("one", "two", "three")
    text = (cell.project.path / "penstock.yaml").read_text()
    for table in tables:
        cell.source.execute(f"CREATE TABLE {table} AS SELECT * FROM rows")
        renamed = text.replace("name: rows, target_name: rows_copy", f"name: {table}, target_name: {table}_copy")
        (cell.project.path / f"{table}.yaml").write_text(f"project: {table}\n{renamed}")
    runs = [cell.project.start("run", "--config", f"{table}.yaml") for table in tables]
    ends = [finish(run) for run in runs]
    assert [end.exit_code for end in ends] == [0, 0, 0], ends
    for table in tables:
        assert cell.destination.rows(f"{table}_copy") == cell.source_rows()
    assert cell.destination.litter() == []


@pytest.mark.faults
@pytest.mark.feature("N2")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("system", PLACES)
def test_readers_see_a_table_of_a_thousand_replaces_whole_every_time(system: System, tmp_path: Path) -> None:
    """Each state of the source is twenty rows of one note: a mixed or empty table would show."""
    cell = make_cell(system, "replace", tmp_path, str)
    seen: set[tuple[int, int]] = set()
    looks = reader_of(cell)
    stop = threading.Event()
    project = ProjectFolder(tmp_path).path / "penstock.yaml"
    penstock.run(project)

    def look() -> None:
        while not stop.is_set():
            seen.add(looks())

    reader = threading.Thread(target=look)
    if system != "duckdb":  # another connection cannot open the file while it is written: it looks between the loads
        reader.start()
    try:
        for number in range(LOADS):
            cell.source.execute(f"UPDATE rows SET note = 'n{number}'")
            penstock.run(project)
            if system == "duckdb":
                seen.add(looks())
    finally:
        stop.set()
        if system != "duckdb":
            reader.join()
    assert seen - {(20, 3)} == {(20, 1)}  # as it is filled there are three notes, NULL aside
    cell.check_ledger()
    assert cell.destination.litter() == []


def reader_of(cell: Cell) -> Callable[[], tuple[int, int]]:
    """How many rows and how many notes one look finds."""
    place = cell.destination
    query = "SELECT count(*), count(DISTINCT note) FROM rows_copy"
    if isinstance(place, FilesPlace):
        return lambda: _look_by_manifest(place)
    if isinstance(place, DuckdbPlace):
        return lambda: (place.query(query)[0][0], place.query(query)[0][1])
    assert isinstance(place, SqlitePlace)
    path = place.path

    def look() -> tuple[int, int]:
        with closing(sqlite3.connect(path, timeout=60)) as link:
            rows, notes = link.execute(query).fetchone()
            return rows, notes

    return look


def _look_by_manifest(place: FilesPlace) -> tuple[int, int]:
    """A part that is gone was replaced since the manifest was read: it is read anew."""
    while True:
        try:
            rows = place.rows("rows_copy")
        except FileNotFoundError:
            continue
        assert rows is not None
        return rows.total(), len({row[2] for row in rows.elements() if row[2] is not None})
