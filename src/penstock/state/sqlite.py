"""Run history in one SQLite file, shared by as many processes as like."""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock.errors import BackendError, ConfigError
from penstock.failpoints import failpoint
from penstock.protocols import Backend
from penstock.state import history
from penstock.values import RunId, RunRecord, TableRecord

DIALECT = history.Dialect(prefix="", stamp="text", count="integer")
BUSY_SECONDS = 30.0
DELETE_IT = "delete it: only history is lost, the tables and their cursors are not in it"


def open_backend(options: Mapping[str, object]) -> Backend:
    """`options["database"]` is the file's absolute path; it and its folder are made when missing."""
    database = options.get("database")
    if not isinstance(database, str | Path) or not str(database):
        raise ConfigError(
            "the sqlite backend needs the path of its file",
            where="settings.backend.database",
            fix="name a file, or leave settings.backend out: .penstock/state.db beside the project file",
        )
    return SqliteBackend(Path(database))


class SqliteBackend:
    """One connection per backend: closing the last one checkpoints, which takes longer than all that a run records."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._sql = history.statements(DIALECT)
        self._connection = _connect(path)
        self._close = weakref.finalize(self, self._connection.close)
        with self._guarded():
            _migrate(self._connection, str(path))

    def close(self) -> None:
        self._close()

    def start_run(self, run: RunRecord) -> None:
        self._record(self._sql.put_run, history.run_cells(run))

    def finish_run(self, run: RunRecord) -> None:
        self._record(self._sql.put_run, history.run_cells(run))

    def record_table(self, record: TableRecord) -> None:
        self._record(self._sql.put_table, history.table_cells(record))

    def runs(self, limit: int, *, before: datetime | None = None) -> Sequence[RunRecord]:
        rows = self._read(self._sql.runs, [before or history.FOREVER, max(limit, 0)])
        return [history.run_from(row) for row in rows]

    def run(self, run_id: RunId) -> tuple[RunRecord, Sequence[TableRecord]] | None:
        rows = self._read(self._sql.run, [run_id])
        if not rows:
            return None
        tables = self._read(self._sql.tables, [run_id])
        return history.run_from(rows[0]), [history.table_from(row) for row in tables]

    def _record(self, statement: str, cells: Sequence[history.Cell]) -> None:
        with self._guarded(), _transaction(self._connection):
            self._connection.execute(statement, _bound(cells))
            failpoint("backend.recorded")
        failpoint("backend.committed")

    def _read(self, statement: str, cells: Sequence[history.Cell]) -> list[tuple[Any, ...]]:
        with self._guarded():
            return self._connection.execute(statement, _bound(cells)).fetchall()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with self._guard, _explained(self._path):
            yield


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _explain(error, path) from error


def _explain(error: sqlite3.Error, path: Path) -> BackendError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    what = f"the run history cannot be used: {error}"
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return BackendError(what, where=str(path), fix=DELETE_IT, fault="data")
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return BackendError(what, where=str(path), fix="another process holds it: try again when it is done")
    if isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:
        fix = "make the file and its folder writable, or name another under settings.backend.database"
        return BackendError(what, where=str(path), fix=fix, fault="config")
    return BackendError(what, where=str(path), fix=DELETE_IT, fault="data")


def _connect(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BackendError(
            f"the folder of the run history cannot be made: {error.strerror}",
            where=str(path.parent),
            fix="name a writable place under settings.backend.database",
            fault="config",
        ) from error
    with _explained(path):
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if names and "penstock_version" not in names:
        raise BackendError(
            "this SQLite file holds other tables and no run history",
            where=str(path),
            fix="name a file of its own under settings.backend.database",
            fault="config",
        )
    _switch_to_wal(connection)
    # Beside a write-ahead log this never damages the file; a power cut may take the last lines of the history.
    connection.execute("PRAGMA synchronous = NORMAL")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    # SQLite does not call the busy handler here: two processes that open a new file at once would fail at once.
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
        else:
            return


def _migrate(connection: sqlite3.Connection, where: str) -> None:
    create, read, clear, write = history.version_statements(DIALECT)
    latest = history.latest(DIALECT)
    if _version(connection, read) == latest:
        return
    with _transaction(connection):
        connection.execute(create)
        for statement in history.pending(DIALECT, _version(connection, read), where):
            connection.execute(statement)
        connection.execute(clear)
        connection.execute(write, _bound([latest]))
        failpoint("backend.recorded")
    failpoint("backend.committed")


def _version(connection: sqlite3.Connection, read: str) -> int:
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'penstock_version'").fetchone()
    row = connection.execute(read).fetchone() if known else None
    return int(row[0]) if row else 0


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _bound(cells: Sequence[history.Cell]) -> dict[str, str | int | None]:
    return {str(n): _text(cell) for n, cell in enumerate(cells, 1)}


def _text(cell: history.Cell) -> str | int | None:
    # One width and one zone, so that text sorts as time does.
    return cell.astimezone(UTC).isoformat(timespec="microseconds") if isinstance(cell, datetime) else cell
