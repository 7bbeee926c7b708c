"""mkpipe's quick start, as its users have it, on real servers: its file, its flags and its calls, under our name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import chdir
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl
import pytest

import penstock
from penstock.testing.project import Ended, ProjectFolder

PROJECT = """\
version: 2
default_environment: prod
prod:
  settings:
    timezone: UTC
    log_dir: logs
    backend:
      variant: sqlite

  connections:
    source_pg:
      variant: postgres
      host: localhost
      port: {port}
      database: {source}
      user: ${{PG_USER}}
      password: ${{PG_PASSWORD}}
      schema: public

    target_pg:
      variant: postgres
      host: localhost
      port: {port}
      database: {target}
      user: ${{PG_USER}}
      password: ${{PG_PASSWORD}}
      schema: staging

  pipelines:
    - name: my_pipeline
      source: source_pg
      destination: target_pg
      tables:
        - name: public.users
          target_name: stg_users
          tags: [api, user-domain]
          replication_method: incremental
          iterate_column: updated_at
          iterate_column_type: datetime
          write_strategy: upsert
          write_key: [id]

        - name: public.orders
          target_name: stg_orders
          tags: [api, order-domain]
          replication_method: full
"""
SOURCE = """
CREATE TABLE users (id int PRIMARY KEY, name text, updated_at timestamp);
INSERT INTO users
SELECT n, 'user ' || n, timestamp '2024-01-01' + n * interval '1 minute' FROM generate_series(1, 50) n;
CREATE TABLE orders (id int PRIMARY KEY, user_id int, amount numeric(10,2));
INSERT INTO orders SELECT n, n % 50 + 1, n * 1.25 FROM generate_series(1, 200) n
"""
LOGIN = {"PG_USER": "postgres", "PG_PASSWORD": "it-is-not-asked-for"}
pytestmark = [pytest.mark.postgres, pytest.mark.feature("M1", "M2")]


class QuickStart:
    """The project's folder and its two databases."""

    def __init__(self, folder: ProjectFolder, source: str, target: str) -> None:
        self.folder, self.source, self.target = folder, source, target
        self.config = folder.path / "mkpipe_project.yaml"
        self.write(PROJECT)

    def write(self, project: str) -> None:
        port, names = urlsplit(self.source).port, [url.rpartition("/")[2] for url in (self.source, self.target)]
        self.config.write_text(project.format(port=port, source=names[0], target=names[1]), encoding="utf-8")

    def run(self, *words: str, env: dict[str, str] | None = None) -> Ended:
        return self.folder.run("run", "-c", "mkpipe_project.yaml", *words, env=LOGIN if env is None else env)

    def moved(self, *words: str) -> dict[str, tuple[str, int]]:
        """State and rows written of each table of one run."""
        done = self.run("--json", *words)
        assert done.exit_code == 0, done.said
        return {t["target"]: (t["state"], t["rows_written"]) for t in json.loads(done.stdout)["tables"]}

    def change(self, statement: str) -> None:
        asyncio.run(execute(self.source, statement))

    def count(self, table: str) -> int:
        return int(str(self.ask(f"SELECT count(*) FROM staging.{table}")[0][0]))

    def ask(self, query: str) -> list[tuple[object, ...]]:
        return asyncio.run(fetch(self.target, query))


