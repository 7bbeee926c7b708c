"""`_ingested_at` without a byte on the wire: a constant default while a new table fills, a session setting later."""

from __future__ import annotations

from datetime import UTC, datetime

from penstock.connectors.postgres.dialect import target_columns
from penstock.connectors.postgres.names import quote, quote_table
from penstock.connectors.sql.link import SqlLink
from penstock.values import TableName

SETTING = "penstock.ingested_at"
_READS_SETTING = f"(NULLIF(current_setting('{SETTING}'::text, true), ''::text))::timestamp with time zone"


def constant(moment: datetime) -> str:
    """The moment as a literal: DDL takes no parameters."""
    return f"'{moment.astimezone(UTC).isoformat()}'::timestamptz"


def reads_setting(fallback: str | None = None) -> str:
    """The default for good: the load's setting, and what the table's owner had chosen where no load sets it."""
    return _READS_SETTING if fallback is None else f"COALESCE({_READS_SETTING}, {fallback})"


def set_default(link: SqlLink, table: TableName, column: str, expression: str) -> None:
    link.execute(f"ALTER TABLE {quote_table(table)} ALTER COLUMN {quote(column)} SET DEFAULT {expression}")


def prepare_live(link: SqlLink, table: TableName, column: str, moment: datetime) -> None:
    """Let the column of a live table read the setting (once in its life), and set it for this transaction."""
    there = target_columns(link, table).get(column)
    if there is not None and SETTING not in (there.default or ""):
        set_default(link, table, column, reads_setting(there.default))
    link.query("SELECT set_config($1, $2, true)", (SETTING, moment.astimezone(UTC).isoformat()))


__all__ = ["constant", "prepare_live", "reads_setting", "set_default"]
