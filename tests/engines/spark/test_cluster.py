"""A cluster of two executors, each a JVM of its own: one is lost, a task runs twice, and each row is there once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.testing.project import ProjectFolder
from tests.engines.spark.cluster import Cluster
from tests.engines.spark.conftest import CHEAP
from tests.engines.spark.lab import Lab, make_lab
from tests.faults.cells import System

pytestmark = [pytest.mark.feature("M9", "N2"), pytest.mark.postgres, pytest.mark.timeout(300)]

SPECULATION = {
    "spark.speculation": "true",
    "spark.speculation.interval": "100ms",
    "spark.speculation.quantile": "0.1",
    "spark.speculation.multiplier": "1.1",
    "spark.speculation.minTaskRuntime": "100ms",
    "spark.speculation.efficiency.enabled": "false",
}
# Each of these works on the rows up to 19, the last split's; MARKS is a folder that all executors see.
MARKED = """
import os, pathlib, signal, time
import pyarrow.compute as pc
from pyspark import TaskContext

def wait_for(mark):
    deadline = time.monotonic() + 90
    while not mark.exists():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)

def f(df: "pyarrow.Table"):
    marks = pathlib.Path("MARKS")
    if df.num_rows and pc.max(df["id"]).as_py() == 19:
        attempt = TaskContext.get().attemptNumber()
        (marks / f"attempt-{attempt}").touch()
"""
BOTH_END = "        wait_for(marks / f'attempt-{1 - attempt}')\n    return df\n"
ONE_HANGS = "        if attempt == 0:\n            time.sleep(90)\n    return df\n"
EXECUTOR_DIES = """
        if attempt == 0:
            daemon = pathlib.Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()
            os.kill(int(daemon[1]), signal.SIGKILL)  # the JVM: a worker's parent is a daemon, and that one's is it
    return df
"""


FRAMED = """
from pyspark.sql import DataFrame, functions as F
import penstock

def framed(df: DataFrame) -> DataFrame:
    return df.filter("id <> 7").withColumn("loud", F.upper("note"))

@penstock.transform(scope="table")
def counted(df: "duckdb.DuckDBPyRelation"):
    return df.aggregate("count(*) AS n, sum(id)::BIGINT AS ids")
"""


@pytest.mark.parametrize("destination", ["duckdb", pytest.param("postgres", marks=pytest.mark.faults)])
def test_rows_pass_through_a_staging_url_where_executors_see_no_folder_of_this_machine(
    destination: System, cluster: Cluster, tmp_path: Path, postgres_url: str
) -> None:
    split = {"write_strategy": "replace", "partitions_column": "id", "partitions_count": 2}
    tables = [
        {"target_name": "copy", **split},
        {"target_name": "framed", "transform": "t.py::framed", **split},
        {"target_name": "counted", "transform": "t.py::counted", **split},
    ]
    staging = tmp_path / "shared"
    staging.mkdir()
    forgotten = staging / "penstock-staging-20200101T000000-0123456789ab"
    forgotten.mkdir()
    settings = {"engine": "spark", "spark": spark_of(cluster), "staging": staging.as_uri()}
    lab = make_lab(
        tmp_path / "lab", tables, source="postgres", destination=destination, url=postgres_url, settings=settings
    )
    (lab.folder / "t.py").write_text(FRAMED)
    lab.write()
    done = ProjectFolder(lab.folder).run("run", "--json", timeout_seconds=250)
    assert done.exit_code == 0, done.stderr
    told = {table["target"].rpartition(".")[2]: table for table in json.loads(done.stdout)["tables"]}
    assert [(told[name]["rows_read"], told[name]["rows_written"]) for name in ("copy", "framed", "counted")] == [
        (20, 20),
        (20, 19),
        (20, 1),
    ]
    assert lab.rows() == lab.source.rows("rows")
    assert list(staging.iterdir()) == []


def spark_of(cluster: Cluster, **config: str) -> dict[str, Any]:
    return {"master": cluster.master, "executor_memory": "512m", "extra_config": {**CHEAP, **config}}


def lab_on(cluster: Cluster, folder: Path, url: str, text: str, **config: str) -> Lab:
    spark = spark_of(cluster, **config)
    table: dict[str, Any] = {"target_name": "copy", "transform": "t.py::f", "write_strategy": "replace"}
    table |= {"partitions_column": "id", "partitions_count": 4}
    settings = {"engine": "spark", "spark": spark}
    lab = make_lab(folder / "lab", [table], source="postgres", destination="postgres", url=url, settings=settings)
    marks = folder / "marks"
    marks.mkdir()
    (lab.folder / "t.py").write_text(MARKED.replace("MARKS", str(marks)) + text)
    lab.write()
    return lab


@pytest.mark.parametrize(
    ("text", "config"),
    [
        pytest.param(BOTH_END, SPECULATION, id="both attempts end"),
        pytest.param(ONE_HANGS, SPECULATION, id="one attempt hangs", marks=pytest.mark.faults),
        pytest.param(EXECUTOR_DIES, {}, id="an executor dies"),
    ],
)
def test_two_attempts_at_a_task_on_a_cluster_leave_each_row_once(
    text: str, config: dict[str, str], cluster: Cluster, tmp_path: Path, postgres_url: str
) -> None:
    lab = lab_on(cluster, tmp_path, postgres_url, text, **config)
    done = ProjectFolder(lab.folder).run("run", "--json", timeout_seconds=200)
    assert done.exit_code == 0, done.stderr
    [table] = json.loads(done.stdout)["tables"]
    assert (table["rows_read"], table["rows_written"]) == (20, 20)
    assert {path.name for path in (tmp_path / "marks").iterdir()} == {"attempt-0", "attempt-1"}
    assert lab.rows() == lab.source.rows("rows")
    assert lab.destination.litter() == []
    assert lab.open().verify()[0].state == "equal"
