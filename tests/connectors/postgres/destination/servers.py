"""Connections to the test server."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlsplit

from penstock.values import Connection, Secret


def connection_of(url: str, **changes: Any) -> Connection:
    parts = urlsplit(url)
    settings: dict[str, Any] = {
        "name": "warehouse",
        "variant": "postgres",
        "host": parts.hostname,
        "port": parts.port,
        "database": parts.path.lstrip("/"),
        "user": parts.username,
        "password": Secret("test", partial(str, parts.password or "")),
        "schema": "public",
    }
    return Connection(**{**settings, **changes})
