"""A small shop: an SQLite source and a project that moves it into another SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.pipeline.project import Project


@dataclass(frozen=True, slots=True)
class Shop:
    """The folder of one project; `write` its tables, `open` it, ask either database."""

    folder: Path

    def source(self, statement: str, *rows: tuple[object, ...]) -> None:
        with sqlite3.connect(self.folder / "shop.db") as database:
            if rows:
                database.executemany(statement, rows)
            else:
                database.execute(statement)
        database.close()

    def target(self, query: str) -> list[tuple[object, ...]]:
        database = sqlite3.connect(self.folder / "target.db")
        try:
            return database.execute(query).fetchall()
        finally:
            database.close()

    def change_target(self, statement: str) -> None:
        with sqlite3.connect(self.folder / "target.db") as database:
            database.execute(statement)
        database.close()

    def write(self, tables: str, settings: str = "{retries: 0}") -> Path:
        """`tables` is the YAML list of one pipeline's tables, in flow style, a line each."""
        lines = "\n".join(f"        {line.strip()}" for line in tables.strip().splitlines())
        path = self.folder / "penstock.yaml"
        path.write_text(
            f"""version: 2
default_environment: dev
dev:
  settings: {settings}
  connections:
    shop: {{variant: sqlite, database: shop.db}}
    target: {{variant: sqlite, database: target.db}}
  pipelines:
    - name: main
      source: shop
      destination: target
      tables:
{lines}
"""
        )
        return path

    def open(self, tables: str) -> Project:
        return Project.open(self.write(tables))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.source("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, amount DECIMAL(10,2), at INTEGER)")
    made.source("INSERT INTO orders VALUES (?, ?, ?, ?)", *[(n, f"item {n}", f"{n}.50", n) for n in range(1, 6)])
    return made


Rows = Callable[[str], list[tuple[object, ...]]]
