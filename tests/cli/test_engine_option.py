"""The engine of a run, chosen on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli import main
from penstock.testing.project import ProjectFolder


@pytest.fixture
def sample(tmp_path: Path) -> ProjectFolder:
    """What `penstock init` makes."""
    assert main(["init", str(tmp_path / "sample")]) == 0
    return ProjectFolder(tmp_path / "sample", warm=True)


@pytest.mark.claims("--engine")
def test_an_engine_that_is_not_known_is_a_usage_error(sample: ProjectFolder) -> None:
    for command in ("run", "plan"):
        done = sample.run(command, "--engine", "sprak")
        assert done.exit_code == 2
        assert "did you mean 'spark'?" in done.stderr


def test_plan_says_where_splits_run_and_starts_no_spark(sample: ProjectFolder) -> None:
    assert "runs     in this process" in sample.run("plan").stdout
    done = sample.run("plan", "--engine", "spark", env={"JAVA_HOME": "/nowhere"})
    assert "runs     Spark tasks on local[*], written by this process" in done.stdout


@pytest.mark.feature("M9")
def test_a_missing_java_is_a_mistake_with_a_way_out(sample: ProjectFolder) -> None:
    done = sample.run("run", "--engine", "spark", env={"JAVA_HOME": "/nowhere"})
    assert done.exit_code == 2
    assert "needs Java 17 or later, and JAVA_HOME has none" in done.stderr
