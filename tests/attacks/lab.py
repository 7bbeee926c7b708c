"""Two systems and a project between them, all of it in one folder: attacks fill one side and look at the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import penstock
from penstock.pipeline.results import RunResult
from penstock.testing.project import ProjectFolder
from tests.faults.places import DuckdbPlace, PostgresPlace, SqlitePlace, Values

Sql = SqlitePlace | DuckdbPlace | PostgresPlace
SYSTEMS = ("sqlite", "duckdb", "postgres")
PAIRS = (
    ("sqlite", "duckdb"),
    ("sqlite", "postgres"),
    ("duckdb", "sqlite"),
    ("duckdb", "postgres"),
    ("postgres", "postgres"),
    ("postgres", "duckdb"),
)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass
class Lab:
    """`here` is read, `there` is written; `tables` are what the one pipeline moves."""

    folder: Path
    here: Sql
    there: Sql
    settings: dict[str, Any] = field(default_factory=lambda: {"retries": 0, "lock_wait": 5})

    def write(self, *tables: Mapping[str, Any], **pipeline: Any) -> Path:
        """A project of one pipeline; JSON is YAML, and leaves no doubt about hostile text."""
        project = {
            "version": 2,
            "default_environment": "test",
            "test": {
                "settings": self.settings,
                "connections": {"here": self.connection(self.here), "there": self.connection(self.there)},
                "pipelines": [
                    {"name": "p", "source": "here", "destination": "there", "tables": list(tables), **pipeline}
                ],
            },
        }
        path = self.folder / "penstock.yaml"
        path.write_text(json.dumps(project))
        return path

    def run(self, *tables: Mapping[str, Any], **options: Any) -> RunResult:
        """The tables' one run, in this process; an error of a table is in the result."""
        return penstock.run(self.write(*tables), raise_on_error=False, **options)

    def refused(self, *tables: Mapping[str, Any], **options: Any) -> str:
        """What the run of a table that must fail said."""
        result = self.run(*tables, **options)
        assert result.state != "succeeded", result
        return "\n".join(str(error) for error in result.errors.values())

    def moved(self, *tables: Mapping[str, Any], **options: Any) -> RunResult:
        """A run that must succeed."""
        result = self.run(*tables, **options)
        assert result.state == "succeeded", {str(k): str(v) for k, v in result.errors.items()}
        return result

    @property
    def project(self) -> ProjectFolder:
        return ProjectFolder(self.folder)

    @staticmethod
    def connection(place: Sql) -> dict[str, Any]:
        if isinstance(place, PostgresPlace):
            host, port, database = place.parts()
            at = {"host": host, "port": int(port), "database": database, "user": "postgres"}
            return {"variant": "postgres", "schema": place.schema, **at}
        variant = "sqlite" if isinstance(place, SqlitePlace) else "duckdb"
        return {"variant": variant, "database": str(place.path)}

    def columns(self, table: str) -> list[str]:
        """The destination's own columns of a table, without what Penstock adds."""
        return [name for name in column_names(self.there, table) if name != "_ingested_at"]

    def rows(self, table: str, columns: str = "*") -> list[Values]:
        return sorted(self.there.query(f"SELECT {columns} FROM {quoted(table)}"), key=repr)


def column_names(place: Sql, table: str) -> list[str]:
    literal = "'" + table.replace("'", "''") + "'"
    if isinstance(place, SqlitePlace):
        return [str(row[0]) for row in place.query(f"SELECT name FROM pragma_table_info({literal})")]
    schema = f" AND table_schema = '{place.schema}'" if isinstance(place, PostgresPlace) else ""
    return [
        str(row[0])
        for row in place.query(
            "SELECT column_name FROM information_schema.columns"
            f" WHERE table_name = {literal}{schema} ORDER BY ordinal_position"
        )
    ]


def make_place(system: str, folder: Path, side: str, postgres: Callable[[], str]) -> Sql:
    if system == "postgres":
        place = PostgresPlace(postgres(), side)
        place.execute(f'CREATE SCHEMA IF NOT EXISTS "{side}"')
        return place
    if system == "sqlite":
        return SqlitePlace(folder / f"{side}.db")
    return DuckdbPlace(folder / f"{side}.duckdb")
