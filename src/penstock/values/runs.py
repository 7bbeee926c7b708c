"""What is remembered of a run and of each table in it."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Literal

from penstock.records import dataclass
from penstock.values.names import RunId

RunState = Literal["running", "succeeded", "failed", "stopped"]
TableState = Literal[
    "running",
    "succeeded",
    "idle",
    "failed",  # nothing of it is visible
    "partial",  # a prefix of a chain of loads is in; the next run goes on from there
    "unknown",  # COMMIT was sent and could not yet be resolved
    "refused",
    "stopped",
]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run. `command` holds the selection, never a secret."""

    run_id: RunId
    project: str
    environment: str
    command: str
    state: RunState
    started_at: datetime
    finished_at: datetime | None = None
    error: str | None = None

    @property
    def seconds(self) -> float | None:
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None


@dataclasses.dataclass(frozen=True, slots=True)  # made by the thousand
class TableRecord:
    """One table of a run; cursors are their printed form."""

    run_id: RunId
    pipeline: str
    stream: str
    target: str
    strategy: str
    state: TableState
    started_at: datetime
    finished_at: datetime | None = None
    route: str | None = None
    loads: int = 0
    rows_read: int = 0
    rows_written: int = 0
    rows_deduplicated: int = 0
    rows_quarantined: int = 0
    size_bytes: int = 0
    cursor_before: str | None = None
    cursor_after: str | None = None
    error: str | None = None

    @property
    def seconds(self) -> float | None:
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None
