"""The Dockerfiles of the examples, carried out step by step as far as a machine without Docker can."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from penstock.cli.init import write_project
from tests.e2e.dockerfile import GIVEN, Image, instructions_of
from tests.environments import ROOT

pytestmark = [pytest.mark.feature("M10", "N13"), pytest.mark.timeout(900)]

RECIPES = sorted((ROOT / "examples" / "docker").glob("Dockerfile*"))
# No way out of the machine for what is run; a pip or an Ivy that asked would fail.
OFFLINE = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "PIP_NO_INDEX": "1"}


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `docker build` is given: here only the wheel, so that a step that wants more of the checkout fails."""
    folder = tmp_path_factory.mktemp("context")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist"), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


def built(name: str, folder: Path, context: Path) -> Image:
    image = Image(folder / "image", context)
    image.root.mkdir()
    image.build(ROOT / "examples" / "docker" / name)
    return image


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_a_container_is_no_root_and_its_layers_hold_no_secret(recipe: Path) -> None:
    words = instructions_of(recipe)
    assert [f"{word} {rest}" for word, rest in words][:2] == list(GIVEN)
    users = [rest for word, rest in words if word == "USER"]
    assert users == ["10001"]
    assert all(word != "RUN" for word, _ in words[words.index(("USER", "10001")) :])
    names = {name.partition("=")[0] for word, rest in words if word in ("ENV", "ARG") for name in rest.split()}
    assert names <= {"PATH", "PYTHONUNBUFFERED", "PENSTOCK_JARS"}
    assert not {word for word, _ in words} & {"COPY", "ADD", "ARG"}


@pytest.mark.faults  # fetches what the wheel needs
def test_the_image_runs_a_project_that_is_mounted_and_nothing_of_the_build_stays(tmp_path: Path, context: Path) -> None:
    image = built("Dockerfile", tmp_path, context)
    assert list(image.root.rglob("*.whl")) == []
    write_project(tmp_path / "shop")
    image.env |= OFFLINE
    done = image.run(project=tmp_path / "shop")
    assert done.returncode == 0, done.stdout + done.stderr
    assert image.run("verify", project=tmp_path / "shop").returncode == 0
    assert (tmp_path / "shop" / "out" / "warehouse.duckdb").exists()


@pytest.mark.faults  # fetches pyspark, a Java and a driver
def test_the_image_with_spark_brings_java_and_driver_and_runs_a_project(tmp_path: Path, context: Path) -> None:
    image = built("Dockerfile.spark", tmp_path, context)
    assert list((image.root / "opt" / "jars").glob("postgresql-*.jar"))
    write_project(tmp_path / "shop")
    image.env |= OFFLINE
    done = image.run(project=tmp_path / "shop")
    assert done.returncode == 0, done.stdout + done.stderr
    assert image.run("verify", project=tmp_path / "shop").returncode == 0
