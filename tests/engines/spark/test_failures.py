"""What goes wrong in tasks, around them and to them: told once, doubled never, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.engines.spark import task
from penstock.engines.spark.reports import error_of_job
from penstock.errors import ConfigError, PluginNotFoundError, TransformError
from penstock.pipeline.project import Project
from penstock.pipeline.results import RunOptions, Selection
from tests.engines.spark.lab import INCREMENTAL, Lab, make_lab
from tests.engines.spark.server import python_without_penstock

pytestmark = [pytest.mark.feature("M9", "N2")]

# Each runs in the task; the marks it leaves beside itself count its attempts.
ATTEMPTS = """
import os, pathlib, signal
from pyspark import TaskContext

def attempts():
    here = pathlib.Path(__file__).parent
    attempt = TaskContext.get().attemptNumber()
    (here / f"attempt-{attempt}-{os.getpid()}").touch()
    return attempt
"""
KILLS = (
    ATTEMPTS
    + """
def f(df: "pyarrow.Table"):
    if df.num_rows and attempts() == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return df
"""
)
RAISES = (
    ATTEMPTS
    + """
def f(df: "pyarrow.Table"):
    if df.num_rows:
        attempts()
        raise ValueError("row 4711 is wrong")
    return df
"""
)
WEARY = (
    ATTEMPTS
    + """
from penstock.errors import ExtractionError

def f(df: "pyarrow.Table"):
    if df.num_rows and attempts() < 1:
        raise ExtractionError("the network was gone", fault="transient")
    return df
"""
)
SLEEPS = """
import pathlib, time

def f(df: "pyarrow.Table"):
    if df.num_rows:
        (pathlib.Path(__file__).parent / "asleep").touch()
        time.sleep(60)
    return df
"""


class FakeContext:
    def __init__(self, master: str, jsc: object) -> None:
        self.master, self._jsc = master, jsc


class FakeSession:
    """What is looked at before the first job; `jsc` is None once a session is closed."""

    def __init__(self, master: str, jsc: object) -> None:
        self.sparkContext = FakeContext(master, jsc)


CLUSTER = FakeSession("spark://somewhere:7077", object())


def lab_with(text: str, folder: Path, **options: Any) -> Lab:
    lab = make_lab(folder / "lab", [{"target_name": "copy", "transform": "t.py::f", **INCREMENTAL}], **options)
    (lab.folder / "t.py").write_text(text)
    return lab


def attempts_of(lab: Lab) -> list[str]:
    return sorted(path.name.split("-")[1] for path in lab.folder.glob("attempt-*"))


@pytest.mark.postgres
@pytest.mark.parametrize("text", [KILLS, WEARY], ids=["worker killed", "passing trouble"])
@pytest.mark.parametrize(("source", "destination"), [("postgres", "postgres"), ("sqlite", "duckdb")])
def test_a_task_that_fails_is_tried_again_and_doubles_nothing(
    text: str, source: Any, destination: Any, tmp_path: Path, postgres_url: str, spark: object
) -> None:
    lab = lab_with(text, tmp_path, source=source, destination=destination, url=postgres_url)
    result = lab.run(spark)
    assert not result.errors, result.errors
    assert attempts_of(lab)[-1] == "1" or len(attempts_of(lab)) > 1
    assert lab.rows() == lab.source.rows("rows")
    assert lab.destination.litter() == []
    assert lab.open().verify()[0].state == "equal"


@pytest.mark.postgres
def test_an_error_that_cannot_get_better_is_told_once_with_its_place_and_no_value(
    tmp_path: Path, postgres_url: str, spark: object
) -> None:
    lab = lab_with(RAISES, tmp_path, source="postgres", destination="postgres", url=postgres_url)
    [error] = lab.run(spark).errors.values()
    assert isinstance(error, TransformError)
    assert f"{lab.folder}/t.py:" in str(error)
    assert "ValueError" in str(error)
    assert "4711" not in str(error)
    assert attempts_of(lab) == ["0"]
    assert lab.rows() is None
    assert lab.destination.litter() == []


@pytest.mark.postgres
@pytest.mark.parametrize(("source", "destination"), [("postgres", "postgres"), ("sqlite", "duckdb")])
def test_a_stop_cancels_the_tasks_and_leaves_the_session_alone(
    source: Any, destination: Any, tmp_path: Path, postgres_url: str, spark: Any
) -> None:
    lab = lab_with(SLEEPS, tmp_path, source=source, destination=destination, url=postgres_url)
    stop = threading.Event()

    def stop_when_asleep() -> None:
        deadline = time.monotonic() + 60
        while not (lab.folder / "asleep").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        stop.set()

    waiter = threading.Thread(target=stop_when_asleep)
    waiter.start()
    began = time.monotonic()
    result = lab.open().run(Selection(), RunOptions(spark=spark), stop=stop)
    waiter.join()
    assert time.monotonic() - began < 40
    assert (result.state, result.exit_code) == ("stopped", 130)
    assert lab.rows() is None
    assert lab.destination.litter() == []
    assert spark.range(3).count() == 3


def test_a_given_session_is_not_ended(tmp_path: Path, spark: Any) -> None:
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy"}])
    penstock.run(lab.write(), spark=spark)
    assert spark.range(3).count() == 3


def test_a_closed_session_is_a_mistake_with_a_way_out(tmp_path: Path, spark: Any) -> None:
    closed = FakeSession("local[2]", None)
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy"}])
    with pytest.raises(ConfigError, match="the Spark session is closed"):
        penstock.run(lab.write(), spark=closed)


def test_executors_of_another_version_are_named(tmp_path: Path, spark: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "own_version", lambda: "9.9.9")
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy"}])
    [error] = lab.run(spark).errors.values()
    assert isinstance(error, ConfigError)
    assert "this process 9.9.9" in str(error)


CLASSIC = """
import penstock
from pyspark.sql import SparkSession

