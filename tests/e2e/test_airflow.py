"""The Airflow example, headless, in an environment with the real Airflow."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.orchestrated import LASTING, PASSING, WHOLE, calls_of, copied_example, lake_of
from tests.environments import run, shared_environment

pytestmark = [pytest.mark.feature("M12"), pytest.mark.timeout(900)]

# As mkpipe's README has it, names aside; the last lines make a DAG of its tasks.
SNIPPET = """
from airflow.decorators import task
@task
def sync_api_tables():
    import penstock
    penstock.run(config="{project}", tags=["api"])
@task
def sync_user_domain():
    import penstock
    penstock.run(config="{project}", tags=["critical"])

from airflow.sdk import dag
@dag(schedule=None)
def snippet():
    sync_api_tables()
    sync_user_domain()
snippet()
"""


@dataclass(frozen=True)
class Airflow:
    """An installation whose database is made; every test works on a copy of it."""

    python: Path
    home: Path

    def test_dag(self, copy: Path, dag: str) -> str:
        """What `airflow dags test` said, in a home of its own; it may fail."""
        home = copy / "home"
        shutil.copytree(self.home, home)
        done = subprocess.run(
            [self.python, "-m", "airflow", "dags", "test", dag],
            cwd=copy,
            env=surroundings(home, copy / "dags", self.python),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        return done.stdout + done.stderr


def surroundings(home: Path, dags: Path, python: Path) -> dict[str, str]:
    return {
        "PATH": f"{python.parent}:/usr/bin:/bin",
        "HOME": str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "RETRY_SECONDS": "0",
    }


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    python = shared_environment(tmp_path_factory, "airflow", "apache-airflow")
    home = tmp_path_factory.mktemp("airflow")
    run(python, "-m", "airflow", "db", "migrate", cwd=home, env=surroundings(home, home / "dags", python))
    return Airflow(python, home)


def state_of(said: str) -> str:
    found = re.search(r"DagRun Finished: .*? state=(\w+)", said)
    assert found, said
    return found[1]


def test_the_snippet_written_for_mkpipe_runs(airflow: Airflow, tmp_path: Path) -> None:
    copy = copied_example("airflow", tmp_path)
    (copy / "dags" / "snippet.py").write_text(SNIPPET.format(project=copy / "penstock.yaml"))
    assert state_of(airflow.test_dag(copy, "snippet")) == "success"
    assert lake_of(copy) == WHOLE


@pytest.mark.faults
def test_tables_are_tasks_by_their_tags(airflow: Airflow, tmp_path: Path) -> None:
    copy = copied_example("airflow", tmp_path)
    assert state_of(airflow.test_dag(copy, "penstock_by_tag")) == "success"
    assert lake_of(copy) == WHOLE


def test_an_error_that_stays_fails_its_task_once_with_its_text_and_no_other_task(
    airflow: Airflow, tmp_path: Path
) -> None:
    copy = copied_example("airflow", tmp_path, LASTING)
    said = airflow.test_dag(copy, "penstock_by_table")
    assert state_of(said) == "failed"
    assert "AirflowFailException" in said
    assert "ValueError" in said
    assert "fix: " in said
    assert calls_of(copy) == 1
    assert lake_of(copy) == {"airports": WHOLE["airports"]}


@pytest.mark.faults
def test_an_error_that_passes_is_tried_again(airflow: Airflow, tmp_path: Path) -> None:
    copy = copied_example("airflow", tmp_path, PASSING)
    said = airflow.test_dag(copy, "penstock_by_table")
    assert state_of(said) == "success", said
    assert calls_of(copy) > 1
    assert lake_of(copy) == WHOLE
