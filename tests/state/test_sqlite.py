"""The SQLite backend: the shared suite, and what only a file can go through."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.errors import BackendError, ConfigError
from penstock.protocols import Backend
from penstock.state import history
from penstock.state.sqlite import DIALECT, open_backend
from penstock.testing.backend import BackendSuite, a_run, a_table
from penstock.values import RunId

WRITER = """
import sys
from dataclasses import replace
from penstock.state.sqlite import open_backend
from penstock.testing.backend import a_run, a_table
name = sys.argv[2]
backend = open_backend({"database": sys.argv[1]})
backend.start_run(a_run(name))
for number in range(20):
    backend.record_table(a_table(name, f"t{number:02}"))
backend.finish_run(replace(a_run(name), state="succeeded"))
"""


def spawn_writer(path: Path, name: str, faults: str = "") -> subprocess.Popen[str]:
    environment = {**os.environ, "PENSTOCK_FAULTS": faults}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name], env=environment, stderr=subprocess.PIPE, text=True
    )


class TestSqliteBackend(BackendSuite):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "deep" / "er" / "state.db"

    def open(self) -> Backend:
        return open_backend({"database": str(self.path)})


def test_eight_processes_make_and_fill_one_history(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    writers = [spawn_writer(path, f"run{n}") for n in range(8)]
    for writer in writers:
        assert writer.communicate()[1] == ""
        assert writer.returncode == 0
    backend = open_backend({"database": str(path)})
    assert sorted((r.run_id, r.state) for r in backend.runs(100)) == [(f"run{n}", "succeeded") for n in range(8)]
    for run in backend.runs(100):
        found = backend.run(run.run_id)
        assert found is not None
        assert len(found[1]) == 20


@pytest.mark.parametrize(("failpoint", "recorded"), [("backend.recorded", 0), ("backend.committed", 1)])
def test_a_killed_writer_leaves_what_it_committed_and_a_usable_file(
    tmp_path: Path, failpoint: str, recorded: int
) -> None:
    path = tmp_path / "state.db"
    open_backend({"database": str(path)})
    writer = spawn_writer(path, "dead", faults=f"{failpoint}=kill")
    writer.communicate()
    assert writer.returncode == -9
    backend = open_backend({"database": str(path)})
    assert [r.state for r in backend.runs(10)] == ["running"] * recorded
    backend.start_run(a_run("alive", minutes=1))
    assert backend.runs(1)[0].run_id == "alive"


def test_a_power_cut_costs_history_at_most(tmp_path: Path) -> None:
    backend = open_backend({"database": str(tmp_path / "state.db")})
    connection = backend._connection  # type: ignore[attr-defined]
    assert connection.execute("PRAGMA synchronous").fetchone() == (1,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("version", range(history.latest(DIALECT) + 1))
def test_a_history_of_every_older_format_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    path = tmp_path / "state.db"
    create, read, _, write = history.version_statements(DIALECT)
    with sqlite3.connect(path) as old:
        old.execute(create)
        old.execute(write, {"1": version})
        for step in history.migrations(DIALECT)[:version]:
            for statement in step:
                old.execute(statement)
        if version:
            old.execute(
                "INSERT INTO penstock_runs VALUES ('old', 'p', 'e', 'run', 'succeeded',"
                " '2020-01-01T00:00:00.000000+00:00', NULL, NULL)"
            )
    old.close()
    backend = open_backend({"database": str(path)})
    assert [r.run_id for r in backend.runs(10)] == (["old"] if version else [])
    backend.record_table(a_table("old", "orders"))
    reader = sqlite3.connect(path)
    assert reader.execute(read).fetchall() == [(history.latest(DIALECT),)]
    assert ("penstock_runs_newest",) in reader.execute("SELECT name FROM sqlite_master").fetchall()
    reader.close()


def test_a_history_of_a_newer_penstock_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    open_backend({"database": str(path)}).start_run(a_run("kept"))
    newer = sqlite3.connect(path)
    newer.execute("UPDATE penstock_version SET version = 99")
    newer.commit()
    with pytest.raises(BackendError, match=r"format 99.*up to 2(.|\n)*upgrade Penstock"):
        open_backend({"database": str(path)})
    assert newer.execute("SELECT version FROM penstock_version").fetchone() == (99,)
    newer.close()


@pytest.mark.parametrize("content", [b"no database, whatever its name says " * 40, b"SQLite format 3\x00" * 200])
def test_a_damaged_file_names_the_way_out_and_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(content)
    with pytest.raises(BackendError, match="only history is lost") as caught:
        open_backend({"database": str(path)})
    assert caught.value.where == str(path)
    assert path.read_bytes() == content


def test_deleting_the_file_loses_history_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    open_backend({"database": str(path)}).start_run(a_run("a"))
    for left in tmp_path.iterdir():
        left.unlink()
    backend = open_backend({"database": str(path)})
    assert list(backend.runs(10)) == []
    backend.start_run(a_run("b"))
    assert [r.run_id for r in backend.runs(10)] == ["b"]


def test_somebody_elses_database_is_neither_written_nor_switched_to_wal(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    shop = sqlite3.connect(path)
    shop.execute("CREATE TABLE orders (id int)")
    shop.commit()
    with pytest.raises(BackendError, match="holds other tables"):
        open_backend({"database": str(path)})
    assert shop.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert shop.execute("SELECT name FROM sqlite_master").fetchall() == [("orders",)]
    shop.close()


def test_a_folder_in_the_way_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    with pytest.raises(BackendError, match=r"settings\.backend\.database"):
        open_backend({"database": str(tmp_path / "state.db")})
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendError, match="folder of the run history"):
        open_backend({"database": str(tmp_path / "file" / "state.db")})


def test_a_backend_without_a_path_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="needs the path"):
        open_backend({"database": None})


def test_the_file_can_vanish_between_two_runs_of_one_process(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    first = open_backend({"database": str(path)})
    first.start_run(a_run("a"))
    del first
    path.unlink()
    second = open_backend({"database": str(path)})
    assert second.run(RunId("a")) is None
