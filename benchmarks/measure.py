"""Runs commands and measures them: wall and CPU seconds, peak memory of the process tree's largest member."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Reading:
    """One measured command: seconds of wall and CPU, peak resident bytes."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def measure(command: Sequence[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> Reading:
    """Raises RuntimeError with the command's output when it fails."""
    started = time.monotonic()
    process = subprocess.Popen(  # the benchmark's own commands
        command, cwd=cwd, env={**environment(), **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(
            f"{' '.join(command)} exited {process.returncode}:\n{output.decode(errors='replace')[-4000:]}"
        )
    return Reading(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def environment() -> dict[str, str]:
    """As an installed program has it: Python keeps what it compiled."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def best(readings: Sequence[Reading]) -> Reading:
    """The fastest of them; its CPU and memory are the smallest seen, memory the largest."""
    fastest = min(readings, key=lambda r: r.wall_seconds)
    return Reading(fastest.wall_seconds, min(r.cpu_seconds for r in readings), max(r.peak_bytes for r in readings))


def interleave(
    runs: int, subjects: dict[str, Callable[[], Reading]], between: Callable[[], None]
) -> dict[str, Reading]:
    """Run the subjects in turn, `runs` times over; a busy moment then hits all of them alike."""
    readings: dict[str, list[Reading]] = {name: [] for name in subjects}
    for _ in range(runs):
        for name, subject in subjects.items():
            between()
            readings[name].append(subject())
    return {name: best(found) for name, found in readings.items()}
