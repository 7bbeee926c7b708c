"""The threads of one move and the lanes between them: the first error stops all."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import Generic, Protocol, TypeVar

from penstock.engines.arrow.budget import ByteBudget, HaltedError, Lease
from penstock.errors import Interrupted
from penstock.records import dataclass

_STOP_POLL_SECONDS = 0.1  # a signal handler may only set an event, so somebody has to look at it
_LANE_ITEMS = 2
_JOIN_SECONDS = 30.0
_JOIN_STOPPED_SECONDS = 0.5
JOIN_WRITERS_SECONDS = 5.0  # abort should find their connections idle


class Sized(Protocol):
    def discard(self) -> None:
        """Give back what the item holds of the budget."""
        ...


Item = TypeVar("Item", bound=Sized)


@dataclass(slots=True, eq=False)
class Task:
    """One thread of a crew; `done` is set before the crew is told."""

    thread: threading.Thread = field(init=False)
    done: bool = False


class Crew:
    """Starts threads, keeps the first error and what is held of the budget, and tells everyone to stop after it."""

    def __init__(self, budget: ByteBudget, stop: threading.Event | None) -> None:
        self.budget = budget
        self.changed = threading.Condition()
        self.error: BaseException | None = None
        self._stop = stop
        self._halted = False
        self._tasks: list[Task] = []
        self._leases: set[Lease] = set()
        self._guard = threading.Lock()

    def is_halted(self) -> bool:
        return self._halted

    def spawn(self, name: str, work: Callable[[], None]) -> Task:
        task = Task()
        task.thread = threading.Thread(target=self._run, args=(task, work), name=f"penstock-{name}", daemon=True)
        with self._guard:
            self._tasks.append(task)
        task.thread.start()
        return task

    def lease(self, size_bytes: int, is_urgent: Callable[[], bool]) -> Lease:
        """Wait for room in the budget. Raises HaltedError."""
        lease = self.budget.acquire(size_bytes, is_urgent=is_urgent, is_halted=self.is_halted)
        with self._guard:
            self._leases = {held for held in self._leases if not held.released}
            self._leases.add(lease)
        return lease

    def release_all(self) -> None:
        """Give back whatever a stopped thread still held."""
        with self._guard:
            for lease in self._leases:
                lease.release()
            self._leases.clear()

    def halt(self) -> None:
        with self.changed:
            self._halted = True
            self.changed.notify_all()
        self.budget.wake()

    def wait(self, is_done: Callable[[], bool]) -> None:
        """Wait in the calling thread. Raises the first error of any thread, or Interrupted once `stop` is set."""
        with self.changed:
            while True:
                if self.error is not None:
                    raise self.error
                if self._stop is not None and self._stop.is_set():
                    raise Interrupted(getattr(self._stop, "signal_number", signal.SIGINT))
                if is_done():
                    return
                self.changed.wait(_STOP_POLL_SECONDS if self._stop is not None else None)

    def signal(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def join(self, tasks: Sequence[Task] | None = None, *, stopped_seconds: float = _JOIN_STOPPED_SECONDS) -> None:
        """Wait for the threads to end; after a stop only shortly, as one may sit in a driver's call."""
        stopped = self._stop is not None and self._stop.is_set()
        deadline = time.monotonic() + (stopped_seconds if stopped else _JOIN_SECONDS)
        for task in list(self._tasks) if tasks is None else tasks:
            task.thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, task: Task, work: Callable[[], None]) -> None:
        try:
            work()
        except HaltedError:
            self.halt()
        except BaseException as error:  # noqa: BLE001 - kept, and raised by the thread that waits
            self._fail(error)
        finally:
            with self.changed:
                task.done = True
                self.changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self.changed:
            if self.error is None and not self._halted:
                self.error = error
        self.halt()


class Lane(Generic[Item]):
    """A short queue from one thread to another. `attended` says that somebody empties it, or soon will."""

    def __init__(self, crew: Crew, *, attended: bool = False) -> None:
        self.attended = attended
        self._crew = crew
        self._items: deque[Item] = deque()
        self._closed = False

    def attend(self) -> None:
        self.attended = True
        self._crew.budget.wake()

    def is_attended(self) -> bool:
        return self.attended

    def put(self, item: Item) -> None:
        """Raises HaltedError after giving back what the item holds."""
        crew = self._crew
        with crew.changed:
            while len(self._items) >= _LANE_ITEMS and not crew.is_halted():
                crew.changed.wait()
            if not crew.is_halted():
                self._items.append(item)
                crew.changed.notify_all()
                return
        item.discard()
        raise HaltedError

    def close(self) -> None:
        with self._crew.changed:
            self._closed = True
            self._crew.changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        """The items until the lane is closed. Raises HaltedError."""
        yield from drain([self], self._crew)

    def is_closed(self) -> bool:
        return self._closed

    def is_finished(self) -> bool:
        return self._closed and not self._items

    def take(self) -> Item | None:
        return self._items.popleft() if self._items else None


def drain(lanes: Sequence[Lane[Item]], crew: Crew) -> Iterator[Item]:
    """The items of all lanes as they come, those of one lane in order. Raises HaltedError."""
    open_lanes = list(lanes)
    while open_lanes:
        item, lane = _take_any(open_lanes, crew)
        if item is not None:
            open_lanes.append(open_lanes.pop(open_lanes.index(lane)))
            yield item
            continue
        open_lanes.remove(lane)


def _take_any(lanes: Sequence[Lane[Item]], crew: Crew) -> tuple[Item | None, Lane[Item]]:
    """An item and its lane, or None and a lane that is finished."""
    with crew.changed:
        while True:
            if crew.is_halted():
                raise HaltedError
            for lane in lanes:
                item = lane.take()
                if item is not None:
                    crew.changed.notify_all()
                    return item, lane
                if lane.is_finished():
                    return None, lane
            crew.changed.wait()
