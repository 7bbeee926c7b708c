"""A pipeline, an environment or a project under a new name: refused with the way out, and the way out works."""

from __future__ import annotations

import json
import sqlite3

import pytest

from penstock.testing.project import ProjectFolder

PROJECT = """\
version: 2
default_environment: dev
dev:
  connections:
    s: {variant: sqlite, database: source.db}
    d: {variant: duckdb, database: target.duckdb}
  pipelines:
    - name: old
      source: s
      destination: d
      tables:
        - name: t
          target_name: t
          replication_method: incremental
          iterate_column: id
          iterate_column_type: int
"""
OLD = "old.yaml"
SHARED = PROJECT.replace("name: old", "name: new") + "          shared: true\n"


@pytest.fixture
def project(tmp_project: ProjectFolder) -> ProjectFolder:
    """Loaded once by pipeline `old` of environment `dev`, whose file stays beside the one that is changed."""
    tmp_project.write(PROJECT)
    tmp_project.write(PROJECT, OLD)
    add_rows(tmp_project, 1, 2)
    assert tmp_project.run("run", "--quiet").exit_code == 0
    return tmp_project


def add_rows(project: ProjectFolder, *ids: int) -> None:
    with sqlite3.connect(project.path / "source.db") as database:
        database.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER)")
        database.executemany("INSERT INTO t VALUES (?)", [(n,) for n in ids])
    database.close()


def written(project: ProjectFolder, *words: str) -> int:
    done = project.run("run", "--json", *words)
    assert done.exit_code == 0, done.said
    return int(json.loads(done.stdout)["tables"][0]["rows_written"])


def owner(project: ProjectFolder) -> object:
    return json.loads(project.run("status", "--json").stdout)["tables"][0]["owner"]


def test_a_renamed_pipeline_takes_its_tables_over_and_goes_on_from_their_cursor(project: ProjectFolder) -> None:
    project.write(PROJECT.replace("name: old", "name: new"))
    for words in (["run"], ["plan"], ["run", "--full-refresh", "-y"]):
        refused = project.run(*words)
        assert refused.exit_code == 4
        assert "table t belongs to 'dev/old', this is 'dev/new'" in refused.said
        assert "if pipeline 'old' is called 'new' now, write shared: true on the table" in refused.said
    project.write(SHARED)
    assert written(project) == 0  # an idle table changes hands with its next load
    assert owner(project) == "dev/old"
    add_rows(project, 3)
    assert written(project) == 1
    assert owner(project) is None
    project.write(PROJECT.replace("name: old", "name: new"))
    assert written(project) == 0
    assert project.run("run", "-c", OLD).exit_code == 4
    assert project.run("verify").exit_code == 0


def test_a_full_refresh_hands_an_idle_table_over_at_once(project: ProjectFolder) -> None:
    project.write(SHARED)
    assert written(project, "--full-refresh", "-y") == 2
    project.write(PROJECT.replace("name: old", "name: new"))
    assert written(project) == 0


def test_the_old_owner_of_a_shared_table_writes_on_where_it_says_shared_too(project: ProjectFolder) -> None:
    project.write(SHARED)
    project.write(PROJECT + "          shared: true\n", OLD)
    add_rows(project, 3)
    assert written(project) == 1
    add_rows(project, 4)
    assert written(project, "-c", OLD) == 1
    assert written(project) == 0  # one cursor for both
    assert project.run("verify").exit_code == 0


def test_a_renamed_environment_keeps_its_tables_by_the_projects_id(project: ProjectFolder) -> None:
    renamed = PROJECT.replace("dev", "prod")
    project.write(renamed)
    refused = project.run("run")
    assert (refused.exit_code, "write project: dev at the top of the file" in refused.said) == (4, True)
    project.write(f"project: dev\n{renamed}")
    add_rows(project, 3)
    assert written(project) == 1
