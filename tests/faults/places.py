"""The systems of a fault test, filled and looked at by code that shares nothing with the product."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Values = tuple[Any, ...]
COLUMNS = "id, stamp, note, ratio"
CREATE = 'CREATE TABLE "{}" (id bigint PRIMARY KEY, stamp bigint NOT NULL, note text, ratio double precision)'
LEDGER_TABLES = frozenset({"_penstock_ledger", "_penstock_loads", "_penstock_boundary"})


@dataclass(frozen=True)
class Ledger:
    """What the ledger of a place says; `heads` by target."""

    heads: dict[str, tuple[int, int, int, str]] = field(default_factory=dict)  # generation, sequence, epoch, state
    loads: frozenset[str] = frozenset()

    def follows(self, earlier: Ledger) -> bool:
        """Whether nothing went backwards or was forgotten."""
        return self.loads >= earlier.loads and all(
            target in self.heads and self.heads[target][:3] >= head[:3] for target, head in earlier.heads.items()
        )


class Place(Protocol):
    """One end of a pipeline."""

    def connection(self) -> str:
        """Its entry under `connections:`, as one flow mapping."""
        ...

    def execute(self, *statements: str) -> None: ...
    def rows(self, table: str) -> Counter[Values] | None:
        """The rows a reader sees; None where there is no such table."""
        ...

    def ledger(self) -> Ledger: ...
    def litter(self) -> list[str]:
        """Tables, files and sessions of ours beyond the ledger."""
        ...


class SqlPlace:
    """What the three SQL systems share: `query` is each one's own."""

    def query(self, statement: str) -> list[Values]:
        raise AssertionError(f"each system runs {statement!r} itself")

    def tables(self) -> set[str]:
        raise AssertionError("each system names its tables itself")

    def rows(self, table: str) -> Counter[Values] | None:
        if table not in self.tables():
            return None
        return Counter(tuple(row) for row in self.query(f'SELECT {COLUMNS} FROM "{table}"'))

    def ledger(self) -> Ledger:
        if "_penstock_ledger" not in self.tables():
            return Ledger()
        heads = self.query("SELECT target, generation, sequence, epoch, state FROM _penstock_ledger")
        loads = self.query("SELECT load_id FROM _penstock_loads")
        return Ledger({row[0]: (row[1], row[2], row[3], row[4]) for row in heads}, frozenset(row[0] for row in loads))

    def litter(self) -> list[str]:
        return sorted(name for name in self.tables() - LEDGER_TABLES if name.startswith("_penstock"))


@dataclass
class SqlitePlace(SqlPlace):
    path: Path

    def connection(self) -> str:
        return f"{{variant: sqlite, database: {self.path}}}"

    def execute(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.path)) as link, link:
            for statement in statements:
                link.execute(statement)

    def query(self, statement: str) -> list[Values]:
        with closing(sqlite3.connect(self.path)) as link:
            return list(link.execute(statement))

    def tables(self) -> set[str]:
        return {str(row[0]) for row in self.query("SELECT name FROM sqlite_master WHERE type = 'table'")}


@dataclass
class DuckdbPlace(SqlPlace):
    path: Path

    def connection(self) -> str:
        return f"{{variant: duckdb, database: {self.path}}}"

    def execute(self, *statements: str) -> None:
        import duckdb

        with duckdb.connect(str(self.path)) as link:
            for statement in statements:
                link.execute(statement)

    def query(self, statement: str) -> list[Values]:
        import duckdb

        if not self.path.exists():
            return []
        with duckdb.connect(str(self.path)) as link:
            found: list[Values] = link.execute(statement).fetchall()
            return found

    def tables(self) -> set[str]:
        return {str(row[0]) for row in self.query("SELECT table_name FROM duckdb_tables()")}


