"""The Dagster example, headless, in an environment with the real Dagster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.orchestrated import LASTING, PASSING, WHOLE, calls_of, copied_example, lake_of
from tests.environments import run, shared_environment

pytestmark = [pytest.mark.feature("M12"), pytest.mark.timeout(600)]

QUIET = {"DAGSTER_DISABLE_TELEMETRY": "1", "RETRY_SECONDS": "0"}
EXECUTE = """
import json, sys
import {module} as module
resolve = module.defs.get_implicit_global_asset_job_def if len(sys.argv) < 2 else (
    lambda: module.defs.resolve_job_def(sys.argv[1]))
result = resolve().execute_in_process(raise_on_error=False)
failures = [event.event_specific_data for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
print(json.dumps({{
    "success": result.success,
    "kinds": [event.event_type_value for event in result.all_events],
    "descriptions": [data.user_failure_data.description for data in failures if data.user_failure_data],
    "metadata": {{
        event.asset_key.to_user_string(): {{
            name: value.value for name, value in event.materialization.metadata.items()
        }}
        for event in result.get_asset_materialization_events()
    }},
}}))
"""
# As mkpipe's README has it, names aside.
SNIPPET = """
from dagster import asset, Definitions
import penstock
@asset
def api_tables():
    penstock.run(config="penstock.yaml", tags=["api"])
@asset
def critical_tables():
    penstock.run(config="penstock.yaml", tags=["critical"])
defs = Definitions(assets=[api_tables, critical_tables])
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_environment(tmp_path_factory, "dagster", "dagster")


def execute(python: Path, copy: Path, *job: str, module: str = "definitions") -> dict[str, Any]:
    said = run(python, "-c", EXECUTE.format(module=module), *job, cwd=copy, env=QUIET)
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def test_the_snippet_written_for_mkpipe_runs(python: Path, tmp_path: Path) -> None:
    copy = copied_example("dagster", tmp_path)
    (copy / "snippet.py").write_text(SNIPPET)
    assert execute(python, copy, module="snippet")["success"]
    assert lake_of(copy) == WHOLE


@pytest.mark.faults  # a process for each step
def test_each_table_is_an_asset_under_dagsters_own_command(python: Path, tmp_path: Path) -> None:
    copy, home = copied_example("dagster", tmp_path), tmp_path / "home"
    home.mkdir()
    words = ("job", "execute", "-f", "definitions.py", "-j", "by_table")
    run(python.with_name("dagster"), *words, cwd=copy, env=QUIET | {"DAGSTER_HOME": str(home)})
    assert lake_of(copy) == WHOLE


def test_an_asset_says_how_many_rows_it_wrote(python: Path, tmp_path: Path) -> None:
    told = execute(python, copied_example("dagster", tmp_path), "by_table")
    assert {asset: data["rows_written"] for asset, data in told["metadata"].items()} == {
        "airports/airports": 3,
        "airports/countries": 2,
    }


def test_an_error_that_stays_fails_the_asset_once_with_its_text(python: Path, tmp_path: Path) -> None:
    copy = copied_example("dagster", tmp_path, LASTING)
    told = execute(python, copy, "by_table")
    assert not told["success"]
    assert "STEP_UP_FOR_RETRY" not in told["kinds"]
    [description] = told["descriptions"]
    assert "ValueError" in description
    assert "transforms.py:" in description
    assert "4711" not in description
    assert calls_of(copy) == 1
    assert lake_of(copy) == {"airports": WHOLE["airports"]}


def test_an_error_that_passes_is_tried_again(python: Path, tmp_path: Path) -> None:
    copy = copied_example("dagster", tmp_path, PASSING)
    told = execute(python, copy, "by_table")
    assert told["success"]
    assert told["kinds"].count("STEP_UP_FOR_RETRY") == 1
    assert lake_of(copy) == WHOLE
