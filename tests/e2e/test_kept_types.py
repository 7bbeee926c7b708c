"""The columns of a target keep their kind: what a source spells in another way is located, never a reason for text."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import asyncpg
import duckdb
import pyarrow as pa
import pytest

import penstock
from penstock.errors import ContractError
from penstock.testing.project import Ended, ProjectFolder
from tests.e2e.urls import connection_line

PROJECT = """
version: 2
default_environment: dev
dev:
  settings: {{retries: 0}}
  connections:
    landing: {{variant: file, extra: {{path: data, format: {format}}}}}
    d: {target}
  pipelines:
    - name: p
      source: landing
      destination: d
      tables:
        - {{name: t, target_name: t, on_existing: append, write_strategy: {strategy}{more}}}
"""
DUCKDB = "{variant: duckdb, database: d.duckdb}"


def write(
    project: ProjectFolder, more: str = "", *, target: str = DUCKDB, form: str = "csv", strategy: str = "append"
) -> None:
    project.write(PROJECT.format(target=target, more=more, format=form, strategy=strategy))


def put(project: ProjectFolder, text: str, name: str = "t/1.csv") -> None:
    path = project.path / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def create(project: ProjectFolder, *statements: str) -> None:
    with closing(duckdb.connect(str(project.path / "d.duckdb"))) as link:
        for statement in statements:
            link.execute(statement)


def rows(project: ProjectFolder, query: str = "SELECT id, v FROM t ORDER BY id") -> list[Any]:
    with closing(duckdb.connect(str(project.path / "d.duckdb"))) as link:
        found: list[Any] = link.execute(query).fetchall()
        return found


def kind(project: ProjectFolder, column: str = "v") -> str:
    return str(
        rows(project, f"SELECT data_type FROM duckdb_columns() WHERE table_name = 't' AND column_name = '{column}'")[0][
            0
        ]
    )


def done(ended: Ended) -> Ended:
    assert ended.exit_code == 0, ended.said
    return ended


@pytest.mark.parametrize("strategy", ["append", "replace"])
def test_one_cell_of_text_is_located_and_makes_no_column_text(tmp_project: ProjectFolder, strategy: str) -> None:
    write(tmp_project, strategy=strategy)
    put(tmp_project, "id,v\n1,10\n")
    done(tmp_project.run("run"))
    put(tmp_project, "id,v\n2,20\n3,n/a\n")
    planned = done(tmp_project.run("plan"))
    assert "v: read as int64, the type of the table's column; the files hold other cells" in planned.said
    ended = tmp_project.run("run")
    assert ended.exit_code == 1
    assert "t/1.csv, line 3, column 'v': a value that is no int64" in ended.said
    assert "columns: {v: string}" in ended.said
    assert "n/a" not in ended.said
    assert (kind(tmp_project), rows(tmp_project)) == ("BIGINT", [(1, 10)])


def test_json_lines_too(tmp_project: ProjectFolder) -> None:
    write(tmp_project, form="jsonl")
    put(tmp_project, '{"id": 1, "v": 10}\n', "t/1.jsonl")
    done(tmp_project.run("run"))
    put(tmp_project, '{"id": 2, "v": 20}\n\n{"id": 3, "v": "n/a"}\n', "t/1.jsonl")
    ended = tmp_project.run("run")
    assert "t/1.jsonl, line 3, column 'v': a value that is no int64" in ended.said
    assert (kind(tmp_project), rows(tmp_project)) == ("BIGINT", [(1, 10)])


@pytest.mark.parametrize(
    ("declared", "cells", "stored"),
    [
        ("BIGINT", ",", (None, None)),
        ("DECIMAL(12,2)", "5,6", ("5.00", "6.00")),
        ("DECIMAL(12,2)", "1.5,2.25", ("1.50", "2.25")),
        ("DOUBLE", "5,6", ("5.0", "6.0")),
        ("VARCHAR", "5,6.50", ("5", "6.50")),
        ("VARCHAR", "2024-01-01,true", ("2024-01-01", "true")),
        ("DATE", ",2024-01-01", (None, "2024-01-01")),
        ("SMALLINT", "5,6", ("5", "6")),
        ("UUID", "7d444840-9dc0-11d1-b245-5ffdce74fad2,", ("7d444840-9dc0-11d1-b245-5ffdce74fad2", None)),
        ("JSON", "[1],", ("[1]", None)),
    ],
)
def test_what_is_guessed_narrower_is_read_as_the_column_is(
    tmp_project: ProjectFolder, declared: str, cells: str, stored: tuple[str | None, ...]
) -> None:
    create(tmp_project, f"CREATE TABLE t (id BIGINT, v {declared})")
    write(tmp_project)
    first, second = cells.split(",")
    put(tmp_project, f"id,v\n1,{first}\n2,{second}\n")
    done(tmp_project.run("run"))
    assert rows(tmp_project, "SELECT v::VARCHAR FROM t ORDER BY id") == [(cell,) for cell in stored]
    assert kind(tmp_project) == declared


@pytest.mark.parametrize(
    ("declared", "cell", "wider"),
    [("INTEGER", "3000000000", "BIGINT"), ("INTEGER", "1.5", "DOUBLE"), ("DATE", "2024-01-01 10:00:00", "TIMESTAMP")],
)
def test_a_column_still_widens_within_its_kind(
    tmp_project: ProjectFolder, declared: str, cell: str, wider: str
) -> None:
    create(tmp_project, f"CREATE TABLE t (id BIGINT, v {declared})")
    write(tmp_project)
    put(tmp_project, f"id,v\n1,{cell}\n")
    done(tmp_project.run("run"))
    assert kind(tmp_project) == wider


def test_a_leading_zero_is_no_number_of_the_tables_unless_its_type_is_named(tmp_project: ProjectFolder) -> None:
    create(tmp_project, "CREATE TABLE t (id BIGINT, v BIGINT)")
    write(tmp_project)
    put(tmp_project, "id,v\n1,0123\n")
    assert "line 2, column 'v'" in tmp_project.run("run").said
    write(tmp_project, ", columns: {v: int64}")
    done(tmp_project.run("run"))
    assert rows(tmp_project) == [(1, 123)]


@pytest.mark.parametrize("strategy", ["append", "replace"])
def test_a_column_becomes_text_on_request(tmp_project: ProjectFolder, strategy: str) -> None:
    write(tmp_project, strategy=strategy)
    put(tmp_project, "id,v\n1,10\n")
    done(tmp_project.run("run"))
    put(tmp_project, "id,v\n2,n/a\n3,007\n")
    write(tmp_project, ", columns: {v: string}", strategy=strategy)
    done(tmp_project.run("run"))
    kept = [(1, "10")] if strategy == "append" else []
    assert (kind(tmp_project), rows(tmp_project)) == ("VARCHAR", [*kept, (2, "n/a"), (3, "007")])


@pytest.mark.postgres
def test_a_postgres_column_becomes_text_on_request_only(tmp_project: ProjectFolder, postgres_url: str) -> None:
    target = connection_line(postgres_url, "public")
    write(tmp_project, target=target)
    put(tmp_project, "id,v\n1,10\n")
    done(tmp_project.run("run"))
    put(tmp_project, "id,v\n2,n/a\n")
    assert "t/1.csv, line 2, column 'v'" in tmp_project.run("run").said
    write(tmp_project, ", columns: {v: string}", target=target)
    done(tmp_project.run("run"))

    async def look() -> list[tuple[Any, ...]]:
        link = await asyncpg.connect(postgres_url)
        try:
            return [tuple(r) for r in await link.fetch("SELECT id, v, pg_typeof(v)::text FROM t ORDER BY id")]
        finally:
            await link.close()

    assert asyncio.run(look()) == [(1, "10", "text"), (2, "n/a", "text")]


TYPED = """
version: 2
default_environment: dev
dev:
  settings: {{retries: 0}}
  connections:
    s: {{variant: duckdb, database: s.duckdb}}
    d: {{variant: duckdb, database: d.duckdb}}
  pipelines:
    - name: p
      source: s
      destination: d
      tables:
        - {{name: t, target_name: t, on_existing: append, write_strategy: {strategy}{more}}}
