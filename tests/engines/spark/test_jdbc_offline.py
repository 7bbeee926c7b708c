"""A session without a network reads through JDBC by the drivers that `install-jars` left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.cli import main
from tests.engines.spark.conftest import CHEAP
from tests.engines.spark.lab import make_lab

# faults: the driver comes from a Maven repository, where `make test` does without a network
pytestmark = [pytest.mark.feature("M9"), pytest.mark.postgres, pytest.mark.faults]


def run_offline(folder: Path, project: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own, whose Ivy has nowhere to look."""
    command = [sys.executable, "-m", "penstock", "run", "-c", str(project), "--engine", "spark", "--quiet"]
    environment = {**os.environ, "PENSTOCK_JARS": str(folder)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_installed_drivers_are_enough_and_only_the_pinned_ones(tmp_path: Path, postgres_url: str) -> None:
    nowhere = tmp_path / "ivysettings.xml"
    nowhere.write_text(
        '<ivysettings><settings defaultResolver="none"/><resolvers>'
        f'<filesystem name="none"><artifact pattern="{tmp_path}/none/[artifact].[ext]"/></filesystem>'
        "</resolvers></ivysettings>"
    )
    offline = {"spark.jars.ivySettings": str(nowhere), "spark.jars.ivy": str(tmp_path / "ivy")}
    lab = make_lab(
        tmp_path / "lab",
        [{"target_name": "copy", "spark": {"io": "jdbc"}}],
        source="postgres",
        destination="postgres",
        url=postgres_url,
        settings={"spark": {"master": "local[1]", "extra_config": {**CHEAP, **offline}}},
    )
    jars = tmp_path / "jars"

    without = run_offline(jars, lab.write())
    assert without.returncode != 0
    assert "Spark cannot fetch the JDBC driver org.postgresql:postgresql:" in without.stdout + without.stderr
    assert "penstock install-jars" in without.stdout + without.stderr
    assert lab.rows() is None

    assert main(["install-jars", "postgres", "--to", str(jars)]) == 0
    done = run_offline(jars, lab.write())
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum((lab.rows() or {}).values()) == 20

    (jar,) = jars.iterdir()
    jar.write_bytes(jar.read_bytes() + b"more")
    broken = run_offline(jars, lab.write())
    assert broken.returncode != 0
    assert f"the checksum of {jar.name} is not that of" in broken.stdout + broken.stderr
