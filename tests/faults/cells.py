"""One cell of the fault product: a source, a destination, a strategy, and what must hold whatever happens."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Literal

from penstock.testing.project import Ended, ProjectFolder
from tests.faults.places import CREATE, DuckdbPlace, FilesPlace, Ledger, Place, PostgresPlace, SqlitePlace, Values

Strategy = Literal["append", "replace", "upsert", "merge", "delete_insert"]
# postgres takes undecoded bytes, postgres_decoded Arrow batches, postgres_parallel several writers' pieces
System = Literal["postgres", "postgres_decoded", "postgres_parallel", "sqlite", "duckdb", "file"]
# Each system is a destination once per strategy and, over all cells, a source as well.
SOURCE_OF: dict[System, System] = {
    "postgres": "postgres",
    "postgres_decoded": "sqlite",
    "postgres_parallel": "postgres",
    "sqlite": "duckdb",
    "duckdb": "sqlite",
    "file": "sqlite",
}
DATABASES: tuple[System, ...] = ("postgres", "sqlite", "duckdb")
STRATEGIES: tuple[Strategy, ...] = ("append", "replace", "upsert")
CELLS: list[tuple[System, Strategy]] = [
    *product(DATABASES, STRATEGIES),
    ("postgres_decoded", "append"),
    ("postgres_decoded", "upsert"),
    ("postgres_parallel", "replace"),
    ("file", "append"),
    ("file", "replace"),
]
KILLED = -9


@dataclass
class Paused:
    """A run that waits at a failpoint."""

    process: subprocess.Popen[str]
    mark: Path

    def resume(self) -> Ended:
        self.mark.unlink()
        return finish(self.process)


def finish(process: subprocess.Popen[str]) -> Ended:
    stdout, stderr = process.communicate(timeout=120)
    return Ended(process.returncode, stdout, stderr)


@dataclass
class Cell:
    """A project that moves `rows` into `rows_copy`."""

    project: ProjectFolder
    source: Place
    destination: Place
    strategy: Strategy
    options: str = ""
    settings: str = "{lock_wait: 20}"
    ledgers: list[Ledger] = field(default_factory=list)

    def write_project(self) -> None:
        incremental = "replication_method: incremental, iterate_column: stamp, iterate_column_type: int"
        methods = {
            "append": f"{incremental}, write_strategy: append",
            "replace": "replication_method: full, write_strategy: replace",
            "upsert": f"{incremental}, write_strategy: upsert, write_key: [id]",
            "merge": f"{incremental}, write_strategy: merge, write_key: [id]",
            "delete_insert": f"{incremental}, write_strategy: delete_insert, write_key: [id]",
        }
        self.project.write(
            f"""
            version: 2
            default_environment: test
            test:
              settings: {self.settings}
              connections:
                here: {self.source.connection()}
                there: {self.destination.connection()}
              pipelines:
                - name: copy
                  source: here
                  destination: there
                  tables:
                    - {{name: {self.stream}, target_name: rows_copy, {methods[self.strategy]}{self.options}}}
            """
        )

    @property
    def stream(self) -> str:
        return f"{self.source.schema}.rows" if isinstance(self.source, PostgresPlace) else "rows"

    def run(self, faults: str | None = None, **env: str) -> Ended:
        """`penstock run`, its temporary files in a folder that must be empty in the end."""
        self.temporary.mkdir(exist_ok=True)
        return self.project.run("run", faults=faults, env={"TMPDIR": str(self.temporary), **env})

    def run_refreshing(self) -> Ended:
        return self.project.run("run", "--full-refresh", "--yes", env={"TMPDIR": str(self.temporary)})

    def start(self, faults: str | None = None) -> subprocess.Popen[str]:
        self.temporary.mkdir(exist_ok=True)
        return self.project.start("run", faults=faults, env={"TMPDIR": str(self.temporary)})

    def start_paused(self, point: str) -> Paused:
        """A run that has reached the failpoint, and waits there until `resume`."""
        mark = self.project.path / f"paused-at-{point}"
        process = self.start(faults=f"{point}=pause:{mark}@1")
        deadline = time.monotonic() + 60
        while not mark.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise AssertionError(f"{point} was not reached: {finish(process).said}")
        return Paused(process, mark)

    def processes(self) -> list[str]:
        """What a run of this cell started and left behind: a child inherits the folder it is started in."""
        left = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if (folder / "cwd").readlink() == self.project.path:
                    left.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return left

    @property
    def temporary(self) -> Path:
        return self.project.path / "tmp"

    def fill(self) -> None:
        """Twenty rows, two to a stamp."""
        self.source.execute(
            CREATE.format("rows"),
            "INSERT INTO rows VALUES " + ", ".join(row(i, stamp=i // 2) for i in range(20)),
        )

    def change(self) -> None:
        """New rows, one of them at the last stamp delivered; where the strategy can take it, changed rows too."""
        self.source.execute(
            "INSERT INTO rows VALUES " + ", ".join([row(100, stamp=9), *(row(i, stamp=i // 2) for i in range(20, 30))])
        )
        if self.strategy != "append":
            self.source.execute("UPDATE rows SET note = 'changed', stamp = 50 WHERE id < 5")
        if self.strategy == "replace":
            self.source.execute("DELETE FROM rows WHERE id BETWEEN 7 AND 9")

    def change_again(self) -> None:
        """More rows, past everything there is."""
        start = 1000 + 10 * len(self.ledgers)
        self.source.execute("INSERT INTO rows VALUES " + ", ".join(row(i, stamp=i) for i in range(start, start + 5)))

    def source_rows(self) -> Counter[Values]:
        rows = self.source.rows("rows")
        assert rows is not None
        return rows

    def seen(self) -> Counter[Values] | None:
        return self.destination.rows("rows_copy")

    def check_ledger(self) -> None:
        """Monotone since the last look."""
        now = self.destination.ledger()
        assert not self.ledgers or now.follows(self.ledgers[-1]), (self.ledgers[-1], now)
        self.ledgers.append(now)

    def check_whole(self, *states: Counter[Values] | None) -> None:
        """A reader sees one of these states and nothing between them."""
        assert self.seen() in states

    def check_done(self) -> None:
        """Equal to the source, and nothing lying about: no table, file, server session or process of ours."""
        assert self.seen() == self.source_rows()
        assert self.processes() == []
        assert (left := self.destination.litter()) == [], left
        assert self.source.litter() == []
        found = sorted(self.temporary.rglob("*"))
        assert found == [], [str(f.relative_to(self.temporary)) for f in found]
        self.check_ledger()


def row(number: int, *, stamp: int) -> str:
    note = ("NULL", "''", "'plain'", "'it''s'")[number % 4]
    ratio = ("NULL", "0.5", "-1e300")[number % 3]
    return f"({number}, {stamp}, {note}, {ratio})"


def make_cell(
    system: System, strategy: Strategy, folder: Path, postgres_url: Callable[[], str], *, options: str = ""
) -> Cell:
    """A cell in `folder`, its tables filled; the server is asked for only where the cell needs one."""
    source = make_place(SOURCE_OF[system], folder / "source", "src", postgres_url)
    destination = make_place(system, folder / "target", "dst", postgres_url)
    if system == "postgres_parallel":
        options = ", partitions_column: id, partitions_count: 3, write_partitions: 3"
    cell = Cell(ProjectFolder(folder, warm=True), source, destination, strategy, options)
    cell.write_project()
    cell.fill()
    return cell


def make_place(system: System, path: Path, schema: str, postgres_url: Callable[[], str]) -> Place:
    if system.startswith("postgres"):
        place = PostgresPlace(postgres_url(), schema)
        place.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        return place
    if system == "file":
        path.mkdir()
        return FilesPlace(path)
    return SqlitePlace(path.with_suffix(".db")) if system == "sqlite" else DuckdbPlace(path.with_suffix(".duckdb"))