spark = SparkSession.builder.master("local[1]").getOrCreate()
for _ in range(2):
    [error] = penstock.run("penstock.yaml", spark=spark, raise_on_error=False).errors.values()
    print(type(error).__name__, error)
    spark.stop()
"""


def test_executors_without_penstock_and_a_session_that_was_closed_are_told(tmp_path: Path) -> None:
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy"}])
    lab.write()
    python = python_without_penstock(tmp_path / "bare")
    env = {**os.environ, "PYSPARK_PYTHON": str(python), "PYSPARK_DRIVER_PYTHON": sys.executable}
    command = [sys.executable, "-c", CLASSIC]
    done = subprocess.run(command, cwd=lab.folder, env=env, capture_output=True, text=True, check=False, timeout=200)
    assert "ConfigError the Spark executors have no penstock" in done.stdout, done.stdout + done.stderr
    assert "ConfigError the Spark session is closed" in done.stdout, done.stdout + done.stderr
    assert lab.rows() is None


def test_executors_of_another_python_are_told() -> None:
    said = error_of_job(RuntimeError("[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.9 than 3.11"))
    assert isinstance(said, ConfigError)
    assert "another version of Python" in str(said)


def test_a_missing_pyspark_answers_with_the_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyspark"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyspark", None)
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy"}])
    [error] = lab.run(engine="spark").errors.values()
    assert isinstance(error, PluginNotFoundError)
    assert "pip install 'penstock[spark]'" in str(error)


@pytest.mark.parametrize("destination", ["duckdb", "file"])
def test_a_source_of_files_is_refused_on_a_cluster(destination: Any, tmp_path: Path) -> None:
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy"}], destination=destination)
    project, options = lab.open(), RunOptions(spark=CLUSTER)
    [planned] = project.plan(Selection(), options).tables
    [error] = project.run(Selection(), options).errors.values()
    for said in (planned.error or "", str(error)):
        assert "connection 'here' names files of this machine" in said
        assert f"{lab.folder}/penstock.yaml:6" in said
    assert error.exit_code == 2


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("destination", "said"),
    [("duckdb", "the rows of this load pass through files in settings.staging"), ("file", "connection 'there' names")],
)
def test_a_local_destination_is_refused_on_a_cluster(
    destination: Any, said: str, tmp_path: Path, postgres_url: str
) -> None:
    tables = [{"target_name": "copy"}]
    lab = make_lab(tmp_path / "lab", tables, source="postgres", destination=destination, url=postgres_url)
    [error] = lab.run(CLUSTER).errors.values()
    assert isinstance(error, ConfigError)
    assert said in str(error)


def test_a_project_may_ask_for_the_engine_itself(tmp_path: Path, spark: object) -> None:
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy"}], settings={"engine": "spark"})
    project = Project.open(lab.write())
    [planned] = project.plan().tables
    assert planned.runs.startswith("Spark tasks on ")
    assert not project.run().errors
    assert lab.rows() == lab.source.rows("rows")
