"""`spark.read.format("penstock")` after `register_spark`: tables of the project's connections, by name."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.errors import ConfigError
from tests.engines.spark.lab import make_lab
from tests.engines.spark.test_extract import COPY, project_of_files, rows_of, source_rows
from tests.engines.spark.test_failures import FakeSession

pytestmark = [pytest.mark.feature("M9", "M2"), pytest.mark.timeout(120)]


class Cluster(FakeSession):
    """Takes data sources, as a session of a cluster does."""

    def __init__(self) -> None:
        super().__init__("spark://somewhere:7077", object())
        self.registered: list[Any] = []
        self.dataSource = self

    def register(self, made: Any) -> None:
        self.registered.append(made)


def reader(spark: Any, **options: str) -> Any:
    return spark.read.format("penstock").options(**options)


@pytest.mark.postgres
@pytest.mark.parametrize("source", ["postgres", "sqlite", "duckdb"])
def test_a_table_of_a_connection_is_read_by_name(source: Any, tmp_path: Path, postgres_url: str, spark: Any) -> None:
    lab = make_lab(tmp_path / "lab", COPY, source=source, url=postgres_url)
    penstock.register_spark(spark, lab.write())
    table = f"{lab.schema}.rows" if lab.schema else "rows"
    assert rows_of(reader(spark, connection="here", table=table).load()) == source_rows(lab)


@pytest.mark.postgres
def test_a_query_is_read_as_its_rows(tmp_path: Path, postgres_url: str, spark: Any) -> None:
    lab = make_lab(tmp_path / "lab", COPY, source="postgres", url=postgres_url)
    penstock.register_spark(spark, lab.write())
    query = f"SELECT id, note FROM {lab.schema}.rows WHERE id < 3"
    found = rows_of(reader(spark, connection="here", query=query).load())
    assert found == Counter({(0, None): 1, (1, "note 1"): 1, (2, "note 2"): 1})


def test_files_are_read_with_their_types(tmp_path: Path, spark: Any) -> None:
    penstock.register_spark(spark, project_of_files(tmp_path))
    frame = reader(spark, connection="lake", table="events").load()
    assert dict(frame.dtypes) == {"id": "bigint", "at": "timestamp_ntz", "seen": "timestamp"}
    assert sorted(row.id for row in frame.collect()) == [0, 1, 2, 3, 4, 5]
    assert frame.filter("id = 0").first()["at"] == datetime(2026, 1, 1, 12, 0, 1)


@pytest.mark.postgres
def test_no_password_is_in_options_plan_or_error(
    tmp_path: Path, postgres_url: str, spark: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lab = make_lab(tmp_path / "lab", COPY, source="postgres", url=postgres_url)
    path = lab.write()
    monkeypatch.setenv("SHOP_PASSWORD", "pa55-of-the-shop")
    open_ended = lab.source.connection().removesuffix("}")
    path.write_text(path.read_text().replace(open_ended, f"{open_ended}, password: '${{SHOP_PASSWORD}}'"))
    penstock.register_spark(spark, path)
    frame = reader(spark, connection="here", table=f"{lab.schema}.rows").load()
    frame.explain("extended")
    assert frame.count() == 20  # the server of the tests trusts every password
    with pytest.raises(Exception, match="absent") as raised:
        reader(spark, connection="here", table=f"{lab.schema}.absent").load().count()
    said = capfd.readouterr()
    assert "pa55-of-the-shop" not in said.out + said.err + str(raised.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"table": "rows"}, "the option 'connection' is missing"),
        ({"connection": "hero", "table": "rows"}, "no connection 'hero'"),
        ({"connection": "here"}, "one of the options 'table' and 'query' is needed"),
        ({"connection": "here", "table": "rows", "query": "SELECT 1"}, "one of the options 'table' and 'query'"),
        ({"connection": "here", "table": "rows", "password": "geheim"}, "unknown option 'password'"),
    ],
)
def test_an_option_that_is_wrong_is_told(options: dict[str, str], said: str, tmp_path: Path, spark: Any) -> None:
    penstock.register_spark(spark, make_lab(tmp_path / "lab", COPY).write())
    with pytest.raises(Exception, match=said) as raised:
        reader(spark, **options).load().count()
    assert "fix:" in str(raised.value)
    assert "geheim" not in str(raised.value)


def test_a_schema_of_ones_own_is_refused(tmp_path: Path, spark: Any) -> None:
    penstock.register_spark(spark, make_lab(tmp_path / "lab", COPY).write())
    with pytest.raises(Exception, match="a schema cannot be given"):
        reader(spark, connection="here", table="rows").schema("id string").load().count()


def test_files_of_this_machine_are_refused_on_a_cluster_when_they_are_named(tmp_path: Path, spark: Any) -> None:
    cluster = Cluster()
    penstock.register_spark(cluster, make_lab(tmp_path / "lab", COPY).write())
    [taken] = cluster.registered
    with pytest.raises(ConfigError, match="connection 'here' names files of this machine"):
        taken({"connection": "here", "table": "rows"}).schema()


def test_an_old_pyspark_is_told(tmp_path: Path, spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyspark.sql.datasource", None)
    monkeypatch.delattr("pyspark.sql.datasource", raising=False)
    with pytest.raises(ConfigError, match=r"needs pyspark 4\.0 or later"):
        penstock.register_spark(spark, make_lab(tmp_path / "lab", COPY).write())
