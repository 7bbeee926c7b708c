"""How far tasks are: told while they run where they share a disk with this process, else as each of them ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from penstock.engines.spark.connect import is_connect
from penstock.engines.spark.session import runs_here
from penstock.protocols import Progress
from penstock.records import dataclass

if TYPE_CHECKING:
    from pyspark.accumulators import Accumulator
    from pyspark.sql import SparkSession

_SUFFIX = ".moved"


class Meter(Protocol):
    """Travels to the tasks; `moved` is asked in the process that sent it."""

    def of_task(self, number: int, attempt: int) -> Progress: ...

    def moved(self) -> tuple[int, int]:
        """Rows and bytes of all tasks so far; a second attempt of a task does not add to the first."""
        ...


def meter_of(session: SparkSession, folder: str) -> Meter | None:
    """None where only the tasks' own reports come back: through a server whose tasks run elsewhere."""
    if runs_here(session):
        return FileMeter(folder)
    if is_connect(session):
        return None
    context = session.sparkContext
    return TaskEndMeter(context.accumulator(0), context.accumulator(0))


@dataclass(frozen=True, slots=True)
class FileMeter:
    """Each attempt keeps its counts in a small file of the folder."""

    folder: str

    def of_task(self, number: int, attempt: int) -> Progress:
        return _FileProgress(Path(self.folder, f"{number}-{attempt}{_SUFFIX}"))

    def moved(self) -> tuple[int, int]:
        furthest: dict[str, tuple[int, int]] = {}
        for path in Path(self.folder).glob(f"*{_SUFFIX}"):
            number = path.name.partition("-")[0]
            furthest[number] = max(furthest.get(number, (0, 0)), _counts_of(path))
        return _sum(furthest.values())


@dataclass(slots=True)
class _FileProgress:
    path: Path
    rows: int = 0
    size_bytes: int = 0

    def advance(self, rows: int, size_bytes: int) -> None:
        self.rows += rows
        self.size_bytes += size_bytes
        # Of one width and written at once: a reader sees the counts of before or of now.
        text = f"{self.rows:020d} {self.size_bytes:020d}".encode()
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
        except FileNotFoundError:  # the load is over and its folder gone; the attempt finds out where it writes
            return
        try:
            os.pwrite(file, text, 0)
        finally:
            os.close(file)


def _counts_of(path: Path) -> tuple[int, int]:
    words = path.read_bytes().split()
    return (int(words[0]), int(words[1])) if words else (0, 0)


@dataclass(frozen=True, slots=True)
class TaskEndMeter:
    """Counts of tasks that ended, by Spark's accumulators, which a task's failed and doubled attempts do not reach."""

    rows: Accumulator[int]
    size_bytes: Accumulator[int]

    def of_task(self, number: int, attempt: int) -> Progress:
        del number, attempt
        return self

    def advance(self, rows: int, size_bytes: int) -> None:
        self.rows.add(rows)
        self.size_bytes.add(size_bytes)

    def moved(self) -> tuple[int, int]:
        return self.rows.value, self.size_bytes.value


@dataclass(slots=True)
class Follower:
    """Tells a run's progress what is new since it was told last; from several threads."""

    progress: Progress | None
    meter: Meter | None = None
    _told: tuple[int, int] = field(default=(0, 0))
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def look(self) -> None:
        if self.meter is not None and self.progress is not None:
            self.reach(*self.meter.moved())

    def reach(self, rows: int, size_bytes: int) -> None:
        """So many rows and bytes are moved in all; fewer than told before say nothing."""
        with self._guard:
            before = self._told
            now = self._told = max(before[0], rows), max(before[1], size_bytes)
        if self.progress is not None and now != before:
            self.progress.advance(now[0] - before[0], now[1] - before[1])


def _sum(counts: Iterable[tuple[int, int]]) -> tuple[int, int]:
    rows = size_bytes = 0
    for more_rows, more_bytes in counts:
        rows += more_rows
        size_bytes += more_bytes
    return rows, size_bytes
