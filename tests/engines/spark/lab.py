"""A project that is run twice, on the arrow engine and on Spark, each into a folder of its own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.pipeline.project import Project
from penstock.pipeline.results import RunOptions, RunResult, Selection
from tests.faults.cells import System, make_place
from tests.faults.places import CREATE, Place, SqlitePlace

Rows = Counter[tuple[Any, ...]]
INCREMENTAL = {"replication_method": "incremental", "iterate_column": "stamp", "iterate_column_type": "int"}


@dataclass
class Lab:
    """`source` holds a table `rows`; `tables` are those of the one pipeline."""

    folder: Path
    source: Place
    destination: Place
    tables: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    schema: str | None = None

    def fill(self, *rows: tuple[int, int, str | None]) -> None:
        """(id, stamp, note), in place of the row of that id."""
        self.source.execute(f"DELETE FROM rows WHERE id IN ({', '.join(str(row[0]) for row in rows)})")
        values = ", ".join(f"({i}, {stamp}, {literal(note)}, {i / 2})" for i, stamp, note in rows)
        self.source.execute(f"INSERT INTO rows VALUES {values}")

    def write(self) -> Path:
        tables = [{"name": f"{self.schema}.rows" if self.schema else "rows", **table} for table in self.tables]
        pipeline = {"name": "main", "source": "here", "destination": "there", "tables": tables}
        path = self.folder / "penstock.yaml"
        settings = json.dumps({"retries": 0, "lock_wait": 20, **self.settings})
        path.write_text(
            "version: 2\ndefault_environment: dev\ndev:\n"
            f"  settings: {settings}\n"
            "  connections:\n"
            f"    here: {self.source.connection()}\n"
            f"    there: {self.destination.connection()}\n"
            f"  pipelines: {json.dumps([pipeline])}\n"
        )
        return path

    def open(self) -> Project:
        return Project.open(self.write())

    def run(self, spark: object | None = None, **options: Any) -> RunResult:
        return self.open().run(Selection(), RunOptions(spark=spark, **options))

    def rows(self, table: str = "copy") -> Rows | None:
        return self.destination.rows(table)


def literal(text: str | None) -> str:
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"


def make_lab(
    folder: Path,
    tables: Sequence[Mapping[str, Any]],
    *,
    source: System = "sqlite",
    destination: System = "duckdb",
    url: str = "",
    settings: Mapping[str, Any] | None = None,
) -> Lab:
    """A lab whose source has twenty rows."""
    folder.mkdir(exist_ok=True)
    here = make_place(source, folder / "source", f"src_{folder.name}", lambda: url)
    there = make_place(destination, folder / "target", f"dst_{folder.name}", lambda: url)
    here.execute(CREATE.format("rows"))
    schema = None if isinstance(here, SqlitePlace) or source == "duckdb" else f"src_{folder.name}"
    lab = Lab(folder, here, there, tables, settings or {}, schema)
    lab.fill(*((n, n // 2, f"note {n}" if n % 5 else None) for n in range(20)))
    return lab
