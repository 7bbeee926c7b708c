"""Mistakes put into the product on purpose: the tests that a patch names must go red, or they prove nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATCHES = sorted((ROOT / "tests" / "seeded_bugs").glob("*.patch"))
APPLY = ("git", "apply", "-C1")  # one line around the mistake must be as it was: edits near by leave it in its place
FAILED = 1  # pytest's exit code where tests ran and failed; a test that cannot be collected is another


def named_tests(patch: Path) -> list[str]:
    """The ids in the header's lines `test: ...`."""
    lines = patch.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("test: ") for line in lines if line.startswith("test: ")]


def run_tests(source: Path, names: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """The named tests of this checkout against the product in `source`."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "", "-p", "no:xdist", *names]
    env = {**os.environ, "PYTHONPATH": str(source)}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_thirty_patches_still_apply_and_name_their_tests() -> None:
    assert len(PATCHES) >= 30
    for patch in PATCHES:
        assert named_tests(patch), f"{patch.name} names no test"
        subprocess.run([*APPLY, "--check", str(patch)], cwd=ROOT, check=True)


@pytest.mark.faults
@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_a_seeded_bug_turns_the_tests_it_names_red(patch: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src")
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    subprocess.run([*APPLY, str(patch)], cwd=tmp_path, check=True)
    for name in named_tests(patch):
        done = run_tests(tmp_path / "src", [name])
        assert done.returncode == FAILED, f"{name} did not go red\n{done.stdout}\n{done.stderr}"


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_the_tests_that_the_patches_name_are_green_without_them() -> None:
    done = run_tests(ROOT / "src", sorted({name for patch in PATCHES for name in named_tests(patch)}))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
