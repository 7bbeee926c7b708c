"""Which file a connection means."""

from __future__ import annotations

from pathlib import Path

from penstock.errors import ConfigError
from penstock.values import Connection


def database_path(connection: Connection) -> str:
    """`database`, or `extra.db_path`; absolute. Raises ConfigError where neither is given."""
    path = connection.database or connection.extra.get("db_path")
    if not path or not isinstance(path, str):
        raise ConfigError(
            "a DuckDB connection needs the path of its file",
            where=f"connections.{connection.name}",
            fix="set database: path/to/file.duckdb",
        )
    return str(Path(connection.base_dir, path).absolute())


def identity_of(connection: Connection) -> str:
    """The path beside the project, so that a moved project knows its tables again; absolute for a file elsewhere."""
    path, base = Path(database_path(connection)), Path(connection.base_dir).absolute()
    return f"duckdb:{path.relative_to(base) if path.is_relative_to(base) else path}"
