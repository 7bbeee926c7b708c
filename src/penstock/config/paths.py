"""Which values are paths, and where they lead: beside the project file."""

from __future__ import annotations

import os
from pathlib import Path

from penstock.errors import ConfigError

FILE_DATABASES = frozenset(("sqlite", "duckdb"))
PATH_KEYS = frozenset(("db_path", "sslrootcert", "sslcert", "sslkey", "private_key_file", "credentials_file"))
IN_MEMORY = ":memory:"


def is_url(value: str) -> bool:
    return "://" in value


def beside(base_dir: Path, value: str) -> str:
    """The absolute path; URLs and databases in memory stay as they are."""
    if is_url(value) or value.startswith(IN_MEMORY):
        return value
    return str(base_dir / os.path.expanduser(value))  # noqa: PTH111 - Path's raises where ~NAME is nobody's home


def within(base_dir: Path, value: str, *, what: str, where: str | None = None) -> Path:
    """The file of code that a project names: beside the project file or below, or anywhere if written absolute.

    Raises ConfigError where `..` or a link leads out: what is run should be seen to be run.
    """
    path = (base_dir / Path(value).expanduser()).resolve()
    if Path(value).expanduser().is_absolute() or path.is_relative_to(base_dir.resolve()):
        return path
    raise ConfigError(
        f"{what} {value!r} lies outside the project's folder",
        where=where or str(path),
        fix="move it there, or write its absolute path",
    )
