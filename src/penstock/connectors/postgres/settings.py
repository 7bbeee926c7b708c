"""What every reading session sets, so that text forms and name look-up do not hang on the server's configuration."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.connectors.postgres.identifiers import quote
from penstock.values import Connection

_SETTINGS: Mapping[str, str] = {
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "3",
    "timezone": "UTC",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}


def default_schema(connection: Connection) -> str:
    """Where a stream without a schema is looked for."""
    return connection.schema or "public"


def session_settings(connection: Connection) -> dict[str, str]:
    """Names and values; names in custom queries are looked up in the connection's schema first."""
    if connection.schema is None:
        return dict(_SETTINGS)
    return {**_SETTINGS, "search_path": f"{quote(connection.schema)}, public"}


def set_sql(settings: Mapping[str, str]) -> str:
    """SET statements for one round trip; the values are the house's own."""
    return "; ".join(
        f"SET {name} = {value if name == 'search_path' else _literal(value)}" for name, value in settings.items()
    )


def bind_sql(settings: Mapping[str, str]) -> tuple[str, list[str]]:
    """One SELECT that sets them for the transaction, and its arguments."""
    calls = ", ".join(f"set_config(${2 * i + 1}, ${2 * i + 2}, true)" for i in range(len(settings)))
    return f"SELECT {calls}", [part for item in settings.items() for part in item]


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
