"""Opens sessions: UTC, UTF-8, TLS by default, errors told by what the user can do about them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.connectors.postgres import loop
from penstock.connectors.postgres.explain import driver_errors, explain_error, safe_message, without_frames
from penstock.errors import ConfigError, PenstockError
from penstock.values import Connection, Secret

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")

SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_WRONG_LOGIN = ("28P01", "28000")


def address_of(connection: Connection) -> str:
    """Where a connection goes, without a secret: `connections.name (host:port/database)`."""
    return f"connections.{connection.name} ({_host(connection)}:{_port(connection)}/{_database(connection)})"


async def open_connection(connection: Connection, *, application: str) -> asyncpg.Connection:
    """Log in. Raises ConfigError (login, database, host name, TLS) or a transient PenstockError (refused, lost)."""
    password = _Password(connection.password)
    try:
        return await _connect(connection, password, application)
    except ConfigError as error:
        if getattr(error.__cause__, "sqlstate", None) not in _WRONG_LOGIN or not password.rotate():
            raise
        return await _connect(connection, password, application)


class _Password:
    """The password as the driver asks for it: no local variable of ours, which tracebacks may show, is the text."""

    def __init__(self, secret: Secret | None) -> None:
        self._secret = secret
        self._text = _reveal(secret)

    def __call__(self) -> str | None:
        return self._text

    def rotate(self) -> bool:
        """Fetch it anew; whether it is another one."""
        before, self._text = self._text, _reveal(self._secret)
        return self._text != before


async def _connect(connection: Connection, password: _Password, application: str) -> asyncpg.Connection:
    try:
        return await _log_in(connection, password, application)
    except driver_errors() as error:
        without_frames(error)
        raise _explain_login(connection, error) from error


async def _log_in(connection: Connection, password: _Password, application: str) -> asyncpg.Connection:
    import asyncpg

    return await asyncpg.connect(
        host=_host(connection),
        port=_port(connection),
        user=connection.user or "postgres",
        password=password if password() is not None else None,  # without one the driver looks for .pgpass
        database=_database(connection),
        ssl=_tls(connection),
        timeout=float(_text(connection.extra, "connect_timeout") or 30),
        # DDL in a session would invalidate cached statements, and poolers do not keep them
        statement_cache_size=0,
        server_settings={"application_name": f"penstock {application}"[:63], "timezone": "UTC"},
    )


def _explain_login(connection: Connection, error: BaseException) -> PenstockError:
    import asyncpg

    if isinstance(error, asyncpg.PostgresError):
        return explain_error(error, where=address_of(connection))
    if isinstance(error, socket.gaierror):
        return _unknown_host(connection, error)
    if isinstance(error, ssl.SSLError):
        return _tls_failed(connection, error.reason or type(error).__name__)
    return _unreachable(connection, error)


def _unknown_host(connection: Connection, error: socket.gaierror) -> PenstockError:
    host = _host(connection)
    if error.errno == socket.EAI_AGAIN:
        return PenstockError(
            f"the name {host!r} could not be looked up now", where=address_of(connection), fault="transient"
        )
    return ConfigError(f"unknown host {host!r}", where=address_of(connection), fix="correct `host` of the connection")


def _tls_failed(connection: Connection, reason: str) -> PenstockError:
    return ConfigError(
        f"TLS could not be agreed on with the server: {reason}",
        where=address_of(connection),
        fix="give the server's certificate authority as `sslrootcert`, or choose `sslmode` "
        f"({', '.join(SSL_MODES)}) knowingly",
    )


def _unreachable(connection: Connection, error: BaseException) -> PenstockError:
    if "SSL" in str(error) and isinstance(error, ConnectionError):
        return _tls_failed(connection, "the server does not offer it")
    reason = "it did not answer in time" if isinstance(error, TimeoutError) else (_reason(error))
    return PenstockError(
        f"the server cannot be reached: {reason}",
        where=address_of(connection),
        fix="start the server, or correct `host` and `port` of the connection",
        fault="transient",
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return safe_message(error) if not isinstance(error, OSError) else (error.strerror or type(error).__name__)


def _tls(connection: Connection) -> ssl.SSLContext | str | bool:
    mode = _text(connection.extra, "sslmode") or _default_mode(connection)
    if mode not in SSL_MODES:
        raise ConfigError(
            f"unknown sslmode {mode!r}", where=address_of(connection), fix=f"one of {', '.join(SSL_MODES)}"
        )
    if mode == "disable":
        return False
    if mode == "prefer":
        return "prefer"
    return _tls_context(connection, mode)


def _default_mode(connection: Connection) -> str:
    host = _host(connection)
    return "disable" if host in _LOOPBACK or host.startswith("/") else "verify-full"


def _tls_context(connection: Connection, mode: str) -> ssl.SSLContext:
    authority = _text(connection.extra, "sslrootcert")
    certificate = _text(connection.extra, "sslcert")
    try:
        context = ssl.create_default_context(cafile=authority)
        if certificate:
            context.load_cert_chain(certificate, _text(connection.extra, "sslkey"))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"a TLS file cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}",
            where=address_of(connection),
            fix="correct sslrootcert, sslcert and sslkey of the connection",
        ) from error
    context.check_hostname = mode == "verify-full"
    if mode == "require" and not authority:
        context.verify_mode = ssl.CERT_NONE
    return context


def _host(connection: Connection) -> str:
    return connection.host or "localhost"


def _port(connection: Connection) -> int:
    return connection.port or 5432


def _database(connection: Connection) -> str:
    return connection.database or connection.user or "postgres"


def _reveal(secret: Secret | None) -> str | None:
    return secret.reveal() if secret is not None else None


def _text(extra: Mapping[str, str | int | float | bool | Secret | None], name: str) -> str | None:
    value = extra.get(name)
    if value is None:
        return None
    return value.reveal() if isinstance(value, Secret) else str(value)


class Session:
    """One connection, used by one thread at a time and without waiting for the loop by hand."""

    def __init__(self, connection: Connection, *, application: str, kind: type[PenstockError] = PenstockError) -> None:
        self._where = address_of(connection)
        self._kind = kind
        self._raw = self._open(connection, application)

    def _open(self, connection: Connection, application: str) -> asyncpg.Connection:
        try:
            return loop.run(open_connection(connection, application=application))
        except ConfigError:
            raise
        except PenstockError as error:
            raise self._kind(
                error.what, where=error.where, fix=error.fix, fault=error.fault, retryable=error.retryable
            ) from error

    @property
    def raw(self) -> asyncpg.Connection:
        """The driver's connection, for coroutines on the shared loop."""
        return self._raw

    @property
    def where(self) -> str:
        return self._where

    @property
    def closed(self) -> bool:
        return bool(self._raw.is_closed())

    @property
    def in_transaction(self) -> bool:
        return not self.closed and bool(self._raw.is_in_transaction())

    def query(self, sql: str, *args: object) -> list[tuple[Any, ...]]:
        """All rows of one statement; values are bound as $1, $2, ..."""
        return [tuple(row) for row in self.wait(self._raw.fetch(sql, *args))]

    def execute(self, sql: str, *args: object) -> str:
        """Run it and return the command tag; without arguments it may be several statements, in one round trip."""
        return str(self.wait(self._raw.execute(sql, *args)))

    def begin(self) -> None:
        self.execute("BEGIN")

    def commit(self) -> None:
        self.execute("COMMIT")

    def rollback(self) -> None:
        """Safe at any time: a session that is closed or idle has nothing to undo."""
        if self.in_transaction:
            self.execute("ROLLBACK")

    def close(self) -> None:
        """Close in good order; a link that is broken already is dropped."""
        loop.run(close_connection(self._raw))

    def wait(self, awaitable: Coroutine[Any, Any, T]) -> T:
        """Await a driver call on the loop; its errors come back as ours."""
        try:
            return loop.run(awaitable)
        except driver_errors() as error:
            raise self.explain(error) from error

    def explain(self, error: BaseException) -> PenstockError:
        return explain_error(error, where=self._where, kind=self._kind)


async def close_connection(raw: asyncpg.Connection) -> None:
    """Say goodbye within two seconds, else drop the link."""
    if raw.is_closed():
        raw.terminate()
        return
    try:
        await raw.close(timeout=2)
    except driver_errors():
        raw.terminate()
    except asyncio.CancelledError:
        raw.terminate()
        raise


__all__ = ["Session", "address_of", "close_connection", "explain_error", "open_connection"]
