"""Shows a run while it goes on: bars on a terminal, a plain line now and then elsewhere, always on the given stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import field
from typing import TYPE_CHECKING, Protocol, TextIO

from penstock.errors import counted
from penstock.records import dataclass
from penstock.telemetry.events import (
    Bus,
    Event,
    HorizonLag,
    Retrying,
    RowsMoved,
    TableFailed,
    TableFinished,
    TableIdle,
    TablePlanned,
    TableStarted,
)

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

QUIET_SECONDS = 5.0


class Display(Protocol):
    """Listens to a bus between enter and exit."""

    def __enter__(self) -> Display: ...
    def __exit__(self, *exc: object) -> None: ...
    def __call__(self, event: Event) -> None: ...


def show_progress(
    bus: Bus, stream: TextIO, *, quiet: bool = False, plain: bool = False
) -> AbstractContextManager[object]:
    """Follow `bus` on `stream` until the context ends; `plain` has lines where a terminal would get bars."""
    if quiet:
        return nullcontext()
    display: Display = BarDisplay(stream) if stream.isatty() and not plain else PlainDisplay(stream)
    bus.subscribe(display)
    return display


@dataclass(slots=True)
class _Count:
    """How far one table is, for the plain lines."""

    started: float
    shown: float
    rows: int = 0
    estimate: int | None = None


@dataclass(slots=True)
class PlainDisplay:
    """At most one line per table every few seconds, and one when it is done."""

    stream: TextIO
    clock: Callable[[], float] = time.monotonic
    interval_seconds: float = QUIET_SECONDS
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _counts: dict[str, _Count] = field(default_factory=dict)

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stream.flush()

    def __call__(self, event: Event) -> None:
        with self._guard:
            line = self._line(event)
        if line:
            self.stream.write(line + "\n")  # one call, so that lines of several threads stay whole
            self.stream.flush()

    def _line(self, event: Event) -> str | None:
        if isinstance(event, TablePlanned):
            self._count(event.table).estimate = event.rows_estimate
            return None
        if isinstance(event, TableStarted):
            count = self._count(event.table)
            count.started = count.shown = self.clock()
            count.rows = 0
            return None
        if isinstance(event, RowsMoved):
            return self._advance(event)
        return closing_line(event)

    def _advance(self, event: RowsMoved) -> str | None:
        count, now = self._count(event.table), self.clock()
        count.rows += event.rows
        if now - count.shown < self.interval_seconds:
            return None
        count.shown = now
        return f"{event.table}: {_moved(count)}, {_rate(count.rows, now - count.started)}"

    def _count(self, table: str) -> _Count:
        if table not in self._counts:
            now = self.clock()
            self._counts[table] = _Count(now, now)
        return self._counts[table]


class BarDisplay:
    """One bar per table under way; a table that is done becomes a line above the bars."""

    def __init__(self, stream: TextIO) -> None:
        self._guard = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._estimates: dict[str, int | None] = {}
        self._bars = _bars(stream)

    def __enter__(self) -> BarDisplay:
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        with self._guard:
            self._follow(event)

    def _follow(self, event: Event) -> None:
        if isinstance(event, TablePlanned):
            self._estimates[event.table] = event.rows_estimate
            if event.table in self._tasks:
                self._bars.update(self._tasks[event.table], total=event.rows_estimate)
        elif isinstance(event, TableStarted):
            self._task(event.table)
        elif isinstance(event, RowsMoved):
            self._bars.advance(self._task(event.table), event.rows)
        else:
            self._close(event)

    def _task(self, table: str) -> TaskID:
        if table not in self._tasks:
            self._tasks[table] = self._bars.add_task(table, total=self._estimates.get(table))
        return self._tasks[table]

    def _close(self, event: Event) -> None:
        line = closing_line(event)
        if line is None:
            return
        self._bars.console.print(line, highlight=False, markup=False, style=_STYLES.get(type(event), ""))
        table = getattr(event, "table", None)
        if table in self._tasks and not isinstance(event, Retrying | HorizonLag):
            self._bars.remove_task(self._tasks.pop(table))


_STYLES: dict[type, str] = {TableFailed: "red", Retrying: "yellow", HorizonLag: "yellow", TableIdle: "dim"}


def _bars(stream: TextIO) -> RichProgress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        """Rows per second, as rich measures it over the last half minute."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f} rows/s" if task.speed else "", style="cyan")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        console=Console(file=stream),
        transient=True,
    )


def closing_line(event: Event) -> str | None:
    """The line that says how a table ended, or what it waits for; None for every other event."""
    if isinstance(event, TableFinished):
        return (
            f"{event.table}: {counted(event.rows, 'row')} in {event.seconds:.1f} s, {_rate(event.rows, event.seconds)}"
        )
    if isinstance(event, TableIdle):
        return f"{event.table}: nothing new"
    if isinstance(event, TableFailed):
        return f"{event.table}: failed, {event.error}: {event.message.splitlines()[0] if event.message else ''}"
    if isinstance(event, Retrying):
        first = event.message.splitlines()[0] if event.message else event.error
        return f"{event.table}: {first}; attempt {event.attempt + 1} of {event.of} in {event.wait_seconds:g} s"
    if isinstance(event, HorizonLag):
        by = f", held by {event.blocker}" if event.blocker else ""
        return f"{event.table}: the newest {event.lag_seconds:.0f} s wait for an open transaction{by}"
    return None


def _moved(count: _Count) -> str:
    return f"{count.rows:,} of about {counted(count.estimate, 'row')}" if count.estimate else counted(count.rows, "row")


def _rate(rows: int, seconds: float) -> str:
    return f"{rows / seconds if seconds > 0 else 0:,.0f} rows/s"
