"""Virtual environments that tests make for libraries that cannot stand beside those of this one."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def make_environment(folder: Path, *requirements: str, extras: str = "") -> Path:
    """The python of a new environment that holds this repository, editable, and the requirements."""
    this = f"{ROOT}[{extras}]" if extras else str(ROOT)
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", *requirements, "-e", this, cwd=folder)
    return python


def shared_environment(factory: pytest.TempPathFactory, name: str, *requirements: str) -> Path:
    """The python of an environment that all workers of this test run share; the first to ask makes it."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    made = folder / f"{name}.made"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            make_environment(folder / name, *requirements)
            made.touch()
    return folder / name / "bin" / "python"


def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """What the command said; it must succeed."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PYTEST", "PYSPARK", "SPARK", "COV"))
    }
    done = subprocess.run(
        command, cwd=cwd, env=clean | dict(env or {}), capture_output=True, text=True, check=False, timeout=850
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
