"""Stopping a run on request: the first signal asks, the second one ends the process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from types import FrameType

from penstock.records import dataclass

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(slots=True)
class StopRequest:
    """`event` is what a run watches; `signal_number` is the first signal that came, 0 while none did."""

    event: threading.Event = field(default_factory=threading.Event)
    signal_number: int = 0

    def exit_code(self, otherwise: int) -> int:
        return 128 + self.signal_number if self.signal_number else otherwise

    def receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        if self.event.is_set():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.signal_number = number
        self.event.set()
        # Not through sys.stderr: the signal may have come in the middle of a write to it.
        os.write(2, f"{signal.Signals(number).name}: stopping in good order; once more to stop at once\n".encode())


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Only in the main thread, as signals are."""
    request = StopRequest()
    before = {number: signal.signal(number, request.receive) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
