"""A Spark Connect server of its own: found, asked for a token, interrupted, and gone in the middle of a run."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import ConfigError, LoadError
from penstock.pipeline.project import Project
from penstock.pipeline.results import RunOptions
from penstock.testing.project import ProjectFolder
from tests.engines.spark.conftest import CHEAP, free_port
from tests.engines.spark.lab import Lab, make_lab
from tests.engines.spark.server import TOKEN, ConnectServer, python_without_penstock, start_server
from tests.faults.cells import finish

pytestmark = [pytest.mark.feature("M9"), pytest.mark.timeout(300)]

SLOW = """
import pathlib, time

def f(df: "pyarrow.Table"):
    if df.num_rows:
        pathlib.Path(__file__).with_name("asleep").touch()
        time.sleep(90)
    return df
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectServer]:
    started = start_server(tmp_path_factory.mktemp("server"), free_port(), CHEAP)
    yield started
    started.kill()


def lab_on(url: str, folder: Path, text: str | None = None) -> Lab:
    table: dict[str, Any] = {"target_name": "copy", **({"transform": "t.py::f"} if text else {})}
    lab = make_lab(folder / "lab", [table], settings={"engine": "spark", "spark": {"remote": url}})
    (lab.folder / "t.py").write_text(text or "")
    lab.write()
    return lab


def command(lab: Lab) -> ProjectFolder:
    """The project as `penstock` runs it: this process may hold a classic session, and one process has one kind."""
    (lab.folder / "tmp").mkdir()
    return ProjectFolder(lab.folder)


def wait_for_sleep(lab: Lab) -> None:
    deadline = time.monotonic() + 40
    while not (lab.folder / "asleep").exists():
        assert time.monotonic() < deadline, "no task of the transform has begun"
        time.sleep(0.05)


def test_a_project_runs_on_the_server_it_names(server: ConnectServer, tmp_path: Path) -> None:
    lab = lab_on(server.url, tmp_path)
    project = command(lab)
    planned = project.run("plan")
    assert f"Spark tasks on {server.address}" in planned.stdout
    ended = project.run("run", env={"TMPDIR": str(lab.folder / "tmp")})
    assert ended.exit_code == 0, ended.said
    assert lab.rows() == lab.source.rows("rows")
    assert lab.destination.litter() == []
    assert list((lab.folder / "tmp").iterdir()) == []
    assert TOKEN not in planned.said + ended.said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda url: url.replace(TOKEN, "wr0ng-token"), "the Spark Connect server refuses the token"),
        (lambda url: url.replace("sc://", "http://"), "settings.spark.remote is no address of a Spark Connect server"),
        (lambda url: url.replace("=", ""), "settings.spark.remote is no address of a Spark Connect server"),
    ],
    ids=["token", "scheme", "parameter"],
)
def test_an_address_that_cannot_be_used_is_told_without_its_token(
    change: Any, said: str, server: ConnectServer, tmp_path: Path
) -> None:
    lab = lab_on(change(server.url), tmp_path)
    ended = command(lab).run("run", "--debug")
    assert ended.exit_code == 2, ended.said
    assert said in ended.said
    assert "fix:" in ended.said
    assert TOKEN not in ended.said
    assert "wr0ng-token" not in ended.said
    assert lab.rows() is None


def test_an_interrupt_ends_the_run_and_leaves_the_server_at_rest(server: ConnectServer, tmp_path: Path) -> None:
    lab = lab_on(server.url, tmp_path, SLOW)
    process = command(lab).start("run", env={"TMPDIR": str(lab.folder / "tmp")})
    wait_for_sleep(lab)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    ended = finish(process)
    assert ended.exit_code == 130, ended.said
    assert time.monotonic() - began < 40
    assert lab.rows() is None
    assert lab.destination.litter() == []
    assert list((lab.folder / "tmp").iterdir()) == []


def test_a_closed_connect_session_is_a_mistake_with_a_way_out(tmp_path: Path, connect_spark: Any) -> None:
    connect_spark.stop()
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy"}])
    [error] = lab.run(connect_spark).errors.values()
    assert isinstance(error, ConfigError)
    assert "the Spark session is closed" in str(error)
    assert error.fix


def test_a_session_closed_in_the_middle_is_told(tmp_path: Path, connect_spark: Any) -> None:
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy", "transform": "t.py::f"}])
    (lab.folder / "t.py").write_text(SLOW)

    def close() -> None:
        wait_for_sleep(lab)
        connect_spark.stop()

    closer = threading.Thread(target=close)
    closer.start()
    [error] = lab.open().run(options=RunOptions(spark=connect_spark)).errors.values()
    closer.join()
    assert isinstance(error, ConfigError), error
    assert "the Spark session was closed while the load ran" in str(error)
    assert lab.rows() is None
    assert lab.destination.litter() == []


