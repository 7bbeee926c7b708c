"""Random histories, SQLite to DuckDB and PostgreSQL to PostgreSQL: nothing lost, nothing doubled, whatever crashes."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.machines import Machine, SessionsMachine
from tests.faults.places import DuckdbPlace, Place, PostgresPlace, SqlitePlace

_numbers = itertools.count()
FEW = settings(max_examples=4, stateful_step_count=10)
MANY = settings(max_examples=30, stateful_step_count=25)


class EmbeddedMachine(Machine):
    """SQLite to DuckDB."""

    root: Path

    def make_places(self) -> tuple[Place, Place, Path]:
        folder = Path(tempfile.mkdtemp(dir=self.root))
        return SqlitePlace(folder / "source.db"), DuckdbPlace(folder / "target.duckdb"), folder

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


class ServerMachine(SessionsMachine):
    """PostgreSQL to PostgreSQL, each history in two schemas of its own."""

    root: Path
    url: str
    runner: asyncio.Runner

    def make_places(self) -> tuple[Place, Place, Path]:
        number = next(_numbers)
        places = [PostgresPlace(self.url, f"{side}_{os.getpid()}_{number}") for side in ("src", "dst")]
        for place in places:
            place.execute(f'CREATE SCHEMA "{place.schema}"')
        return places[0], places[1], Path(tempfile.mkdtemp(dir=self.root))

    @property
    def stream(self) -> str:
        assert isinstance(self.source, PostgresPlace)
        return f"{self.source.schema}.rows"

    def open_session(self) -> Any:
        import asyncpg

        assert isinstance(self.source, PostgresPlace)
        path = {"search_path": f'"{self.source.schema}"', "application_name": "oracle"}
        link = self.runner.run(asyncpg.connect(self.url, server_settings=path))
        self.runner.run(link.execute("BEGIN"))

        def execute(statement: str) -> None:
            self.runner.run(link.execute(statement))
            if statement in ("COMMIT", "ROLLBACK"):
                self.runner.run(link.close())

        return execute


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


SIZES = [
    pytest.param(FEW, id="few"),
    pytest.param(MANY, id="many", marks=[pytest.mark.faults, pytest.mark.timeout(1800)]),
]


@pytest.mark.feature("M3", "N2")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("strategy", ["append", "upsert"])
def test_any_history_of_a_sqlite_table_reaches_duckdb_once(strategy: str, size: settings, tmp_path: Path) -> None:
    machine = type("EmbeddedMachine", (EmbeddedMachine,), {"strategy": strategy, "root": tmp_path})
    run_state_machine_as_test(machine, settings=size)


@pytest.mark.postgres
@pytest.mark.feature("M3", "N2", "N14")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("strategy", ["append", "upsert"])
def test_any_history_of_a_postgres_table_reaches_postgres_once(
    strategy: str, size: settings, tmp_path: Path, postgres_url: str, runner: asyncio.Runner
) -> None:
    body = {"strategy": strategy, "root": tmp_path, "url": postgres_url, "runner": runner}
    run_state_machine_as_test(type("ServerMachine", (ServerMachine,), body), settings=size)
