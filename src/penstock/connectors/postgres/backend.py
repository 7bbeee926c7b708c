"""Run history in a PostgreSQL schema, shared by as many machines as like."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

from penstock.connectors.postgres import loop
from penstock.connectors.postgres.connect import Session, address_of
from penstock.errors import BackendError, ConfigError, PenstockError
from penstock.failpoints import failpoint
from penstock.protocols import Backend
from penstock.state import history
from penstock.values import Connection, RunId, RunRecord, Secret, TableRecord

T = TypeVar("T")

DEFAULT_SCHEMA = "penstock"
_LOCK = 0x50454E53544F434B  # one migration at a time in a database
# Not to_regclass(): it may answer from a cache that is older than the lock just waited for.
_HAS_VERSION = (
    "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = $1 AND c.relname = 'penstock_version'"
)


def open_backend(options: Mapping[str, object]) -> Backend:
    """The keys are those of a connection (host, port, database, user, password) and `schema`, made when missing."""
    return PostgresBackend(_connection_from(options), str(options.get("schema") or DEFAULT_SCHEMA))


class PostgresBackend:
    """One session, opened when first needed and again when the link was lost."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self._dialect = history.Dialect(prefix=f"{_quoted(schema)}.", stamp="timestamptz", count="bigint")
        self._sql = history.statements(self._dialect)
        self._guard = threading.Lock()
        self._session: Session | None = None
        self._ask(self._migrate)
        # Registered after the loop's own farewell, hence called before it.
        atexit.register(_close_at_exit, weakref.ref(self))

    def close(self) -> None:
        with self._guard:
            session, self._session = self._session, None
            if session is not None:
                session.close()

    def start_run(self, run: RunRecord) -> None:
        self._record(self._sql.put_run, history.run_cells(run))

    def finish_run(self, run: RunRecord) -> None:
        self._record(self._sql.put_run, history.run_cells(run))

    def record_table(self, record: TableRecord) -> None:
        self._record(self._sql.put_table, history.table_cells(record))

    def runs(self, limit: int, *, before: datetime | None = None) -> Sequence[RunRecord]:
        rows = self._read(self._sql.runs, before or history.FOREVER, max(limit, 0))
        return [history.run_from(row) for row in rows]

    def run(self, run_id: RunId) -> tuple[RunRecord, Sequence[TableRecord]] | None:
        rows = self._read(self._sql.run, run_id)
        if not rows:
            return None
        return history.run_from(rows[0]), [history.table_from(row) for row in self._read(self._sql.tables, run_id)]

    def _record(self, statement: str, cells: Sequence[history.Cell]) -> None:
        def write(session: Session) -> None:
            failpoint("backend.recorded")
            session.execute(statement, *cells)  # commits by itself
            failpoint("backend.committed")

        self._ask(write)

    def _read(self, statement: str, *cells: history.Cell) -> list[tuple[Any, ...]]:
        return self._ask(lambda session: session.query(statement, *cells))

    def _ask(self, question: Callable[[Session], T]) -> T:
        """Ask once more on a new session when the link is gone: every statement here may be repeated."""
        with self._guard, _explained(self._connection):
            known = self._session
            session = known if known is not None and not known.closed else self._open()
            try:
                return question(session)
            except BackendError:
                if session is not known or not session.closed:
                    raise
            return question(self._open())

    def _open(self) -> Session:
        session = Session(self._connection, application="history", kind=BackendError)
        self._session = session
        # Whoever collects this object may be the loop's own thread, which must not wait for itself.
        finalizer = weakref.finalize(self, loop.get().call_soon_threadsafe, session.raw.terminate)
        finalizer.atexit = False
        return session

    def _migrate(self, session: Session) -> None:
        create, read, clear, write = history.version_statements(self._dialect)
        latest = history.latest(self._dialect)
        if self._version(session, read) == latest:
            return
        session.begin()
        try:
            session.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            version = self._version(session, read)
            # IF NOT EXISTS still asks for the right to create: a schema made by an administrator is enough.
            if not session.query("SELECT 1 FROM pg_namespace WHERE nspname = $1", self._schema):
                session.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(self._schema)}")
            for statement in (create, *history.pending(self._dialect, version, _where(self._connection)), clear):
                session.execute(statement)
            session.execute(write, latest)
            failpoint("backend.recorded")
            session.commit()
            failpoint("backend.committed")
        except BaseException:
            session.rollback()
            raise

    def _version(self, session: Session, read: str) -> int:
        if not session.query(_HAS_VERSION, self._schema):
            return 0
        rows = session.query(read)
        return int(rows[0][0]) if rows else 0


def _close_at_exit(reference: weakref.ref[PostgresBackend]) -> None:
    backend = reference()
    if backend is not None:
        backend.close()


@contextmanager
def _explained(connection: Connection) -> Iterator[None]:
    try:
        yield
    except PenstockError as error:
        kind = ConfigError if isinstance(error, ConfigError) else BackendError
        raise kind(
            f"the run history cannot be used: {error.what}",
            where=_where(connection),
            fix=error.fix,
            fault=error.fault,
            retryable=error.retryable,
        ) from error


def _where(connection: Connection) -> str:
    return address_of(connection).removeprefix("connections.")


def _connection_from(options: Mapping[str, object]) -> Connection:
    extra: dict[str, str | int | float | bool | Secret | None] = {
        k: v for k, v in options.items() if k.startswith("ssl") and isinstance(v, str | Secret)
    }
    nested = options.get("extra")
    if isinstance(nested, Mapping):
        extra |= {str(k): v for k, v in nested.items() if isinstance(v, str | int | float | bool | Secret)}
    port = options.get("port")
    return Connection(
        name="settings.backend",
        variant="postgres",
        host=_text(options, "host"),
        port=int(str(port)) if port is not None else None,
        database=_text(options, "database"),
        user=_text(options, "user"),
        password=_secret(options.get("password")),
        extra=extra,
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(options: Mapping[str, object], name: str) -> str | None:
    value = options.get(name)
    return str(value) if value is not None else None


def _secret(password: object) -> Secret | None:
    if password is None or isinstance(password, Secret):
        return password
    text = str(password)
    return Secret("settings.backend.password", lambda: text)
