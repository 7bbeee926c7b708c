"""Local files: Parquet, CSV and JSON lines, read by name, glob or folder, written exactly once by manifest."""

from __future__ import annotations

import os

from penstock.connectors.files.destination import FilesDestination
from penstock.connectors.files.options import FileExtra, FileOptions, read_options
from penstock.connectors.files.source import FilesSource
from penstock.plugins import Connector
from penstock.values import Connection


def open_source(connection: Connection) -> FilesSource:
    options = read_options(connection)
    return FilesSource(options, _identity(connection, options))


def open_destination(connection: Connection) -> FilesDestination:
    options = read_options(connection)
    return FilesDestination(options, _identity(connection, options))


def _identity(connection: Connection, options: FileExtra) -> str:
    """Relative to the project, so that a project that moves with its files stays what it is."""
    return f"file:{os.path.relpath(options.path, connection.base_dir)}"


CONNECTOR = Connector("file", "Local files", lambda: FileOptions, open_source, open_destination, keeps_files=True)