async def execute(url: str, statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def fetch(url: str, query: str) -> list[tuple[object, ...]]:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


@pytest.fixture
def quick(tmp_project: ProjectFolder, postgres_url: str) -> Iterator[QuickStart]:
    target = f"{postgres_url}_dwh"
    server, _, name = target.rpartition("/")
    asyncio.run(execute(f"{server}/postgres", f'CREATE DATABASE "{name}"'))
    asyncio.run(execute(postgres_url, SOURCE))
    yield QuickStart(tmp_project, postgres_url, target)
    asyncio.run(execute(f"{server}/postgres", f'DROP DATABASE "{name}" WITH (FORCE)'))


def test_it_runs_as_it_is_and_incrementally_the_second_time(quick: QuickStart) -> None:
    first = quick.moved()
    assert first == {"staging.stg_users": ("succeeded", 50), "staging.stg_orders": ("succeeded", 200)}
    quick.change("UPDATE users SET name = 'renamed', updated_at = '2024-06-01' WHERE id = 7")
    quick.change("INSERT INTO users VALUES (51, 'new', '2024-06-02'); DELETE FROM orders WHERE id > 150")
    second = quick.moved()
    assert second == {"staging.stg_users": ("succeeded", 2), "staging.stg_orders": ("succeeded", 150)}
    assert (quick.count("stg_users"), quick.count("stg_orders")) == (51, 150)
    assert quick.ask("SELECT name FROM staging.stg_users WHERE id IN (7, 51) ORDER BY id") == [("renamed",), ("new",)]
    assert quick.moved()["staging.stg_users"] == ("idle", 0)


def test_types_arrive_as_they_are_and_the_ingestion_time_is_added(quick: QuickStart) -> None:
    quick.moved()
    query = (
        "SELECT column_name, data_type FROM information_schema.columns "
        "WHERE table_schema = 'staging' AND table_name = 'stg_orders' ORDER BY ordinal_position"
    )
    assert quick.ask(query) == [
        ("id", "integer"),
        ("user_id", "integer"),
        ("amount", "numeric"),
        ("_ingested_at", "timestamp with time zone"),
    ]
    assert quick.ask("SELECT sum(amount) FROM staging.stg_orders")[0][0] == 25_125


def test_user_and_password_may_be_kept_in_a_file_beside_the_project(quick: QuickStart) -> None:
    quick.folder.write("PG_USER=postgres\nPG_PASSWORD=it-is-not-asked-for\n", ".env")
    done = quick.run(env={})
    assert done.exit_code == 0, done.said
    assert quick.count("stg_users") == 50


def test_without_user_and_password_both_variables_are_named_with_their_lines(quick: QuickStart) -> None:
    done = quick.run(env={})
    assert done.exit_code == 2
    assert "4 mistakes in mkpipe_project.yaml" in done.stderr
    assert "PG_USER is not set\n  at: mkpipe_project.yaml:16:13" in done.stderr
    assert "PG_PASSWORD is not set\n  at: mkpipe_project.yaml:17:17" in done.stderr


def test_the_password_is_said_nowhere(quick: QuickStart) -> None:
    said = quick.run("--verbose").said + "".join(
        quick.folder.run(*words, "-c", "mkpipe_project.yaml", *more, env=LOGIN).said
        for words in (["plan"], ["check"], ["show", "last"], ["status"])
        for more in ([], ["--json"])
    )
    logs = "".join(file.read_text() for file in (quick.folder.path / "logs").iterdir())
    assert LOGIN["PG_PASSWORD"] not in said + logs


@pytest.mark.parametrize(
    ("words", "targets"),
    [
        (["--tags", "user-domain"], {"stg_users"}),
        (["--tags", "user-domain,order-domain"], {"stg_users", "stg_orders"}),
        (["-p", "my_pipeline", "--tags", "order-domain"], {"stg_orders"}),
        (["-t", "stg_users"], {"stg_users"}),
        (["--table", "public.orders"], {"stg_orders"}),
        (["--pipeline", "my_pipeline"], {"stg_users", "stg_orders"}),
    ],
    ids=lambda value: " ".join(sorted(value)) if isinstance(value, set) else " ".join(value),
)
def test_filters_choose_tables(quick: QuickStart, words: list[str], targets: set[str]) -> None:
    assert {name.removeprefix("staging.") for name in quick.moved(*words)} == targets


@pytest.mark.parametrize("words", [["-p", "mine"], ["-t", "users"], ["--tags", "web"]], ids=" ".join)
def test_a_filter_that_selects_nothing_is_an_error(quick: QuickStart, words: list[str]) -> None:
    done = quick.run(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words[1] in done.stderr


@pytest.mark.parametrize("passes", [True, False])
def test_a_failing_table_stops_the_pipeline_unless_it_may_be_passed_over(quick: QuickStart, *, passes: bool) -> None:
    broken = PROJECT.replace("public.users", "public.user")
    if passes:
        broken = broken.replace("          tags: [api, user-domain]", "          pass_on_error: true")
    quick.write(broken.replace("timezone: UTC", "threads: 1"))
    done = quick.run("--json")
    states = {t["target"]: t["state"] for t in json.loads(done.stdout)["tables"]}
    assert done.exit_code == 1
    assert states == {"staging.stg_users": "failed", "staging.stg_orders": "succeeded" if passes else "stopped"}


def test_the_calls_of_its_python_interface(quick: QuickStart, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LOGIN.items():
        monkeypatch.setenv(name, value)
    with chdir(quick.folder.path):
        assert penstock.run(config="mkpipe_project.yaml").exit_code == 0
        assert len(penstock.run(config="mkpipe_project.yaml", pipeline="my_pipeline").tables) == 2
        assert [t.state for t in penstock.run(config="mkpipe_project.yaml", table="stg_users").tables] == ["idle"]
        assert len(penstock.run(config="mkpipe_project.yaml", tags=["api"]).tables) == 2
        assert len(penstock.run(config="mkpipe_project.yaml", tags=["api", "order-domain"]).tables) == 2
        assert len(penstock.run(config="mkpipe_project.yaml", pipeline="my_pipeline", tags=["user-domain"]).tables) == 1
        assert penstock.run().exit_code == 0


def test_extract_gives_what_the_next_run_would_read_and_load_takes_any_frame(
    quick: QuickStart, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in LOGIN.items():
        monkeypatch.setenv(name, value)
    result = penstock.extract(config=quick.config, table="stg_users")
    assert result.df.aggregate("count(*), max(id)").fetchall() == [(50, 50)]
    assert result.to_pandas().shape == (50, 3)
    penstock.run(config=quick.config, table="stg_users")
    when = [datetime(2024, 7, 1), datetime(2024, 7, 2)]
    frame = pl.DataFrame({"id": [50, 60], "name": ["changed", "loaded"], "updated_at": when})
    penstock.load(config=quick.config, table="stg_users", df=frame)
    assert quick.ask("SELECT id, name FROM staging.stg_users WHERE id >= 50 ORDER BY id") == [
        (50, "changed"),
        (60, "loaded"),
    ]
    penstock.load(config=quick.config, table="stg_orders", df=frame.select("id"), write_mode="overwrite")
    assert quick.count("stg_orders") == 2


@pytest.mark.feature("M10")
def test_a_run_that_fails_raises_an_exception_of_the_names_it_documents(
    quick: QuickStart, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penstock import (
        BackendError,
        ConfigError,
        ExtractionError,
        LoadError,
        PenstockError,
        PluginNotFoundError,
        TransformError,
    )

    for name, value in LOGIN.items():
        monkeypatch.setenv(name, value)
    kinds = (BackendError, ConfigError, ExtractionError, LoadError, PluginNotFoundError, TransformError)
    assert all(issubclass(kind, PenstockError) for kind in kinds)
    quick.change("DROP TABLE orders")
    with pytest.raises(ExtractionError, match=r"public\.orders"):
        penstock.run(config=quick.config)
    quick.write(PROJECT.replace("upsert", "upsrt"))
    with pytest.raises(ConfigError, match="did you mean 'upsert'"):
        penstock.run(config=quick.config)


def test_the_target_belongs_to_the_project_wherever_it_is_run_from(quick: QuickStart, tmp_path: Path) -> None:
    assert quick.moved()["staging.stg_users"] == ("succeeded", 50)
    elsewhere = ProjectFolder(tmp_path / "elsewhere")
    elsewhere.path.mkdir()
    done = elsewhere.run("run", "--config", str(quick.config), "-t", "stg_users", "--json", env=LOGIN)
    assert [t["state"] for t in json.loads(done.stdout)["tables"]] == ["idle"]
