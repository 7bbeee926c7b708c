"""One byte budget for all queues of a run: what bounds its memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from penstock.records import dataclass


class HaltedError(Exception):
    """The move was stopped while a thread waited; the reason is kept elsewhere."""


@dataclass(slots=True, eq=False)
class Lease:
    """Bytes held of the budget until `release`; releasing twice is harmless."""

    budget: ByteBudget
    size_bytes: int
    urgent: bool
    released: bool = False

    def resize(self, size_bytes: int) -> None:
        """Say how big the rows have become; never waits, so that what is under way always moves on."""
        self.budget.resize(self, size_bytes)

    def release(self) -> None:
        self.budget.resize(self, 0, last=True)


class ByteBudget:
    """A semaphore of bytes, shared by every move of a run.

    Urgent requests come from queues somebody is emptying: their bytes are sure to be released, so they wait in line for
    the whole capacity, and one that is bigger than all of it passes alone. The others read ahead and get at most half:
    however many tables read ahead, an urgent request always succeeds in the end.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.peak_bytes = 0
        self._urgent_bytes = 0
        self._ahead_bytes = 0
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def used_bytes(self) -> int:
        return self._urgent_bytes + self._ahead_bytes

    def acquire(self, size_bytes: int, *, is_urgent: Callable[[], bool], is_halted: Callable[[], bool]) -> Lease:
        """Wait for room. Raises HaltedError; whoever changes what the callables say calls `wake`."""
        place = object()
        with self._changed:
            try:
                while True:
                    if is_halted():
                        raise HaltedError
                    urgent = is_urgent()
                    if urgent and place not in self._line:
                        self._line.append(place)
                    if self._fits(size_bytes, place, urgent=urgent):
                        return self._grant(size_bytes, urgent=urgent)
                    self._changed.wait()
            finally:
                if place in self._line:
                    self._line.remove(place)
                    self._changed.notify_all()

    def resize(self, lease: Lease, size_bytes: int, *, last: bool = False) -> None:
        with self._changed:
            if lease.released:
                return
            lease.released = last
            self._count(size_bytes - lease.size_bytes, urgent=lease.urgent)
            lease.size_bytes = size_bytes
            self._changed.notify_all()

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _fits(self, size_bytes: int, place: object, *, urgent: bool) -> bool:
        has_room = self.used_bytes + size_bytes <= self.capacity_bytes
        if urgent:
            return self._line[0] is place and (has_room or self._urgent_bytes == 0)
        return has_room and not self._line and self._ahead_bytes + size_bytes <= self.capacity_bytes // 2

    def _grant(self, size_bytes: int, *, urgent: bool) -> Lease:
        self._count(size_bytes, urgent=urgent)
        return Lease(self, size_bytes, urgent)

    def _count(self, size_bytes: int, *, urgent: bool) -> None:
        if urgent:
            self._urgent_bytes += size_bytes
        else:
            self._ahead_bytes += size_bytes
        self.peak_bytes = max(self.peak_bytes, self.used_bytes)
