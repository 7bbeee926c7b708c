"""The wheel alone, outside the repository, does what the README says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, cwd: Path) -> str:
    """What the command said; the environment names no folder of the repository."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PENSTOCK", "VIRTUAL_ENV", "COV"))}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(
    scope="module",
    params=["by reference", pytest.param("downloaded", marks=[pytest.mark.faults, pytest.mark.timeout(900)])],
)
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the wheel, and its dependencies: this one's, or pip fetches them."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "env"
    venv.create(environment, with_pip=False, symlinks=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "install"]
    if request.param == "downloaded":
        run(*pip, "-q", wheel, cwd=folder)
        return environment / "bin"
    # A path file inside of a folder that is itself reached by a path file is not followed: the editable install of the
    # repository stays out of sight, only what it depends on is seen.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(*pip, "-q", "--no-deps", "--no-index", "--ignore-installed", wheel, cwd=folder)
    where = run(environment / "bin" / "python", "-c", "import penstock; print(penstock.__file__)", cwd=folder)
    assert where.strip().startswith(str(packages))
    return environment / "bin"


def readme_commands() -> list[str]:
    """The commands of the README that start with `penstock` or change the folder, in order."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.partition("#")[0].strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(("penstock ", "cd "))]


@pytest.mark.feature("M10", "N13")
def test_the_commands_of_the_readme_run_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    folder, ran = tmp_path, []
    for command in readme_commands():
        verb, *rest = command.split()
        if verb == "cd":
            folder = folder / rest[0]
            continue
        run(installed / "penstock", *rest, cwd=folder)
        ran.append(rest[0])
    assert {"init", "run"} <= set(ran)


@pytest.mark.feature("M10")
def test_the_wheel_names_its_connectors_and_their_columns(installed: Path, tmp_path: Path) -> None:
    said = run(installed / "penstock", "connectors", cwd=tmp_path)
    assert all(name in said for name in ("postgres", "sqlite", "duckdb", "file"))
