"""Folders and files without the right to read or write: what can work works, what cannot says which right it lacks."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import duckdb
import pytest

from penstock.testing.project import Ended, ProjectFolder

SQLITE = "{{variant: sqlite, database: {}}}"
DUCKDB = "{{variant: duckdb, database: {}}}"
FILES = "{{variant: file, extra: {{path: {}}}}}"
PROJECT = """
version: 2
default_environment: dev
dev:
  settings: {{retries: 0, lock_wait: 2}}
  connections: {{here: {here}, there: {there}}}
  pipelines: [{{name: p, source: here, destination: there, tables: [{{name: {name}, target_name: copied}}]}}]
"""
NOBODY = 65534


@dataclass
class Ward:
    """A project whose runs have no right but what the modes of files give; root's own are taken from them."""

    folder: Path
    shut: list[Path] = field(default_factory=list)

    def write(self, here: str, there: str, name: str = "t") -> None:
        ProjectFolder(self.folder).write(PROJECT.format(here=here, there=there, name=name))

    def path(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        return path

    def sqlite(self, name: str, journal: str = "delete") -> Path:
        path = self.path(name)
        with closing(sqlite3.connect(path)) as link, link:
            link.execute(f"PRAGMA journal_mode = {journal}")
            link.execute("CREATE TABLE t (id integer)")
            link.execute("INSERT INTO t VALUES (1), (2)")
        return path

    def duckdb(self, name: str) -> Path:
        with duckdb.connect(str(self.path(name))) as link:
            link.execute("CREATE TABLE t AS SELECT unnest([1, 2]) AS id")
        return self.path(name)

    def set_mode(self, mode: int, *paths: Path) -> None:
        self.shut += paths
        for path in paths:
            path.chmod(mode)

    def run(self, command: str = "run") -> Ended:
        without = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.getuid() == 0 else ()
        done = subprocess.run(
            [*without, sys.executable, "-m", "penstock", command],
            cwd=self.folder, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "unexpected" not in done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    def delivered(self) -> list[tuple[int]]:
        with closing(sqlite3.connect(self.folder / "t.db")) as link:
            found: list[tuple[int]] = link.execute("SELECT id FROM copied ORDER BY id").fetchall()
            return found


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        pytest.fail("as root this needs setpriv (util-linux), to take its rights away")
    made = Ward(tmp_path)
    yield made
    for path in made.shut:
        path.chmod(0o755)


def test_a_source_in_a_folder_that_may_not_be_written_is_read(ward: Ward) -> None:
    for variant, make in ((SQLITE, ward.sqlite), (DUCKDB, ward.duckdb)):
        path = make(f"readonly/{variant[11:17]}.db")
        ward.set_mode(0o444, path)
        ward.set_mode(0o555, path.parent)
        ward.write(variant.format(path), SQLITE.format("t.db"))
        done = ward.run()
        assert done.exit_code == 0, done.said
        assert ward.delivered() == [(1,), (2,)]
        path.parent.chmod(0o755)
    (ward.folder / "t.db").unlink()


SOURCES: dict[str, tuple[Callable[[Ward], Path], int, str]] = {
    "sqlite": (lambda w: w.sqlite("in/s.db"), 0, "make the file readable"),
    "sqlite in WAL mode, folder read-only": (
        lambda w: w.sqlite("in/s.db", "wal"), 0o444, "a source in WAL mode needs that too"
    ),
    "duckdb": (lambda w: w.duckdb("in/s.duckdb"), 0, "correct the rights of the file"),
}  # fmt: skip


@pytest.mark.parametrize("case", SOURCES)
def test_a_source_that_may_not_be_read_says_what_to_do(ward: Ward, case: str) -> None:
    make, mode, says = SOURCES[case]
    path = make(ward)
    ward.write((DUCKDB if case == "duckdb" else SQLITE).format(path), SQLITE.format("t.db"))
    ward.set_mode(mode, path)
    ward.set_mode(0o555, path.parent)
    done = ward.run()
    assert done.exit_code == 1, done.said
    assert says in done.stderr


@pytest.mark.parametrize("name", ["d", "d/*/*.csv", "**/*.csv"])
def test_a_folder_of_files_that_may_not_be_read_is_no_empty_folder(ward: Ward, name: str) -> None:
    for file in ("d/a/one.csv", "d/b/two.csv"):
        path = ward.folder / "lake" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("id\n1\n")
    ward.set_mode(0, ward.folder / "lake" / "d" / "b")
    ward.write("{variant: file, extra: {path: lake, format: csv}}", SQLITE.format("t.db"), name=f'"{name}"')
    done = ward.run()
    assert done.exit_code == 1, done.said
    assert "the folder cannot be read: Permission denied" in done.stderr
    assert str(ward.folder / "lake" / "d" / "b") in done.stderr


# destination, what lies there already, its mode, its folder's mode, what the error says
DESTINATIONS: dict[str, tuple[str, bool, int, str]] = {
    "sqlite, no file": (SQLITE, False, 0, "make the file readable, and its folder writable"),
    "sqlite, file read-only": (SQLITE, True, 0o444, "the lock file"),
    "sqlite, only the file": (SQLITE, True, 0o666, "the lock file"),
    "duckdb, no file": (DUCKDB, False, 0, "correct the rights of the file and its folder"),
    "duckdb, file read-only": (DUCKDB, True, 0o444, "correct the rights of the file and its folder"),
    "duckdb, only the file": (DUCKDB, True, 0o666, "correct the rights of the file and its folder"),
    "files": (FILES, False, 0, "correct the rights of the folder"),
}


@pytest.mark.parametrize("case", DESTINATIONS)
def test_a_destination_that_may_not_be_written_says_what_to_do_and_leaves_nothing(ward: Ward, case: str) -> None:
    there, exists, mode, says = DESTINATIONS[case]
    ward.sqlite("in/s.db")
    out = ward.path("out/t")
    if exists:
        (ward.sqlite if there == SQLITE else ward.duckdb)("out/t")
        ward.set_mode(mode, out)
    ward.write(SQLITE.format("in/s.db"), there.format("out" if there == FILES else "out/t"))
    before = sorted(out.parent.iterdir())
    ward.set_mode(0o555, out.parent)
    done = ward.run()
    assert done.exit_code == 1, done.said
    assert says in done.stderr
    assert sorted(out.parent.iterdir()) == before


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a file another user's")
def test_a_lock_file_that_another_user_left_is_named(ward: Ward) -> None:
    ward.sqlite("in/s.db")
    ward.write(SQLITE.format("in/s.db"), SQLITE.format("t.db"))
    assert ward.run().exit_code == 0
    lock = ward.folder / f"t.db.{sha256(b'copied').hexdigest()[:12]}.lock"
    lock.write_text("a run of another user")
    os.chown(lock, NOBODY, NOBODY)
    lock.chmod(0o644)
    done = ward.run()
    assert done.exit_code == 1, done.said
    assert f"the lock file {lock.name} cannot be written: Permission denied" in done.stderr
    assert "remove it once that has ended" in done.stderr
    lock.unlink()
    assert ward.run().exit_code == 0


@pytest.mark.parametrize("what", ["project", "folder", "file"])
def test_a_run_history_that_cannot_be_written_ends_the_run_before_a_row_moves(ward: Ward, what: str) -> None:
    ward.sqlite("data/s.db")
    ward.write(SQLITE.format("data/s.db"), SQLITE.format("data/t.db"))
    history = ward.folder / ".penstock"
    if what != "project":
        history.mkdir()
    if what == "file":
        sqlite3.connect(history / "state.db").close()
        ward.set_mode(0o444, history / "state.db")
    ward.set_mode(0o555, ward.folder if what == "project" else history)
    done = ward.run()
    assert done.exit_code == 1, done.said
    assert "settings.backend.database" in done.stderr
    assert not (ward.folder / "data" / "t.db").exists()
    planned = ward.run("plan")
    assert planned.exit_code == 0, planned.said
