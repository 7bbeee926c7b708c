"""A database for each test module, and one for each test that changes what others would see."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.connectors.postgres.connect import Session
from penstock.values import Connection
from tests.connectors.postgres.destination.servers import connection_of


@pytest.fixture(scope="module")
def database(postgres_module_url: str) -> Connection:
    return connection_of(postgres_module_url)


@pytest.fixture
def own_database(postgres_url: str) -> Connection:
    return connection_of(postgres_url)


@pytest.fixture
def session(database: Connection) -> Iterator[Session]:
    opened = Session(database, application="tests")
    yield opened
    opened.close()


@pytest.fixture
def look(own_database: Connection) -> Iterator[Session]:
    """Another program's view of the test's own database."""
    opened = Session(own_database, application="tests look")
    yield opened
    opened.close()
