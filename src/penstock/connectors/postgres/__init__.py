"""PostgreSQL: a source, a destination and a backend."""

from __future__ import annotations

from penstock.connectors.postgres.destination import PostgresDestination
from penstock.connectors.postgres.options import PostgresOptions
from penstock.connectors.postgres.source import open_source
from penstock.plugins import Connector

CONNECTOR = Connector(
    "postgres",
    "PostgreSQL",
    lambda: PostgresOptions,
    open_source,
    PostgresDestination,
    "postgres",
    ("asyncpg", "adbc_driver_postgresql", "adbc_driver_manager", "pyarrow", "pgpq"),
)
