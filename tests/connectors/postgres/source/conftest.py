"""A database for each test module, and what a test does to it and reads from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from penstock.connectors.postgres.connect import Session
from penstock.connectors.postgres.source import PostgresSource
from penstock.protocols import ReadSession
from penstock.values import Bounds, Connection, CursorSpec, Position, ReadRequest, Secret, StreamName

OWN_XIDS = """
SELECT backend_xid::text::bigint FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL
UNION ALL SELECT transaction::text::bigint FROM pg_prepared_xacts WHERE database = current_database()
"""


def to_connection(url: str, **changes: Any) -> Connection:
    parts = urlsplit(url)
    settings: dict[str, Any] = {
        "name": "shop",
        "variant": "postgres",
        "host": parts.hostname,
        "port": parts.port,
        "database": parts.path.lstrip("/"),
        "user": parts.username,
        "password": Secret("test", lambda: parts.password or ""),
    }
    return Connection(**{**settings, **changes})


@dataclass
class Database:
    """Sessions of an application, and a source that reads what they write."""

    url: str
    opened: list[Session] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connection = to_connection(self.url)
        self.source = PostgresSource(self.connection)
        self.main = self.session()

    def session(self) -> Session:
        session = Session(self.connection, application="tests")
        self.opened.append(session)
        return session

    @property
    def version(self) -> int:
        """The server's, as 150018 for 15.18."""
        return int(self.main.query("SELECT current_setting('server_version_num')")[0][0])

    def execute(self, sql: str) -> None:
        self.main.execute(sql)

    def request(self, stream: str, column: str | None = None, /, **wishes: Any) -> ReadRequest:
        spec = CursorSpec((column,), nulls="include") if column else None
        return ReadRequest(StreamName(stream), **{"cursor": spec, **wishes})

    def read(self, request: ReadRequest, source: PostgresSource | None = None) -> tuple[list[dict[str, Any]], Bounds]:
        """The rows of all splits, and the bounds they were read in."""
        source = source or self.source
        rows: list[dict[str, Any]] = []
        with self._undisturbed(source, request) as session:
            for split in session.splits:
                for batch in source.reader().read(split):
                    rows += batch.rows.to_pylist()
                    assert batch.cursors is None or len(batch.cursors) == batch.rows.num_rows
            return rows, session.bounds[request.stream]

    def _undisturbed(self, source: PostgresSource, request: ReadRequest) -> ReadSession:
        """A read session whose horizon nobody outside this database holds back: other tests share the server."""
        for _ in range(200):
            session = source.open([request])
            bounds = session.bounds[request.stream]
            lags = any(note.startswith("horizon lag") for note in bounds.notes)
            own = [xid for (xid,) in self.main.query(OWN_XIDS)]
            if not lags or bounds.position is None or bounds.position.horizon in own:
                return session
            session.__exit__(None, None, None)
            self.main.query("SELECT pg_sleep(0.05)")
        pytest.fail("a transaction of another database holds the horizon back for good")

    def load(
        self, stream: str, column: str, after: Position | None = None, /, **wishes: Any
    ) -> tuple[list[Any], Position]:
        """The ids that one incremental load delivers, and the position it leaves."""
        rows, bounds = self.read(self.request(stream, column, after=after, **wishes))
        assert bounds.position is not None
        return sorted(row["id"] for row in rows), bounds.position

    def close(self) -> None:
        for session in self.opened:
            session.close()


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    opened = Database(postgres_url)
    yield opened
    opened.close()
