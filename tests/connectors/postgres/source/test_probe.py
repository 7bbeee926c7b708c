"""Many tables cost few round trips, and nothing that blocks goes unnamed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from penstock.connectors.postgres.horizon import Facts, lag_of, notes_of
from penstock.connectors.postgres.source import PostgresSource
from penstock.values import Bounds, CursorSpec, Position, ReadRequest

from .conftest import Database

TABLES = 100


class CountingProxy:
    """Passes bytes on and counts how often the client speaks after the server did: round trips."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.trips: list[int] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            place = len(self.trips)
            self.trips.append(0)
            turn = {"server": True}
            threading.Thread(target=self._pump, args=(client, server, place, turn), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, None, turn), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, place: int | None, turn: dict[str, bool]) -> None:
        try:
            while data := source.recv(65536):
                if place is not None and turn["server"]:
                    self.trips[place] += 1
                turn["server"] = place is None
                sink.sendall(data)
        except OSError:
            pass
        finally:
            sink.close()


@contextmanager
def counted(database: Database) -> Iterator[tuple[PostgresSource, CountingProxy]]:
    proxy = CountingProxy(str(database.connection.host), int(database.connection.port or 0))
    try:
        yield PostgresSource(replace(database.connection, host="127.0.0.1", port=proxy.port)), proxy
    finally:
        proxy.close()


@pytest.mark.postgres
@pytest.mark.feature("N14")
def test_a_hundred_idle_tables_take_few_round_trips(database: Database) -> None:
    names = [f"t{i}" for i in range(TABLES)]
    database.execute(
        "; ".join(
            f"CREATE TABLE {n} (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), s text);"
            f"CREATE INDEX ON {n} (at);"
            f"INSERT INTO {n} SELECT i, now() - i * interval '1 min', 'x' FROM generate_series(1, 200) i"
            for n in names
        )
    )
    with database.source.open([database.request(n, "at") for n in names]) as session:
        positions = {name: session.bounds[name].position for name in session.bounds}
    requests = [database.request(n, "at", after=p) for n, p in positions.items()]
    database.execute("CREATE TABLE unrelated (id int)")
    with counted(database) as (source, proxy):
        list(source.streams(names))
        bounds = source.probe(requests)
    assert [b.idle for b in bounds] == [True] * TABLES
    login = 3  # start-up, authentication, and what the driver asks first
    assert len(proxy.trips) == 2
    assert max(proxy.trips) <= 10 + login


@pytest.mark.postgres
def test_one_changed_table_among_idle_ones_is_found(database: Database) -> None:
    database.execute(
        "; ".join(f"CREATE TABLE t{i} (id int, at timestamptz); INSERT INTO t{i} VALUES (1, now())" for i in range(5))
    )
    requests = [database.request(f"t{i}", "at") for i in range(5)]
    with database.source.open(requests) as session:
        after = [replace(r, after=session.bounds[r.stream].position) for r in requests]
    database.execute("INSERT INTO t3 VALUES (2, now())")
    assert [b.idle for b in database.source.probe(after)] == [True, True, True, None, True]
    assert database.source.probe([]) == []


def probe_undisturbed(database: Database, requests: Sequence[ReadRequest]) -> Sequence[Bounds]:
    """Bounds whose horizon nobody outside this database holds back."""
    for _ in range(200):
        found = database.source.probe(requests)
        if not any(note.startswith("horizon lag") for bounds in found for note in bounds.notes):
            return found
    raise AssertionError("the horizon is held back all the time")


CHANGES = {
    "nothing": "SELECT 1",
    "a later row": "INSERT INTO {t} VALUES (3, '2024-03-01')",
    "a row within the lookback": "INSERT INTO {t} VALUES (3, '2024-01-31 23:30')",
    "a row without a cursor": "INSERT INTO {t} VALUES (3, NULL)",
    "both": "INSERT INTO {t} VALUES (3, NULL), (4, '2024-03-01')",
    "a row that went away": "DELETE FROM {t} WHERE id = 2",
}


