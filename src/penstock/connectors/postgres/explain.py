"""What an error of the server or the link means: what, where, way out; never a row value or a secret."""

from __future__ import annotations

import re

from penstock.errors import ConfigError, Fault, LoadError, PenstockError

_TRANSIENT = ("08", "53", "40", "57P", "55P03")
_CONFIG = ("42", "28", "3D", "3F", "0A", "25006", "2BP01", "55006", "57014")
_DATA = ("22", "23", "21", "44", "54", "P0")
_TARGET_CHANGED = ("42P01", "42703")  # a table or column that was there when the load was planned
_QUOTED = re.compile(r'".*"', re.DOTALL)
_PLACE = re.compile(r", line \d+, column ([^:]+)$")

_READ_AS_TEXT = "correct the rows at the source, or read the column as text: columns: {NAME: string}"
_FIXES = {
    "22P05": "PostgreSQL keeps no NUL character in text or JSON: remove it in a transform",
    "28P01": "check user and password of the connection",
    "28000": "check user, password and pg_hba.conf; where the server wants TLS say `sslmode: verify-full`",
    "3D000": "create the database, or correct `database` of the connection",
    "3F000": "create the schema, or correct `schema` of the connection",
    "42501": "grant the user of the connection the right that is missing",
    "53300": "raise the server's max_connections, or lower max_connections of the connection",
    "53100": "free disk space at the server",
    "54000": "PostgreSQL keeps a row in one page of 8 kB, long texts aside: load fewer columns, or narrower ones",
    "57014": "raise statement_timeout of the connection's user",
    "25006": "the server is read only: connect to the primary",
}


def explain_error(error: BaseException, *, where: str, kind: type[PenstockError] = PenstockError) -> PenstockError:
    """The error of ours that this one means; `kind` says which side it is told for.

    The given error loses DETAIL, CONTEXT and everything else that may hold a row, so that chaining it is safe.
    """
    import asyncpg

    if isinstance(error, PenstockError):
        return error
    if isinstance(error, asyncpg.PostgresError):
        return _explain_server(error, where, kind)
    # InternalClientError is how the driver reports a message that arrives for a session it has given up
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | EOFError):
        return _explain_link(error, where, kind)
    return kind(f"{type(error).__name__} in the PostgreSQL client", where=where, fault="internal")


def driver_errors() -> tuple[type[BaseException], ...]:
    """What the driver raises: everything `explain_error` has words for."""
    import asyncpg

    return (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, EOFError)


def without_frames(error: BaseException | None) -> None:
    """Take the driver's frames off a failed login and what it chains: their locals hold the password."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def safe_message(error: BaseException) -> str:
    """The server's primary message where it cannot hold a row value, else what is left without one."""
    state = str(getattr(error, "sqlstate", None) or "")
    text = str(getattr(error, "message", None) or (error.args[0] if error.args else "")).split("\n", 1)[0]
    if state.startswith("P0"):
        return "raised by a function or trigger of the database (its text is not shown: it may hold values)"
    if state.startswith("22"):
        return _QUOTED.sub("(value not shown)", text).split(":")[0]
    return text


def _explain_server(error: BaseException, where: str, kind: type[PenstockError]) -> PenstockError:
    state = str(getattr(error, "sqlstate", "") or "")
    what = f"{safe_message(error)} (sqlstate {state})"
    column = getattr(error, "column_name", None) or _column_of(getattr(error, "context", None))
    if column:
        what += f", column {column!r}"
    _scrub(error, what)
    fix = _FIXES.get(state) or (_READ_AS_TEXT if state.startswith("22") else None)
    if state.startswith(_CONFIG) and kind is PenstockError:
        return ConfigError(what, where=where, fix=fix)
    if kind is LoadError and state in _TARGET_CHANGED:
        return kind(what, where=where, fix="run again: it is planned from the table as it is now", fault="transient")
    return kind(what, where=where, fix=fix, fault=fault_of(state), retryable=state.startswith(_TRANSIENT))


def fault_of(state: str) -> Fault:
    """Whose fault an sqlstate is."""
    if state.startswith(_CONFIG):
        return "config"
    if state.startswith(_TRANSIENT):
        return "transient"
    return "data" if state.startswith(_DATA) else "internal"


def _explain_link(error: BaseException, where: str, kind: type[PenstockError]) -> PenstockError:
    if isinstance(error, ValueError):  # the driver refused an argument, and quotes it
        what = str(error).split(":")[0]
        _scrub(error, what)
        return kind(what, where=where, fault="data")
    text = type(error).__name__ if isinstance(error, TimeoutError) else str(error).split("\n", 1)[0]
    return kind(f"the connection to the server was lost: {text}", where=where, fault="transient")


def _column_of(context: object) -> str | None:
    found = _PLACE.search(context) if isinstance(context, str) else None
    return found[1] if found else None


def _scrub(error: BaseException, what: str) -> None:
    for name in ("detail", "context", "internal_query", "query", "message", "hint"):
        if getattr(error, name, None) is not None:
            setattr(error, name, None)
    error.args = (what,)


__all__ = ["driver_errors", "explain_error", "fault_of", "safe_message", "without_frames"]
