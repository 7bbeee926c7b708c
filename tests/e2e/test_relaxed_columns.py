"""A column that the source has made nullable since the target was made."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from penstock.testing.project import ProjectFolder
from tests.e2e.urls import connection_line

PROJECT = """
version: 2
default_environment: dev
dev:
  connections:
    s: {source}
    d: {target}
  pipelines:
    - name: p
      source: s
      destination: d
      tables:
        - {{name: items, target_name: items}}
"""


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@pytest.mark.postgres
def test_a_replace_follows_a_source_that_dropped_not_null(tmp_project: ProjectFolder, postgres_url: str) -> None:
    asyncio.run(_execute(postgres_url, "CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL)"))
    asyncio.run(_execute(postgres_url, "INSERT INTO items VALUES (1, 'a')"))
    source, target = (connection_line(postgres_url, schema) for schema in ("public", "copy"))
    tmp_project.write(PROJECT.format(source=source, target=target))
    assert tmp_project.run("run").exit_code == 0
    asyncio.run(
        _execute(postgres_url, "ALTER TABLE items ALTER name DROP NOT NULL", "INSERT INTO items VALUES (2, NULL)")
    )
    ended = tmp_project.run("run")
    assert ended.exit_code == 0, ended.said
    asyncio.run(_execute(postgres_url, "SELECT 1 / (count(*) = 2)::int FROM copy.items"))
