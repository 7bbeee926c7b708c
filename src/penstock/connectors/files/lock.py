"""The lock of one target: held by the operating system, so it is free the moment its holder is gone."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from penstock.errors import FencedError
from penstock.records import dataclass

_POLL_SECONDS = 0.05


@dataclass(slots=True)
class TargetLock:
    """Release it, or die: the content of the file only says who holds it, it does not hold anything itself."""

    _descriptor: int | None

    def release(self) -> None:
        """Safe to repeat."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        os.ftruncate(descriptor, 0)
        os.close(descriptor)

    @property
    def is_held(self) -> bool:
        return self._descriptor is not None


def take_lock(path: Path, *, holder: str, wait_seconds: float) -> TargetLock:
    """Wait for the lock. Raises FencedError naming the holder once `wait_seconds` are over."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _wait_for(descriptor, path, wait_seconds)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode("utf-8", "replace"), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return TargetLock(descriptor)


def _wait_for(descriptor: int, path: Path, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise _held_by_other(path, wait_seconds) from error
            time.sleep(min(_POLL_SECONDS, left))
        else:
            return


def _held_by_other(path: Path, wait_seconds: float) -> FencedError:
    holder = path.read_bytes()[:500].decode("utf-8", "replace").strip() or "a run that did not leave its name"
    return FencedError(
        f"{path.parent.parent.name} is being loaded by {holder}; waited {wait_seconds:g} s",
        where=str(path),
        fix="wait for that run to end, or raise settings.lock_wait",
        retryable=True,
    )
