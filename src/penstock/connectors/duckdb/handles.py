"""One handle per DuckDB file and process: opened late, shared by cursors, closed with the last of them.

Opening a file costs some 25 ms of CPU, so where a run looks at one several times before it loads, `kept_open` keeps the
handle between the looks; the end of a load closes it all the same, since other processes wait for the file.

DuckDB locks a file for one process; inside the process every session is a cursor of the same handle.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import field
from pathlib import Path
from typing import Any

from penstock.errors import FencedError, LoadError
from penstock.records import dataclass

RIGHTS = "correct the rights of the file and its folder: a destination writes to both"

_PAUSE_SECONDS = 0.1

_guard = threading.Condition()
_handles: dict[str, _Handle] = {}
_locks: dict[tuple[str, str], str] = {}
_destinations: set[str] = set()
_kept: Counter[str] = Counter()
_settings: dict[str, str] = {}
_waits = {"lock": 60.0}


@dataclass(slots=True)
class _Handle:
    connection: Any
    read_only: bool
    path: str
    file: tuple[int, int]  # device and inode: what the handle writes to, whatever stands at the path by now
    users: int = 0
    # Held while a transaction commits, and while several begin that must see the same state.
    still: threading.RLock = field(default_factory=threading.RLock)


def configure(
    memory_bytes: int | None = None, temp_dir: str | None = None, lock_wait_seconds: float | None = None
) -> None:
    """Bounds of every handle opened from here on; what does not fit in memory spills to `temp_dir`."""
    with _guard:
        if memory_bytes is not None:
            _settings["memory_limit"] = f"{max(1, memory_bytes // 1_000_000)}MB"
        if temp_dir is not None:
            _settings["temp_directory"] = temp_dir
        if lock_wait_seconds is not None:
            _waits["lock"] = lock_wait_seconds


def remember_destination(path: str) -> None:
    """From here on the file is opened for writing, by sources too: one file has one handle."""
    with _guard:
        _destinations.add(os.path.realpath(path))


@dataclass(slots=True)
class Session:
    """A cursor of the file's handle, or of a database in memory where there is no file and none may be made."""

    path: str
    cursor: Any
    _handle: _Handle | None = None
    _is_load: bool = False
    _held: list[str] = field(default_factory=list)

    def lock(self, key: str, holder: str, wait_seconds: float) -> str | None:
        """Between threads of this process; other processes are kept out by the handle itself."""
        place = (os.path.realpath(self.path), key)
        with _guard:
            free = _guard.wait_for(lambda: place not in _locks, wait_seconds)
            if not free:
                return _locks[place]
            _locks[place] = holder or f"process {os.getpid()}"
        self._held.append(key)
        return None

    @property
    def still(self) -> AbstractContextManager[object]:
        """While it is held, no session of this file commits: and only this process can."""
        return self._handle.still if self._handle is not None else nullcontext()

    def unlock(self, key: str) -> None:
        with _guard:
            _locks.pop((os.path.realpath(self.path), key), None)
            _guard.notify_all()
        self._held.remove(key)

    def close(self) -> None:
        self.cursor.close()
        if self._handle is not None:
            _release(self._handle, keeps=not self._is_load)
            self._handle = None
        for key in list(self._held):
            self.unlock(key)


def open_session(path: str, *, makes_file: bool) -> Session:
    """Raises FencedError, naming the process that holds the file, once `lock_wait` is over."""
    import duckdb

    if not makes_file and not Path(path).exists():
        return Session(path, _prepared(_bounded(duckdb.connect(":memory:"))))
    if makes_file:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + _waits["lock"]
    while True:
        try:
            handle = _acquire(path)
            return Session(path, _prepared(handle.connection.cursor()), handle, makes_file)
        except duckdb.IOException as error:
            if "lock" not in str(error).lower():
                if "Permission denied" in str(error):
                    raise LoadError(f"DuckDB: {error}", where=path, fix=RIGHTS, fault="config") from error
                raise LoadError(f"DuckDB: {error}", where=path, fault="transient") from error
            if time.monotonic() >= end:
                raise _locked(path, str(error)) from error
        time.sleep(_PAUSE_SECONDS)


def _acquire(path: str) -> _Handle:
    import duckdb

    place = os.path.realpath(path)
    with _guard:
        handle = _handles.get(place)
        writes = place in _destinations
        if handle is not None and handle.read_only and writes:
            raise FencedError(
                "the DuckDB file is open for reading in this process and cannot be written to now",
                where=path,
                fix="open the destination before the source",
            )
        if handle is not None and not handle.users and handle.file != _file_at(place):
            _close(handle)
            handle = None
        if handle is None:
            connection = _bounded(duckdb.connect(place, read_only=not writes))
            handle = _handles[place] = _Handle(connection, not writes, place, _file_at(place))
        handle.users += 1
        return handle


def _release(handle: _Handle, *, keeps: bool) -> None:
    with _guard:
        handle.users -= 1
        if handle.users == 0 and not (keeps and _kept[handle.path]):
            _close(handle)


def _close(handle: _Handle) -> None:
    del _handles[handle.path]
    handle.connection.close()


def _file_at(place: str) -> tuple[int, int]:
    try:
        found = Path(place).stat()
    except FileNotFoundError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


@contextmanager
def kept_open(path: str) -> Iterator[None]:
    """While it lasts, the file stays open between one look at it and the next, until a load of it ends."""
    place = os.path.realpath(path)
    with _guard:
        _kept[place] += 1
    try:
        yield
    finally:
        with _guard:
            _kept[place] -= 1
            handle = _handles.get(place)
            if not _kept[place] and handle is not None and not handle.users:
                _close(handle)


def _bounded(connection: Any) -> Any:
    """Set after opening: a process may open one file again only with the very same options of connect()."""
    for name, value in _settings.items():
        connection.execute(f"SET GLOBAL {name} = '{value.replace(chr(39), chr(39) * 2)}'")
    return connection


def _prepared(cursor: Any) -> Any:
    cursor.execute("SET TimeZone = 'UTC'")
    return cursor


def _locked(path: str, message: str) -> FencedError:
    found = re.search(r"held in (.+?) \(PID (\d+)\)", message)
    holder = f"process {found[2]} ({Path(found[1]).name})" if found else "another process"
    return FencedError(
        f"the DuckDB file is held by {holder}, and was for the {_waits['lock']:g} s of lock_wait",
        where=path,
        fix="run again once that process has ended, be it another run or a shell: DuckDB gives a file to one process "
        "at a time; settings.lock_wait says how long to wait for it, 10m for instance",
    )