@dataclass
class PostgresPlace(SqlPlace):
    """One schema of a database of the test's own."""

    url: str
    schema: str
    address: str | None = None  # where the product connects instead, through a proxy

    def connection(self) -> str:
        host, port, database = self.parts()
        if self.address is not None:
            host, _, port = self.address.partition(":")
        keys = f"host: {host}, port: {port}, database: {database}, user: postgres, schema: {self.schema}"
        return f"{{variant: postgres, {keys}}}"

    def parts(self) -> tuple[str, str, str]:
        server, _, database = self.url.removeprefix("postgresql://").partition("/")
        host, _, port = server.rpartition("@")[2].partition(":")
        return host, port, database

    def execute(self, *statements: str) -> None:
        asyncio.run(self._execute(statements))

    def query(self, statement: str) -> list[Values]:
        return asyncio.run(self._query(statement))

    def tables(self) -> set[str]:
        own = f"relnamespace = '{self.schema}'::regnamespace"
        return {str(row[0]) for row in self.query(f"SELECT relname FROM pg_class WHERE relkind = 'r' AND {own}")}

    def litter(self) -> list[str]:
        """Sessions end when the server notices that their client is gone: that may take a moment."""
        deadline = time.monotonic() + 10
        sessions = self._sessions()
        while sessions and time.monotonic() < deadline:
            sessions = self._sessions()
        return [*super().litter(), *sessions]

    def _sessions(self) -> list[str]:
        statement = (
            "SELECT application_name || ': ' || left(query, 60) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return [str(row[0]) for row in self.query(statement)]

    async def _connect(self) -> Any:
        import asyncpg

        settings = {"search_path": f'"{self.schema}"', "application_name": "oracle"}
        return await asyncpg.connect(self.url, server_settings=settings)

    async def _execute(self, statements: Sequence[str]) -> None:
        link = await self._connect()
        try:
            for statement in statements:
                await link.execute(statement)
        finally:
            await link.close()

    async def _query(self, statement: str) -> list[Values]:
        link = await self._connect()
        try:
            return [tuple(row) for row in await link.fetch(statement)]
        finally:
            await link.close()


@dataclass
class FilesPlace:
    """A folder of Parquet files; what a reader sees is what the manifest lists."""

    path: Path

    def connection(self) -> str:
        return f"{{variant: file, extra: {{path: {self.path}, format: parquet}}}}"

    def execute(self, *statements: str) -> None:
        raise AssertionError(f"files are only written to here, not {statements}")

    def rows(self, table: str) -> Counter[Values] | None:
        import pyarrow.parquet as pq

        manifest = self._manifest(table)
        if manifest is None:
            return None
        found: Counter[Values] = Counter()
        for part in listed_parts(manifest):
            columns = pq.ParquetFile(self.path / table / part).read(COLUMNS.split(", ")).to_pydict()
            found.update(zip(*columns.values(), strict=True))
        return found

    def ledger(self) -> Ledger:
        heads, loads = {}, set()
        for file in self.path.glob("*/_penstock/manifest.json"):
            manifest = json.loads(file.read_text())
            head = manifest["head"]
            heads[head["target"]] = (head["generation"], head["sequence"], head["epoch"], head["state"])
            loads |= {load["load_id"] for load in manifest["history"]}
        return Ledger(heads, frozenset(loads))

    def litter(self) -> list[str]:
        known = set()
        for folder in self.path.glob("*"):
            manifest = self._manifest(folder.name)
            known |= {folder / part for part in listed_parts(manifest or {})}
        files = {f for f in self.path.rglob("*") if f.is_file() and f.name not in ("manifest.json", "lock")}
        return sorted(str(file) for file in files - known)

    def _manifest(self, table: str) -> dict[str, Any] | None:
        file = self.path / table / "_penstock" / "manifest.json"
        if not file.exists():
            return None
        manifest: dict[str, Any] = json.loads(file.read_text())
        return manifest


def listed_parts(manifest: dict[str, Any]) -> list[str]:
    return [str(part["path"]) for part in manifest.get("parts", [])]
