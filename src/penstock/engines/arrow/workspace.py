"""Where transforms compute: one DuckDB of this run, held to its memory, and a folder to spill to."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

_FOLDER_PREFIX: Final = "penstock-work-"
_LEAST_BYTES: Final = 128 << 20  # measured: sorts and windows 10M wide rows; with 48 MB it gave up at 4M
_BYTES_PER_THREAD: Final = 128 << 20  # with less for each, DuckDB's threads run out of memory instead of spilling


class Workspace:
    """Opened when first needed. The folder's lock tells the next process whether its owner still lives."""

    def __init__(self, memory_bytes: int, threads: int, temp_dir: Path | None) -> None:
        self._memory_bytes = max(memory_bytes, _LEAST_BYTES)
        self._threads = max(1, min(threads, self._memory_bytes // _BYTES_PER_THREAD))
        self._parent = temp_dir
        self._guard = threading.Lock()
        self._database: Any = None
        self._folder: Path | None = None
        self._lock: IO[bytes] | None = None

    @contextlib.contextmanager
    def cursor(self) -> Iterator[Any]:
        """A connection of its own to the shared database; temporary tables go with it."""
        with self._guard:
            if self._database is None:
                self._database = self._open_database(self._open_folder())
            cursor = self._database.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    @contextlib.contextmanager
    def file(self, suffix: str) -> Iterator[Path]:
        """A path in the folder, gone afterwards."""
        with self._guard:
            folder = self._open_folder()
        with tempfile.NamedTemporaryFile(dir=folder, suffix=suffix, delete=True) as handle:
            yield Path(handle.name)

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder of its own in the folder, gone afterwards."""
        with self._guard:
            parent = self._open_folder()
        made = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def close(self) -> None:
        with self._guard:
            if self._database is not None:
                self._database.close()
                self._database = None
            if self._folder is not None and self._lock is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._lock.close()
                self._folder = self._lock = None
            _sweep(self._place)  # also where this run needed no folder: what a killed one left goes with the next run

    def _open_database(self, folder: Path) -> Any:
        import duckdb

        settings = {
            "memory_limit": f"{self._memory_bytes // 1024}KiB",
            "threads": self._threads,
            "temp_directory": str(folder / "duckdb"),
            "preserve_insertion_order": "true",
        }
        database = duckdb.connect(":memory:", config=settings)
        database.execute("SET GLOBAL TimeZone = 'UTC'")  # plain SET would not reach the cursors
        return database

    def _open_folder(self) -> Path:
        if self._folder is None:
            self._place.mkdir(parents=True, exist_ok=True)
            _sweep(self._place)
            self._folder, self._lock = _make_folder(self._place)
        return self._folder

    @property
    def _place(self) -> Path:
        return self._parent or Path(tempfile.gettempdir())


def _make_folder(parent: Path) -> tuple[Path, IO[bytes]]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=parent))
        lock = (folder / "lock").open("wb")
        with contextlib.suppress(BlockingIOError):  # somebody sweeps, and found it before it was locked
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (folder / "lock").exists():
                return folder, lock
        lock.close()


def _sweep(parent: Path) -> None:
    """Remove folders whose process is provably gone: nobody holds their lock."""
    for lock in parent.glob(f"{_FOLDER_PREFIX}*/lock"):
        with contextlib.suppress(OSError), lock.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
