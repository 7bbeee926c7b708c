"""A database of its own for each test module, on the server PENSTOCK_TEST_POSTGRES names."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from penstock.connectors.postgres.connect import Session
from penstock.values import Connection, Secret


def connection_to(database: str | None = None, **changes: object) -> Connection:
    parts = urlsplit(os.environ["PENSTOCK_TEST_POSTGRES"])
    settings: dict[str, object] = {
        "name": "warehouse",
        "variant": "postgres",
        "host": parts.hostname,
        "port": parts.port,
        "database": database or parts.path.lstrip("/"),
        "user": parts.username,
        "password": Secret("test", lambda: parts.password or ""),
        "schema": "public",
    }
    return Connection(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def database() -> Iterator[Connection]:
    if "PENSTOCK_TEST_POSTGRES" not in os.environ:
        pytest.skip("PENSTOCK_TEST_POSTGRES names no server")
    name = f"penstock_{uuid.uuid4().hex[:12]}"
    admin = Session(connection_to(), application="tests")
    admin.execute(f'CREATE DATABASE "{name}"')
    yield connection_to(name)
    admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    admin.close()


@pytest.fixture
def session(database: Connection) -> Iterator[Session]:
    opened = Session(database, application="tests")
    yield opened
    opened.close()
