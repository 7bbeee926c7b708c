"""Named crash points, inert unless PENSTOCK_FAULTS arms them.

`name=kill|raise|sleep[:seconds]|pause:file[@hit]`, by comma. `pause` makes the file when the point is reached and goes
on when the file is gone.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Literal, get_args

Failpoint = Literal[
    "run.config_checked",
    "run.planned",
    "source.opened",
    "source.batch_read",
    "begin.locked",
    "begin.epoch_written",
    "begin.epoch_committed",
    "load.target_created",
    "load.stage_created",
    "load.batch_written",
    "load.piece_written",
    "load.piece_committed",
    "commit.started",
    "commit.schema_changed",
    "commit.applied",
    "commit.swapped_out",
    "commit.swapped_in",
    "commit.ledger_written",
    "commit.committed",
    "commit.cleaned",
    "files.part_renamed",
    "files.manifest_written",
    "files.manifest_renamed",
    "run.receipt",
    "backend.recorded",
    "backend.committed",
    "source.acknowledging",
    "source.acknowledged",
    "abort.started",
]
FAILPOINTS: tuple[str, ...] = get_args(Failpoint)


class FailpointError(RuntimeError):
    """Raised by a failpoint armed with `raise`; stands for any unexpected exception at that place."""


_hits: Counter[str] = Counter()
_guard = threading.Lock()


def failpoint(name: Failpoint) -> None:
    """Mark a place a process may die at; does nothing unless PENSTOCK_FAULTS names it."""
    armed = os.environ.get("PENSTOCK_FAULTS")
    if not armed:
        return
    for item in armed.split(","):
        target, _, action = item.strip().partition("=")
        if target == name:
            _fire(name, action)


def _fire(name: str, action: str) -> None:
    verb, _, hit = action.partition("@")
    with _guard:
        _hits[name] += 1
        count = _hits[name]
    if hit and int(hit) != count:
        return
    if verb == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if verb == "raise":
        raise FailpointError(f"failpoint {name}")
    verb, _, detail = verb.partition(":")
    if verb == "sleep":
        time.sleep(float(detail or 1))
    elif verb == "pause" and detail:
        _pause(Path(detail))
    else:
        raise ValueError(f"unknown failpoint action {action!r} for {name}: kill, raise, sleep[:seconds] or pause:file")


def _pause(file: Path) -> None:
    file.touch()
    while file.exists():
        time.sleep(0.01)
