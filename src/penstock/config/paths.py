"""Which values are paths, and where they lead: beside the project file."""

from __future__ import annotations

from pathlib import Path

FILE_DATABASES = frozenset(("sqlite", "duckdb"))
PATH_KEYS = frozenset(("db_path", "sslrootcert", "sslcert", "sslkey", "private_key_file", "credentials_file"))
IN_MEMORY = ":memory:"


def beside(base_dir: Path, value: str) -> str:
    """The absolute path; URLs and databases in memory stay as they are."""
    return value if "://" in value or value.startswith(IN_MEMORY) else str(base_dir / Path(value).expanduser())
