"""Random histories of several sessions against a dict: every committed version of a row once, none twice."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.connectors.postgres.connect import Session
from penstock.values import CursorSpec, Position

from .conftest import Database

pytestmark = [pytest.mark.postgres, pytest.mark.feature("N14")]

SESSIONS = 3
KEYS = 4
CURSOR = CursorSpec(("at",), nulls="include", lookback=0)

step = st.one_of(
    st.tuples(st.just("begin"), st.integers(0, SESSIONS - 1)),
    st.tuples(st.just("write"), st.integers(0, SESSIONS - 1), st.integers(0, KEYS - 1), st.booleans()),
    st.tuples(st.just("savepoint"), st.integers(0, SESSIONS - 1), st.integers(0, KEYS - 1), st.booleans()),
    st.tuples(st.just("delete"), st.integers(0, SESSIONS - 1), st.integers(0, KEYS - 1)),
    st.tuples(st.just("commit"), st.integers(0, SESSIONS - 1)),
    st.tuples(st.just("rollback"), st.integers(0, SESSIONS - 1)),
    st.tuples(st.just("read")),
)


class History:
    """An application of several sessions, each owning its keys, and one reader of what they commit."""

    def __init__(self, database: Database, sessions: list[Session], late: str) -> None:
        self.database, self.sessions, self.late = database, sessions, late
        self.open: list[dict[int, int | None] | None] = [None] * SESSIONS
        self.committed: dict[int, int] = {}
        self.versions = 0
        self.delivered: Counter[int] = Counter()
        self.latest: dict[int, int] = {}
        self.position: Position | None = None

    def begin(self, who: int) -> None:
        if self.open[who] is None:
            # REPEATABLE READ would hold back nothing more: the stamp is the start of the transaction either way
            self.sessions[who].execute("BEGIN")
            self.open[who] = {}

    def write(self, who: int, key: int, null: bool) -> None:
        self.begin(who)
        self._upsert(who, key, null)

    def savepoint(self, who: int, key: int, keep: bool) -> None:
        self.begin(who)
        pending = self.open[who]
        assert pending is not None
        before = dict(pending)
        self.sessions[who].execute("SAVEPOINT s")
        self._upsert(who, key, False)
        self.sessions[who].execute("RELEASE s" if keep else "ROLLBACK TO s")
        if not keep:
            self.open[who] = before

    def delete(self, who: int, key: int) -> None:
        self.begin(who)
        pending = self.open[who]
        assert pending is not None
        pending[who * KEYS + key] = None
        self.sessions[who].query("DELETE FROM t WHERE id = $1", who * KEYS + key)

    def commit(self, who: int) -> None:
        pending = self.open[who]
        if pending is None:
            return
        self.sessions[who].execute("COMMIT")
        self.open[who] = None
        for key, version in pending.items():
            if version is None:
                self.committed.pop(key, None)
            else:
                self.committed[key] = version

    def rollback(self, who: int) -> None:
        if self.open[who] is not None:
            self.sessions[who].execute("ROLLBACK")
            self.open[who] = None

    def read(self) -> None:
        request = self.database.request("t", cursor=CURSOR, after=self.position, late_commits=self.late)
        rows, bounds = self.database.read(request)
        self.position = bounds.position
        for row in rows:
            self.delivered[row["version"]] += 1
            self.latest[row["id"]] = max(row["version"], self.latest.get(row["id"], 0))

    def finish(self) -> None:
        for who in range(SESSIONS):
            self.commit(who)
        self.read()
        self.read()

    def _upsert(self, who: int, key: int, null: bool) -> None:
        pending = self.open[who]
        assert pending is not None
        self.versions += 1
        pending[who * KEYS + key] = self.versions
        # now() is when the transaction began: the stamp may precede ids and commits of others
        self.sessions[who].query(
            "INSERT INTO t VALUES ($1, CASE WHEN $2 THEN NULL ELSE now() END, $3)"
            " ON CONFLICT (id) DO UPDATE SET at = excluded.at, version = excluded.version",
            who * KEYS + key,
            null,
            self.versions,
        )


@pytest.fixture
def sessions(database: Database) -> list[Session]:
    database.execute("CREATE TABLE t (id int PRIMARY KEY, at timestamptz, version int); CREATE INDEX ON t (at)")
    return [database.session() for _ in range(SESSIONS)]


@pytest.mark.parametrize("late", ["once", "all"])
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(step, min_size=5, max_size=30))
def test_every_history_is_delivered_wholly(
    database: Database, sessions: list[Session], late: str, steps: list[tuple[Any, ...]]
) -> None:
    history = History(database, sessions, late)
    database.execute("TRUNCATE t")
    try:
        for name, *arguments in steps:
            getattr(history, name)(*arguments)
        history.finish()
    finally:
        for session in sessions:
            session.rollback()
    for key, version in history.committed.items():
        assert history.latest.get(key) == version
    if late == "once":
        assert set(history.delivered.values()) <= {1}


def test_naive_stamps_of_any_zone_are_covered_by_the_age_of_open_transactions(database: Database) -> None:
    database.execute("CREATE TABLE t (id int, at timestamp)")
    west, east = database.session(), database.session()
    west.execute("SET timezone = 'Pacific/Honolulu'; BEGIN; INSERT INTO t VALUES (1, now())")
    west.execute("SELECT pg_sleep(0.01)")
    east.execute("SET timezone = 'Pacific/Honolulu'; INSERT INTO t VALUES (2, now())")
    cursor = CursorSpec(("at",), lookback=0)
    ids, position = database.load("t", "at", cursor=cursor)
    assert ids == []
    west.execute("COMMIT")
    assert database.load("t", "at", position, cursor=cursor)[0] == [1, 2]
    assert position.resume is not None
    (newest,) = database.main.query("SELECT max(at) FROM t")[0]
    assert timedelta(0) < newest - position.resume.value < timedelta(minutes=5)
