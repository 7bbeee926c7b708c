"""Table names as SQL."""

from __future__ import annotations

from penstock.connectors.postgres.identifiers import quote
from penstock.values import TableName


def quote_table(table: TableName) -> str:
    return quote(table.name) if table.schema is None else f"{quote(table.schema)}.{quote(table.name)}"


__all__ = ["quote", "quote_table"]
