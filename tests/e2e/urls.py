"""Connections of tests as lines of a project file."""

from __future__ import annotations

from urllib.parse import urlsplit


def connection_line(url: str, schema: str) -> str:
    """A PostgreSQL URL as a connection in YAML flow style."""
    parts = urlsplit(url)
    keys = {
        "variant": "postgres",
        "host": parts.hostname or "127.0.0.1",
        "port": str(parts.port or 5432),
        "database": parts.path.lstrip("/"),
        "user": parts.username or "postgres",
        "schema": schema,
    }
    return "{" + ", ".join(f"{name}: {value}" for name, value in keys.items()) + "}"