def test_executors_without_penstock_are_told(tmp_path: Path) -> None:
    bare = start_server(tmp_path, free_port(), CHEAP, python=str(python_without_penstock(tmp_path / "bare")))
    try:
        lab = lab_on(bare.url, tmp_path)
        ended = command(lab).run("run")
    finally:
        bare.kill()
    assert (ended.exit_code, "the Spark executors have no penstock" in ended.said) == (2, True), ended.said
    assert "fix:" in ended.said
    assert lab.rows() is None
    assert lab.destination.litter() == []


@pytest.mark.parametrize(
    ("version", "said"),
    [("3.4.4", "Spark 3.4.4 is too old for the spark engine"), ("5.0.0", "the session is of Spark 5.0.0, and this")],
)
def test_a_server_of_another_version_is_told(
    version: str, said: str, tmp_path: Path, connect_spark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(connect_spark), "version", version)
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy"}])
    [error] = lab.run(connect_spark).errors.values()
    assert isinstance(error, ConfigError)
    assert said in str(error)
    assert error.fix


@pytest.mark.faults
@pytest.mark.feature("N2")
def test_a_server_that_was_started_anew_is_used_by_the_next_attempt_of_the_same_run(tmp_path: Path) -> None:
    first = start_server(tmp_path, free_port(), CHEAP)
    second: ConnectServer | None = None
    try:
        lab = lab_on(first.url, tmp_path, SLOW)
        lab.settings = {**lab.settings, "retries": 8}
        lab.write()
        process = command(lab).start("run", env={"TMPDIR": str(lab.folder / "tmp")})
        wait_for_sleep(lab)
        (lab.folder / "t.py").write_text(SLOW.replace("90", "0"))
        first.kill()
        second = start_server(tmp_path, first.port, CHEAP)
        ended = finish(process)
    finally:
        (second or first).kill()
    assert ended.exit_code == 0, ended.said
    assert lab.rows() == lab.source.rows("rows")
    assert lab.destination.litter() == []


@pytest.mark.faults
def test_a_given_session_whose_server_is_gone_is_told(tmp_path: Path) -> None:
    started = start_server(tmp_path, free_port(), CHEAP)
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy"}])
    lab.write()
    (lab.folder / "given.py").write_text(GIVEN)
    try:
        command = [sys.executable, str(lab.folder / "given.py"), started.url, str(started.process.pid)]
        done = subprocess.run(command, cwd=lab.folder, capture_output=True, text=True, check=False, timeout=200)
    finally:
        started.kill()
    assert "ConfigError the Spark Connect session is gone" in done.stdout, done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert lab.rows() is None


GIVEN = """
import os, signal, sys
import penstock
from pyspark.sql.connect.client.retries import DefaultPolicy
from pyspark.sql.connect.session import SparkSession

session = SparkSession.builder.remote(sys.argv[1]).create()
session.client.set_retry_policies([DefaultPolicy(max_retries=2)])
session.range(1).count()
os.killpg(int(sys.argv[2]), signal.SIGKILL)
[error] = penstock.run("penstock.yaml", spark=session, raise_on_error=False).errors.values()
print(type(error).__name__, error)
os._exit(0)  # a session that is ended waits for its server
"""


@pytest.mark.feature("N2")
def test_a_server_that_goes_away_is_a_passing_fault_and_the_next_run_makes_it_good(
    tmp_path: Path, server: ConnectServer
) -> None:
    lab = lab_on(server.url, tmp_path, SLOW)
    process = command(lab).start("run", env={"TMPDIR": str(lab.folder / "tmp")})
    wait_for_sleep(lab)
    server.kill()
    ended = finish(process)
    assert ended.exit_code == LoadError("it", fault="transient").exit_code, ended.said
    assert "the Spark Connect server went away while the load ran" in ended.said
    assert TOKEN not in ended.said
    assert lab.rows() is None
    assert lab.destination.litter() == []
    assert list((lab.folder / "tmp").iterdir()) == []
    absent = ProjectFolder(lab.folder).run("run")
    assert (absent.exit_code, "the Spark Connect server does not answer" in absent.said) == (2, True), absent.said
    (lab.folder / "t.py").write_text(SLOW.replace("90", "0"))
    result = Project.open(lab.write()).run(options=RunOptions(engine="arrow"))
    assert not result.errors, result.errors
    assert lab.rows() == lab.source.rows("rows")
