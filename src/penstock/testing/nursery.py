"""Processes that are born warm: each is forked from one that has imported everything, and has run nothing.

What a test then waits for is the command and not the imports before it. A process is one like any other: killed, it is
gone, and what it has opened is closed by the kernel.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

MODULES = (
    "penstock.cli.plan",
    "penstock.cli.run",
    "penstock.cli.verify",
    "penstock.connectors.duckdb",
    "penstock.connectors.files",
    "penstock.connectors.postgres.backend",
    "penstock.connectors.sqlite",
    "penstock.pipeline.project",
    "penstock.state.sqlite",
    "asyncpg",
    "duckdb",
    "pgpq",
    "pyarrow.compute",
    "pyarrow.dataset",
    "pyarrow.parquet",
)


class Order(TypedDict):
    """What one process is told."""

    arguments: list[str]
    folder: str
    env: dict[str, str]
    stdout: str
    stderr: str


class Nursery:
    """The process that the others are forked from: started when the first is asked for, one at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._guard = threading.Lock()

    def run(
        self, arguments: Sequence[str], *, folder: Path, env: Mapping[str, str], timeout_seconds: float
    ) -> tuple[int, str, str]:
        """Exit code (negative: the signal), stdout and stderr of `penstock ARGUMENTS` in that folder."""
        with self._guard, TemporaryDirectory() as place:
            stdout, stderr = Path(place, "stdout"), Path(place, "stderr")
            order = Order(
                arguments=list(arguments), folder=str(folder), env=dict(env), stdout=str(stdout), stderr=str(stderr)
            )
            code = self._send(order, timeout_seconds)
            return code, stdout.read_text(encoding="utf-8"), stderr.read_text(encoding="utf-8")

    def _send(self, order: Order, timeout_seconds: float) -> int:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        child = int(process.stdout.readline())
        watch = threading.Timer(timeout_seconds, os.kill, (child, 9))
        watch.start()
        try:
            return int(process.stdout.readline())
        finally:
            watch.cancel()

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            command = [sys.executable, "-m", "penstock.testing.nursery"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            atexit.register(self.close)
        return self._process

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None


def serve() -> None:
    """Fork a process per line of stdin, say its id and how it ended."""
    for name in MODULES:
        importlib.import_module(name)
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            become(json.loads(line))
            runpy.run_module("penstock", run_name="__main__")  # raises SystemExit
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(order: Any) -> None:
    """Take over folder, environment, arguments and files of the process that was ordered."""
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = ["penstock", *order["arguments"]]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [os.open(os.devnull, os.O_RDONLY), os.open(order["stdout"], flags), os.open(order["stderr"], flags)]
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)


if __name__ == "__main__":
    serve()