"""


def make_source(project: ProjectFolder, declared: str, value: str) -> None:
    with closing(duckdb.connect(str(project.path / "s.duckdb"))) as link:
        link.execute(f"CREATE OR REPLACE TABLE t (id BIGINT, v {declared})")
        link.execute(f"INSERT INTO t VALUES (2, {value})")


@pytest.mark.parametrize("strategy", ["append", "replace"])
def test_text_of_a_database_does_not_make_a_number_column_text(tmp_project: ProjectFolder, strategy: str) -> None:
    make_source(tmp_project, "BIGINT", "10")
    tmp_project.write(TYPED.format(strategy=strategy, more=""))
    done(tmp_project.run("run"))
    make_source(tmp_project, "VARCHAR", "'n/a'")
    for command in ("plan", "run"):
        ended = tmp_project.run(command)
        assert ended.exit_code == 1, ended.said
        assert "t: the stream does not fit the table: v: string does not fit the table's int64" in ended.said
        assert "penstock.yaml:14" in ended.said
        assert "columns: {v: int64}" in ended.said
        assert "columns: {v: string}" in ended.said
    assert (kind(tmp_project), rows(tmp_project)) == ("BIGINT", [(2, 10)])
    tmp_project.write(TYPED.format(strategy=strategy, more=", columns: {v: string}"))
    done(tmp_project.run("run"))
    kept = [(2, "10")] if strategy == "append" else []
    assert (kind(tmp_project), rows(tmp_project)) == ("VARCHAR", [*kept, (2, "n/a")])


def test_a_full_refresh_takes_the_types_anew(tmp_project: ProjectFolder) -> None:
    make_source(tmp_project, "BIGINT", "10")
    tmp_project.write(TYPED.format(strategy="append", more=""))
    done(tmp_project.run("run"))
    make_source(tmp_project, "VARCHAR", "'n/a'")
    done(tmp_project.run("run", "--full-refresh", "--yes"))
    assert kind(tmp_project) == "VARCHAR"


def test_a_frame_of_text_does_not_make_a_number_column_text(tmp_project: ProjectFolder) -> None:
    make_source(tmp_project, "BIGINT", "10")
    tmp_project.write(TYPED.format(strategy="append", more=""))
    done(tmp_project.run("run"))
    frame = pa.table({"id": [3], "v": ["n/a"]})
    path = tmp_project.path / "penstock.yaml"
    with pytest.raises(ContractError, match=r"v: string does not fit the table's int64"):
        penstock.load(path, table="t", df=frame)
    assert (kind(tmp_project), rows(tmp_project)) == ("BIGINT", [(2, 10)])
    tmp_project.write(TYPED.format(strategy="append", more=", columns: {v: int64}"))
    penstock.load(path, table="t", df=pa.table({"id": [4], "v": ["40"]}))
    assert (kind(tmp_project), rows(tmp_project)) == ("BIGINT", [(2, 10), (4, 40)])
    tmp_project.write(TYPED.format(strategy="append", more=", columns: {v: string}"))
    penstock.load(path, table="t", df=frame)
    assert (kind(tmp_project), rows(tmp_project)) == ("VARCHAR", [(2, "10"), (3, "n/a"), (4, "40")])
