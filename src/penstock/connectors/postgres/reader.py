"""Reads splits as Arrow record batches through ADBC, which speaks COPY and decodes it in C."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from penstock.connectors.postgres.adbc import AdbcSession
from penstock.connectors.postgres.connect import address_of
from penstock.connectors.postgres.decode import Decoder
from penstock.connectors.postgres.explain import fault_of, without_frames
from penstock.connectors.postgres.relay import CopyChunks, snapshot_of
from penstock.connectors.postgres.settings import bind_sql, session_settings
from penstock.connectors.postgres.types import ARRAY_MARK
from penstock.errors import ConfigError, ExtractionError, PenstockError, SourceChangedError
from penstock.records import dataclass
from penstock.values import Batch, Connection, Secret, Split

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_GONE = ("42P01", "42703", "3F000")
# a failure in mid-stream comes without sqlstate: only these words of the server are known to hold no row value
_SAFE_WORDS = (
    "division by zero",
    "invalid input syntax for type",
    "value out of range",
    "numeric field overflow",
    "canceling statement due to",
    "out of memory",
    "deadlock detected",
    "could not read block",
    "invalid byte sequence for encoding",
)
_PASSING = ("conflict with recovery", "deadlock detected", "out of memory", "too many")


@dataclass(frozen=True, slots=True)
class PostgresReader:
    """Opens its own connection for each split, on the session's snapshot."""

    connection: Connection

    def read(self, split: Split) -> Iterator[Batch]:
        """The split's rows. Raises SourceChangedError where the result is not what was planned."""
        where = f"{address_of(self.connection)}, {split.stream}"
        try:
            with closing(_connect(self.connection)) as session:
                _enter_snapshot(session, split.work, self.connection)
                with closing(session.stream(str(split.work["sql"]), _number(split.work, "batch_bytes"))) as batches:
                    yield from _decoded(batches, split, where)
        except PenstockError:
            raise
        except _driver_errors() as error:
            raise explain_adbc(error, where, split) from None

    def relay(self, split: Split) -> CopyChunks:
        """The split's rows as COPY BINARY, of the stream's columns in order."""
        return CopyChunks(self.connection, split)


def _decoded(batches: Any, split: Split, where: str) -> Iterator[Batch]:
    decoder = Decoder.of(split, batches.schema, where)
    limit = max(int(_number(split.work, "batch_rows")), 1)
    for batch in batches:
        for start in range(0, batch.num_rows, limit):
            rows, cursors = decoder.decode(batch.slice(start, limit))
            yield Batch(split.stream, rows, cursors)


def _number(work: Mapping[str, Any], name: str) -> int:
    return int(work[name])


def _enter_snapshot(session: AdbcSession, work: Mapping[str, Any], connection: Connection) -> None:
    snapshot = snapshot_of(work)
    session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    session.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
    session.execute(*bind_sql({**session_settings(connection), **work["settings"]}))


def numeric_modifiers(connection: Connection, sql: str, where: str) -> Mapping[str, str]:
    """`numeric(p,s)` by column of a query's result: asyncpg does not hand modifiers on, ADBC does for numeric."""
    try:
        with closing(_connect(connection)) as session:
            session.execute(*bind_sql(session_settings(connection)))
            schema = session.schema(sql)
    except _driver_errors() as error:
        raise explain_adbc(error, where, None) from None
    found = {field.name: int((field.metadata or {}).get(b"POSTGRESQL:typmod", b"-1")) for field in schema}
    return {name: f"numeric({_precision(modifier)})" for name, modifier in found.items() if modifier >= 4}


def _precision(modifier: int) -> str:
    """`p,s` as the server packs them: 4 + (p << 16 | s in 11 bits, signed since version 15)."""
    packed = modifier - 4
    scale = packed & 0x7FF
    return f"{packed >> 16 & 0xFFFF},{(scale ^ 1024) - 1024}"


def _connect(connection: Connection) -> AdbcSession:
    try:
        return AdbcSession(conninfo(connection))
    except _driver_errors() as error:
        without_frames(error)
        raise explain_adbc(error, address_of(connection), None) from None


def conninfo(connection: Connection) -> str:
    """libpq's connection string, secret included: never to be shown."""
    settings = {**login_settings(connection), "application_name": "penstock reader", "client_encoding": "UTF8"}
    # keys of the project named like a driver's own are not passed on: only what is listed here is
    return " ".join(f"{name}={_escaped(value)}" for name, value in settings.items() if value is not None)