@pytest.mark.postgres
@pytest.mark.feature("N14")
@pytest.mark.parametrize("nulls", ["include", "skip"])
@pytest.mark.parametrize("late", ["once", "all"])
@pytest.mark.parametrize("change", list(CHANGES))
def test_an_index_gives_the_answers_of_a_scan(
    database: Database, change: str, late: Literal["once", "all"], nulls: Literal["include", "skip"]
) -> None:
    database.execute(
        "CREATE TABLE scanned (id int, at timestamp); CREATE TABLE indexed (id int, at timestamp);"
        "CREATE INDEX ON indexed (at)"
    )
    for name in ("scanned", "indexed"):
        database.execute(f"INSERT INTO {name} VALUES (1, '2024-01-01'), (2, '2024-02-01'), (0, NULL)")
    cursor = CursorSpec(("at",), nulls=nulls, lookback=3600)
    requests = [database.request(n, late_commits=late, cursor=cursor) for n in ("scanned", "indexed")]
    with database.source.open(requests) as session:
        after = [replace(r, after=session.bounds[r.stream].position) for r in requests]
    for name in ("scanned", "indexed"):
        database.execute(CHANGES[change].format(t=name))
    scanned, indexed = probe_undisturbed(database, after)
    assert indexed.idle == scanned.idle
    assert indexed.position == scanned.position
    if change in ("nothing", "a later row", "a row within the lookback", "both"):
        assert indexed.idle is (True if change == "nothing" else None)


@pytest.mark.postgres
def test_horizon_lag_is_a_note(database: Database) -> None:
    database.execute("CREATE TABLE t (id int, at timestamptz)")
    slow = database.session()
    slow.execute("BEGIN; INSERT INTO t VALUES (1, now())")
    database.execute("INSERT INTO t VALUES (2, now())")
    (bounds,) = database.source.probe([database.request("t", "at", after=Position(horizon=3))])
    assert any(note.startswith("horizon lag: ") for note in bounds.notes)


def test_the_lag_is_how_long_the_oldest_writer_has_held_the_horizon() -> None:
    now = datetime(2024, 1, 1, 12, tzinfo=UTC)
    facts = Facts("1/1", 150000, 100, 200, "session 42", now - timedelta(minutes=20), now, now, sees_everyone=False)
    assert lag_of(facts) == 1200.0
    assert lag_of(replace(facts, horizon=200)) == 0.0
    assert any("grant pg_read_all_stats" in note for note in notes_of(facts, Position(horizon=50)))
    assert notes_of(replace(facts, horizon=200, sees_everyone=True), None) == ()


@pytest.mark.postgres
def test_a_prepared_transaction_that_holds_the_horizon_keeps_its_rows_for_later(database: Database) -> None:
    database.execute("CREATE TABLE t (id int, at timestamptz)")
    name = str(database.connection.database)
    database.execute(f"BEGIN; INSERT INTO t VALUES (1, now()); PREPARE TRANSACTION '{name}'")
    try:
        database.execute("INSERT INTO t VALUES (2, now())")
        ids, position = database.load("t", "at")
        assert ids == []
    finally:
        database.execute(f"COMMIT PREPARED '{name}'")
    assert database.load("t", "at", position)[0] == [1, 2]


@pytest.mark.parametrize(
    ("lookback", "shown"),
    [(None, "more than 1 h below"), (7200.0, "more than 2 h below"), ("all", None)],
)
def test_what_a_lookback_takes_for_granted_is_said(
    database: Database, lookback: float | Literal["all"] | None, shown: str | None
) -> None:
    database.execute("CREATE TABLE told (id int, at timestamptz); INSERT INTO told VALUES (1, now())")
    cursor = CursorSpec(("at",), nulls="include", lookback=lookback)
    (bounds,) = database.source.probe([database.request("told", cursor=cursor)])
    said = " ".join(note for note in bounds.notes if "assumes" in note)
    assert (shown in said) if shown else said == ""
