"""Which file a connection means, and which files this process writes to."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from penstock.errors import ConfigError
from penstock.values import Connection

_guard = threading.Lock()
_destinations: set[str] = set()


def database_path(connection: Connection) -> str:
    """`database`, or mkpipe's `extra.db_path`; absolute. Raises ConfigError where neither is given."""
    path = connection.database or connection.extra.get("db_path")
    if not path or not isinstance(path, str):
        raise ConfigError(
            "a SQLite connection needs the path of its file",
            where=f"connections.{connection.name}",
            fix="set database: path/to/file.db",
        )
    return str(Path(connection.base_dir, path).absolute())


def source_identity(connection: Connection) -> str:
    """The path beside the project, so that a moved project knows its tables again; absolute for a file elsewhere."""
    path, base = Path(database_path(connection)), Path(connection.base_dir).absolute()
    return f"sqlite:{path.relative_to(base) if path.is_relative_to(base) else path}"


def remember_destination(path: str) -> None:
    """From here on, a source that reads the same file keeps no lock on it while rows move."""
    with _guard:
        _destinations.add(os.path.realpath(path))


def is_destination(path: str) -> bool:
    with _guard:
        return os.path.realpath(path) in _destinations
