"""Locks between processes on one database file, by flock on a file beside it.

The kernel frees the lock when its process ends, however it ends. The database file itself is not used: closing any
descriptor of it would drop SQLite's own locks in this process.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from penstock.records import dataclass

_PAUSE_SECONDS = 0.05


def lock_path(database: str, key: str) -> Path:
    return Path(f"{database}.{hashlib.sha256(key.encode()).hexdigest()[:12]}.lock")


def sweep_locks(database: str) -> None:
    """Remove the lock files that killed processes left: those that nobody holds."""
    folder = Path(database).parent
    if not os.access(folder, os.W_OK):
        return
    for path in folder.glob(f"{glob.escape(Path(database).name)}.{'[0-9a-f]' * 12}.lock"):
        with suppress(OSError):  # another user's: it stays
            found = FileLock.take(path, "", 0)
            if isinstance(found, FileLock):
                found.release()


@dataclass(slots=True)
class FileLock:
    """One held lock; `holder` is written into the file for whoever waits."""

    path: Path
    descriptor: int

    @classmethod
    def take(cls, path: Path, holder: str, wait_seconds: float) -> FileLock | str:
        """The lock, or who holds it after the wait."""
        end = time.monotonic() + wait_seconds
        while True:
            found = cls._try(path, holder)
            if isinstance(found, FileLock) or time.monotonic() >= end:
                return found
            time.sleep(min(_PAUSE_SECONDS, max(0.0, end - time.monotonic())))

    @classmethod
    def _try(cls, path: Path, holder: str) -> FileLock | str:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(descriptor, 400).decode(errors="replace")
            os.close(descriptor)
            return text or "another run"
        except BaseException:
            os.close(descriptor)
            raise
        if not _is_same_file(descriptor, path):  # the holder before us removed it between our open and our lock
            os.close(descriptor)
            return "another run"
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, (holder or f"process {os.getpid()}").encode(), 0)
        return cls(path, descriptor)

    def release(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)