def login_settings(connection: Connection) -> dict[str, object]:
    """Where and as whom to log in, in libpq's words; the password is in it."""
    host = connection.host or "localhost"
    return {
        "host": host,
        "port": connection.port or 5432,
        "user": connection.user or "postgres",
        "password": connection.password.reveal() if connection.password is not None else None,
        "dbname": connection.database or connection.user or "postgres",
        "connect_timeout": _revealed(connection, "connect_timeout") or 30,
        **_tls(connection, host),
    }


def _tls(connection: Connection, host: str) -> dict[str, object]:
    loopback = host in _LOOPBACK or host.startswith("/")
    mode = _revealed(connection, "sslmode") or ("disable" if loopback else "verify-full")
    authority = _revealed(connection, "sslrootcert")
    if authority is None and mode.startswith("verify"):
        authority = _system_authorities()
    files = {name: _revealed(connection, name) for name in ("sslcert", "sslkey")}
    return {"sslmode": mode, "sslrootcert": authority, **files}


def _system_authorities() -> str:
    """The certificate authorities Python trusts: the driver's own OpenSSL looks elsewhere."""
    paths = ssl.get_default_verify_paths()
    known = (
        paths.cafile,
        paths.openssl_cafile,
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
    )
    return next((p for p in known if p and os.path.exists(p)), "system")  # noqa: PTH110 - a plain look


def _revealed(connection: Connection, name: str) -> str | None:
    value = connection.extra.get(name)
    if value is None:
        return None
    return value.reveal() if isinstance(value, Secret) else str(value)


def _escaped(value: object) -> str:
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


def _driver_errors() -> tuple[type[BaseException], ...]:
    import adbc_driver_manager
    import pyarrow as pa

    return (adbc_driver_manager.Error, pa.ArrowException, OSError)


def explain_adbc(error: BaseException, where: str, split: Split | None) -> PenstockError:
    """The error of ours; its text never holds a row value, so the driver's own is not chained."""
    text = str(error)
    state = getattr(error, "sqlstate", None) or ""
    if ARRAY_MARK in text:
        return ExtractionError(
            "an array has several dimensions: Arrow lists have one",
            where=where,
            fix=f"read it as text, `columns: {{name: string}}`; it is one of {_of_type(split, 'list<')}",
        )
    if "would overflow when converting to nanoseconds" in text:
        return ExtractionError(
            "an interval is longer than 292 years: Arrow counts nanoseconds",
            where=where,
            fix=f"read it as text, `columns: {{name: string}}`; it is one of {_of_type(split, 'interval')}",
        )
    if state in _GONE:
        return SourceChangedError(
            f"a table or column went away while it was read (sqlstate {state})",
            where=where,
            fix="run again; where it is gone for good, take it out of the project",
            retryable=True,
        )
    if ("snapshot" in text and "not exist" in text) or "invalid snapshot" in text:
        return ExtractionError("the read session's snapshot is gone", where=where, fix="run again", fault="transient")
    if state:
        return _explain_state(state, text, where)
    return _explain_stream(error, where)


def _explain_state(state: str, text: str, where: str) -> PenstockError:
    if state.startswith(("28", "3D")):
        return ConfigError(
            f"the server refused the login (sqlstate {state})", where=where, fix="check user, password and database"
        )
    return ExtractionError(f"{_words(text)} (sqlstate {state})", where=where, fault=fault_of(state))


def _explain_stream(error: BaseException, where: str) -> PenstockError:
    import pyarrow as pa

    text = str(error)
    if "ERROR:" in text:
        passing = any(words in text for words in _PASSING)
        return ExtractionError(
            f"the server stopped the read: {_words(text)}", where=where, fault="transient" if passing else "data"
        )
    if isinstance(error, pa.ArrowInvalid | pa.ArrowNotImplementedError):
        return ExtractionError(
            "the driver could not decode a value", where=where, fix="read the columns in question as text", fault="data"
        )
    if "authentication failed" in text or "no pg_hba.conf entry" in text or "SSL error" in text:
        return ConfigError("the server refused the reader's login", where=where, fix="check user, password and sslmode")
    return ExtractionError("the connection to the server was lost", where=where, fault="transient")


def _words(text: str) -> str:
    """What went wrong, in words that hold no value of a row."""
    known = next((words for words in _SAFE_WORDS if words in text), None)
    if known is not None:
        return known
    denied = re.search(r"permission denied for [a-z ]+", text)
    return denied[0].strip() if denied else "its log has the message, which may hold values and is not shown"


def _of_type(split: Split | None, prefix: str) -> str:
    return ", ".join(f.name for f in split.schema.fields if f.type.startswith(prefix)) if split is not None else ""
