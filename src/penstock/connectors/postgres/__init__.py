"""PostgreSQL: a source, a destination and a backend."""

from __future__ import annotations

from penstock.connectors.postgres.destination import PostgresDestination
from penstock.connectors.postgres.jdbc import PostgresJdbc
from penstock.connectors.postgres.landing import PostgresJdbcDestination
from penstock.connectors.postgres.options import PostgresOptions
from penstock.connectors.postgres.source import open_source
from penstock.plugins import Connector
from penstock.values import Jar

CONNECTOR = Connector(
    "postgres",
    "PostgreSQL",
    lambda: PostgresOptions,
    open_source,
    PostgresDestination,
    "postgres",
    ("asyncpg", "adbc_driver_postgresql", "adbc_driver_manager", "pyarrow", "pgpq"),
    open_jdbc=PostgresJdbc,
    open_jdbc_destination=PostgresJdbcDestination,
    jars=(
        Jar("org.postgresql:postgresql:42.7.14", "73914527305a40cce504b0d3d90b23caf565136912d607ae8ae7c5895512332c"),
    ),
)
