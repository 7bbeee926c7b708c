"""One sqlite3 connection as a SqlLink."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.connectors.sql.link import Stamp, Value
from penstock.connectors.sqlite.cells import to_cell, to_cells
from penstock.connectors.sqlite.dialect import SQLITE
from penstock.connectors.sqlite.explain import safe_message, target_changed
from penstock.connectors.sqlite.locks import FileLock, lock_path, sweep_locks
from penstock.errors import CommitUnknownError, Fault, FencedError, LoadError
from penstock.values import TableName, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_CACHE_KIB = 16_384


def open_file(path: str, *, mode: str, wait_seconds: float = 60.0) -> sqlite3.Connection:
    """A connection in autocommit mode, used by one thread at a time. `mode` is SQLite's: ro, rw, rwc."""
    return sqlite3.connect(
        f"{Path(path).as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=wait_seconds,
    )


def open_for_reading(path: str) -> sqlite3.Connection:
    """Read-only. What a killed writer left half done is rolled back first, which a read-only connection cannot do."""
    connection = open_file(path, mode="ro")
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:
            raise
        with closing(open_file(path, mode="rw")) as recovering:
            recovering.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        return open_file(path, mode="ro")
    except BaseException:
        connection.close()
        raise
    return connection


def close_idle(connection: sqlite3.Connection, in_use: threading.RLock) -> None:
    """Break off what another thread has running, and close once it let go: closing under it crashes the process."""
    with suppress(sqlite3.ProgrammingError):  # it is closed already
        connection.interrupt()
    with in_use:
        connection.close()


class SqliteLink:
    """Raises LoadError, FencedError when another connection keeps the file locked."""

    def __init__(self, path: str, *, writes: bool) -> None:
        self._path = path
        self._locks: dict[str, FileLock] = {}
        self._in_use = threading.RLock()
        if writes:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        else:
            sweep_locks(path)
        self._connection = self._call(lambda: self._connect(writes=writes))

    def _connect(self, *, writes: bool) -> sqlite3.Connection:
        if writes:
            connection = open_file(self._path, mode="rwc")
        elif Path(self._path).exists():
            connection = open_for_reading(self._path)
        else:  # nothing is there, and looking must not make it
            connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        # Views and triggers may name the table that is being swapped: they are by name, and stay as they are.
        connection.execute("PRAGMA legacy_alter_table = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        return connection

    def query(self, sql: str, params: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        return self._call(lambda: self._connection.execute(sql, [to_cell(p) for p in params]).fetchall())

    def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        cursor = self._call(lambda: self._connection.execute(sql, [to_cell(p) for p in params]))
        return max(0, cursor.rowcount)

    def begin(self) -> None:
        self.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:  # SQLite says no: it is not committed, and can be rolled back
                raise self._explain(error) from error
            told, fix = safe_message(error)
            raise CommitUnknownError(
                f"SQLite failed at COMMIT: {told}",
                where=self._path,
                fix=fix or "run again: the ledger tells what is in",
            ) from error

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self._call(lambda: self._connection.execute("ROLLBACK"))

    def copy_in(
        self, table: TableName, schema: TableSchema, batches: Iterable[pa.RecordBatch], stamp: Stamp | None = None
    ) -> int:
        names = (*schema.names, *([stamp.column] if stamp else ()))
        sql = f"INSERT INTO {SQLITE.table(table)} ({SQLITE.columns(names)}) VALUES ({SQLITE.marks(len(names))})"
        kinds = [f.type for f in schema.fields]
        count = 0
        for batch in batches:
            columns: list[Iterable[Any]] = [to_cells(c, k) for c, k in zip(batch.columns, kinds, strict=True)]
            if stamp:
                columns.append(repeat(to_cell(stamp.value), batch.num_rows))
            count += self._insert_many(sql, columns)
        return count

    def _insert_many(self, sql: str, columns: Sequence[Iterable[Any]]) -> int:
        rows = zip(*columns, strict=False)  # a stamp repeats for as long as there are rows
        return max(0, self._call(lambda: self._connection.executemany(sql, rows)).rowcount)

    def lock(self, key: str, holder: str, wait_seconds: float) -> str | None:
        self.execute(f"PRAGMA busy_timeout = {int(wait_seconds * 1000)}")
        path = lock_path(self._path, key)
        try:
            taken = FileLock.take(path, holder, wait_seconds)
        except OSError as error:
            raise LoadError(
                f"the lock file {path.name} cannot be written: {error.strerror}",
                where=self._path,
                fix="make the folder writable; a lock file that another user's run left: remove it once that has ended",
                fault="config",
            ) from error
        if isinstance(taken, str):
            return taken
        self._locks[key] = taken
        return None

    def unlock(self, key: str) -> None:
        self._locks.pop(key).release()

    def close(self) -> None:
        close_idle(self._connection, self._in_use)
        while self._locks:
            self._locks.popitem()[1].release()

    def _call(self, action: Callable[[], T]) -> T:
        try:
            with self._in_use:
                return action()
        except (sqlite3.Error, OverflowError) as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> LoadError:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in _BUSY:
            return FencedError(
                f"SQLite file is locked by another connection: {error}",
                where=self._path,
                fix="wait until the other program has finished writing, or give lock_wait more seconds",
                retryable=True,
            )
        wire = isinstance(error, sqlite3.OperationalError)
        told, fix = safe_message(error)
        if wire and target_changed(error):
            fix = "run again: it is planned from the table as it is now"
            return LoadError(f"SQLite: {told}", where=self._path, fix=fix, fault="transient")
        fault: Fault = "transient" if wire and _is_io(code) else "data"
        return LoadError(f"SQLite: {told}", where=self._path, fix=fix, fault=fault)


def _is_io(code: int | None) -> bool:
    return code is not None and code & 0xFF in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN)
