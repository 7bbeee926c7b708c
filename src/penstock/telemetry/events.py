"""The events of a run, and the bus that carries them to progress, logs and whoever else listens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeAlias

from penstock.records import dataclass
from penstock.values import Json, LoadId, RunId, RunState

_log = logging.getLogger("penstock.telemetry")


@dataclass(frozen=True, slots=True)
class RunStarted:
    run: RunId
    project: str
    environment: str
    tables: int


@dataclass(frozen=True, slots=True)
class TablePlanned:
    """`table` is the target's name, here and in every event."""

    table: str
    pipeline: str
    strategy: str
    route: str
    rows_estimate: int | None = None
    idle: bool = False


@dataclass(frozen=True, slots=True)
class TableStarted:
    table: str
    pipeline: str


@dataclass(frozen=True, slots=True)
class RowsMoved:
    """Rows that reached the writers since the last such event of the table."""

    table: str
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class LoadCommitted:
    table: str
    load: LoadId
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TableIdle:
    """Nothing new at the source: no load was opened."""

    table: str


@dataclass(frozen=True, slots=True)
class TableFinished:
    table: str
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TableFailed:
    """`error` is the class, `message` its text, which holds no secret and no row value."""

    table: str
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class HorizonLag:
    """Rows newer than the horizon wait for an old transaction; `blocker` names its session where it can be seen."""

    table: str
    lag_seconds: float
    blocker: str | None = None


@dataclass(frozen=True, slots=True)
class Retrying:
    table: str
    attempt: int
    of: int
    wait_seconds: float
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class RunFinished:
    run: RunId
    state: RunState
    seconds: float
    rows: int = 0


Event: TypeAlias = (
    RunStarted
    | TablePlanned
    | TableStarted
    | RowsMoved
    | LoadCommitted
    | TableIdle
    | TableFinished
    | TableFailed
    | HorizonLag
    | Retrying
    | RunFinished
)
Listener: TypeAlias = Callable[[Event], None]


def event_to_json(event: Event) -> dict[str, Json]:
    return {"event": type(event).__name__, **asdict(event)}


class Bus:
    """Carries events from any thread to every listener, in the emitting thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Listen from now on; call what is returned to stop."""
        with self._guard:
            self._listeners = (*self._listeners, listener)
        return lambda: self._drop(listener)

    def emit(self, event: Event) -> None:
        """Never raises: a listener that does is reported once and not asked again."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - what watches a run must not end it
                self._drop(listener)
                _log.exception("a telemetry listener failed on %s and is left out from now on", type(event).__name__)

    def _drop(self, listener: Listener) -> None:
        with self._guard:
            self._listeners = tuple(known for known in self._listeners if known is not listener)


class TableMeter:
    """The progress an engine is given for one table: what it moves becomes events."""

    def __init__(self, bus: Bus, table: str) -> None:
        self._bus = bus
        self._table = table

    def advance(self, rows: int, size_bytes: int) -> None:
        self._bus.emit(RowsMoved(self._table, rows, size_bytes))
