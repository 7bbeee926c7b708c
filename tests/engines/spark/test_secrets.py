"""Secrets of connections on their way to tasks: in the closure only, or, by `secrets: executor`, not even there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.engines.spark import move, task
from penstock.errors import ConfigError
from penstock.pipeline.project import Project
from penstock.pipeline.results import RunOptions
from penstock.testing.project import ProjectFolder
from tests.engines.spark.lab import Lab, make_lab

pytestmark = [pytest.mark.feature("M9"), pytest.mark.postgres, pytest.mark.timeout(120)]

SECRET = "pa55-of-the-shop"


def lab_with(password: str, folder: Path, url: str, settings: dict[str, Any], **table: Any) -> Lab:
    """Both ends with a password, which the server of the tests takes whatever it is; beside it a file that has it."""
    tables = [{"target_name": "copy", **table}]
    lab = make_lab(
        folder / "lab", tables, source="postgres", destination="postgres", url=url, settings={"spark": settings}
    )
    path = lab.write()
    for place in (lab.source, lab.destination):
        entry = place.connection().removesuffix("}")
        path.write_text(path.read_text().replace(entry, f'{entry}, password: "{password}"'))
    (lab.folder / "secret").write_text(f"{SECRET}\n")
    return lab


def run(lab: Lab, spark: Any) -> Any:
    return Project.open(lab.folder / "penstock.yaml").run(options=RunOptions(spark=spark))


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the tasks of a run are told, as it goes to Spark."""
    found: list[bytes] = []

    def tasks(orders: Any) -> Any:
        made: Any = task.tasks(orders)
        found.append(made.args[1])
        return made

    monkeypatch.setattr(move, "tasks", tasks)
    return found


@pytest.mark.parametrize(("mode", "travels"), [("driver", True), ("executor", False)])
@pytest.mark.parametrize("password", ["file:secret", "${SHOP_PASSWORD}"])
def test_what_tasks_are_told_holds_secrets_by_the_default_alone(
    mode: str,
    travels: bool,
    password: str,
    sent: list[bytes],
    tmp_path: Path,
    postgres_url: str,
    spark: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", SECRET)  # of this process: the workers' environment is older
    lab = lab_with(password, tmp_path, postgres_url, {"secrets": mode})
    run(lab, spark)
    assert sent
    assert [SECRET.encode() in one for one in sent] == [travels] * len(sent)


def test_tasks_fetch_a_secret_by_its_reference(tmp_path: Path, postgres_url: str, spark: Any) -> None:
    lab = lab_with("file:secret", tmp_path, postgres_url, {"secrets": "executor"})
    assert not run(lab, spark).errors
    assert lab.rows() == lab.source.rows("rows")


def test_a_variable_that_executors_lack_is_named_and_its_value_here_is_not(
    tmp_path: Path, postgres_url: str, spark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", SECRET)
    lab = lab_with("${SHOP_PASSWORD}", tmp_path, postgres_url, {"secrets": "executor"})
    [error] = run(lab, spark).errors.values()
    assert isinstance(error, ConfigError)
    assert "where the tasks run, the environment variable SHOP_PASSWORD is not set" in str(error)
    assert error.fix
    assert SECRET not in str(error)
    assert lab.rows() is None
    assert lab.destination.litter() == []


@pytest.mark.parametrize(
    ("password", "table", "said"),
    [
        (SECRET, {}, "a secret of connection 'here' is written in the project itself"),
        ("file:secret", {"spark": {"io": "jdbc"}}, "io: jdbc and settings.spark.secrets: executor exclude each other"),
    ],
)
def test_what_executors_cannot_fetch_is_refused(
    password: str, table: dict[str, Any], said: str, tmp_path: Path, postgres_url: str, spark: Any
) -> None:
    [error] = run(lab_with(password, tmp_path, postgres_url, {"secrets": "executor"}, **table), spark).errors.values()
    assert isinstance(error, ConfigError)
    assert said in str(error)
    assert SECRET not in str(error)
    assert error.fix


def test_no_event_of_spark_and_no_log_shows_a_secret(tmp_path: Path, postgres_url: str) -> None:
    """Of a session of its own: what its pages show is made of its events."""
    events = tmp_path / "events"
    events.mkdir()
    config = {"spark.eventLog.enabled": True, "spark.eventLog.compress": False, "spark.eventLog.dir": str(events)}
    lab = lab_with("file:secret", tmp_path, postgres_url, {"master": "local[1]", "extra_config": config})
    ended = ProjectFolder(lab.folder).run("run", "--engine", "spark")
    assert ended.exit_code == 0, ended.said
    files = [path for path in events.rglob("*") if path.is_file()]
    shown = b"".join(path.read_bytes() for path in files)
    assert b"SparkListenerJobEnd" in shown
    assert SECRET.encode() not in shown
    assert SECRET not in ended.said
    assert lab.rows() == lab.source.rows("rows")
