"""A project in a folder of its own, run the way people run it: as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from penstock.records import dataclass
from penstock.testing.nursery import Nursery
from penstock.values import Json


@dataclass(frozen=True, slots=True)
class Ended:
    """How a `penstock` process ended; `exit_code` is negative where a signal ended it."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        return self.stdout + self.stderr

    def json(self) -> Json:
        """What a command with --json printed; raises ValueError where that is not one JSON value."""
        value: Json = json.loads(self.stdout)
        return value


@dataclass(frozen=True, slots=True)
class ProjectFolder:
    """`write` the project, `run` commands in it. `warm` processes are spared the imports, which others prove."""

    path: Path
    warm: bool = False

    def write(self, text: str, name: str = "penstock.yaml") -> Path:
        """Write a file of the project, with the indentation of a test's literal taken off."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text), encoding="utf-8")
        return file

    def run(
        self,
        *arguments: str,
        faults: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout_seconds: float = 120,
    ) -> Ended:
        """`penstock ARGUMENTS` to its end. `faults` arms failpoints in that process alone."""
        if self.warm:
            surroundings = _surroundings(faults, env)
            ended = NURSERY.run(arguments, folder=self.path, env=surroundings, timeout_seconds=timeout_seconds)
            return Ended(*ended)
        process = self.start(*arguments, faults=faults, env=env)
        try:
            stdout, stderr = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        return Ended(process.returncode, stdout, stderr)

    def start(
        self, *arguments: str, faults: str | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """The same, under way: the caller waits for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "penstock", *arguments],
            cwd=self.path,
            env=_surroundings(faults, env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _surroundings(faults: str | None, env: Mapping[str, str] | None) -> dict[str, str]:
    surroundings = {k: v for k, v in os.environ.items() if k != "PENSTOCK_FAULTS"} | dict(env or {})
    if faults is not None:
        surroundings["PENSTOCK_FAULTS"] = faults
    return surroundings


NURSERY = Nursery()
