"""A load that dies at any point leaves all of it or nothing, and the next run finds its way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from penstock.connectors.postgres.connect import Session
from penstock.errors import FencedError, LoadError
from penstock.testing.loads import account_for, write
from penstock.values import Connection
from tests.connectors.postgres.destination.one_load import (
    APPENDED,
    BEFORE,
    ITEMS,
    RECIPES,
    TARGET,
    deliver,
    loads_into,
    rows,
)

pytestmark = [pytest.mark.postgres, pytest.mark.feature("N2", "N14")]

ROOT = Path(__file__).resolve().parents[4]
BEGIN = ("begin.locked", "begin.epoch_written", "begin.epoch_committed")
DIRECT = (*BEGIN, "load.target_created", "load.batch_written", "load.piece_written")
STAGED = (*BEGIN, "load.stage_created", "load.batch_written", "load.piece_written")
REMOTE = (*STAGED, "load.piece_committed")
SWAP = ("commit.started", "commit.swapped_out", "commit.swapped_in", "commit.applied")
END = ("commit.ledger_written", "commit.committed", "commit.cleaned")
POINTS = {
    "append direct": (*DIRECT, "commit.started", "commit.applied", *END),
    "append staged": (*REMOTE, "commit.started", "commit.applied", *END),
    "replace direct": (*DIRECT, *SWAP, *END),
    "replace shadow": (*REMOTE, *SWAP, *END),
    "upsert alone": (*STAGED, "commit.started", "commit.schema_changed", "commit.applied", *END),
    "upsert staged": (*REMOTE, "commit.started", "commit.schema_changed", "commit.applied", *END),
}
COMMITTED = ("commit.committed", "commit.cleaned")
SAMPLE = {
    ("append direct", "load.batch_written"),
    ("append staged", "load.piece_committed"),
    ("replace direct", "commit.swapped_out"),
    ("replace shadow", "commit.ledger_written"),
    ("replace shadow", "commit.committed"),
    ("upsert alone", "commit.applied"),
    ("upsert staged", "begin.epoch_committed"),
}
CELLS = [
    pytest.param(name, point, marks=[] if (name, point) in SAMPLE else pytest.mark.faults)
    for name, points in POINTS.items()
    for point in points
]


def run_killed(connection: Connection, name: str, faults: str) -> int:
    url = f"postgresql://{connection.user}@{connection.host}:{connection.port}/{connection.database}"
    environment = {**os.environ, "PENSTOCK_FAULTS": faults, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "tests.connectors.postgres.destination.one_load", url, name]
    return subprocess.run(command, env=environment, cwd=ROOT, timeout=60, check=False).returncode


def start_with(connection: Connection, look: Session) -> None:
    loads_into(connection).deliver(rows(BEFORE))
    assert found(look) == BEFORE


def found(look: Session) -> list[tuple[int, str]]:
    return [(row[0], row[1]) for row in look.query("SELECT id, name FROM items ORDER BY id, name")]


def ours(look: Session) -> list[str]:
    """Tables of ours beside the ledger."""
    named = look.query("SELECT relname::text FROM pg_class WHERE relname LIKE '\\_penstock\\_%' AND relkind = 'r'")
    return [name for (name,) in named if name not in ("_penstock_ledger", "_penstock_loads", "_penstock_boundary")]


@pytest.mark.parametrize(("name", "point"), CELLS)
def test_a_killed_load_is_in_wholly_or_not_at_all_and_the_next_run_completes_it(
    own_database: Connection, look: Session, name: str, point: str
) -> None:
    start_with(own_database, look)
    assert run_killed(own_database, name, f"{point}=kill") == -signal.SIGKILL
    loads = loads_into(own_database)
    after = sorted(RECIPES[name].after)
    # the killed session may be at work for a moment still: its lock says when it is over
    loads.destination.begin(loads.plan(ITEMS)).abort() if point not in COMMITTED else None
    assert found(look) == (after if point in COMMITTED else BEFORE)
    if point not in COMMITTED:
        deliver(own_database, name)
        assert found(look) == after
    else:
        loads.destination.begin(loads.plan(ITEMS)).abort()
    head = loads.destination.ledger().heads([TARGET])[TARGET]
    assert head.sequence == 2
    assert [row.sequence for row in loads.destination.ledger().history(TARGET, 10)] == [2, 1]
    assert ours(look) == []


@pytest.mark.parametrize("point", ["load.piece_written", "commit.applied", "commit.ledger_written"])
def test_a_zombie_whose_session_was_ended_while_it_slept_cannot_commit(
    own_database: Connection, look: Session, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    start_with(own_database, look)
    asleep, awake = threading.Event(), threading.Event()

    def sleep_at(name: str) -> None:
        if name == point and threading.current_thread() is zombie:
            asleep.set()
            assert awake.wait(30)

    for module in ("load", "steps", "writer"):
        monkeypatch.setattr(f"penstock.connectors.sql.{module}.failpoint", sleep_at)
    raised: list[BaseException] = []

    def run() -> None:
        try:
            deliver(own_database, "append direct", "the zombie")
        except LoadError as error:
            raised.append(error)

    zombie = threading.Thread(target=run)
    zombie.start()
    assert asleep.wait(30)
    ended = look.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'penstock the zombie' AND datname = current_database()"
    )
    assert ended == [(True,)]
    deliver(own_database, "append direct", "the living")
    awake.set()
    zombie.join()
    assert len(raised) == 1
    assert raised[0].retryable  # type: ignore[attr-defined]
    assert found(look) == sorted(APPENDED)
    assert ours(look) == []


@pytest.mark.parametrize("name", ["append staged", "replace shadow"])
def test_writers_of_an_overtaken_load_write_nothing_that_counts(
    own_database: Connection, look: Session, name: str
) -> None:
    start_with(own_database, look)
    recipe = RECIPES[name]
    loads = loads_into(own_database, writers=2, holder="the zombie")
    plan = loads.plan(ITEMS, recipe.strategy, route=recipe.route, steps=recipe.steps)
    session = loads.destination.begin(plan)
    first = write(session, "0", rows([(1, "zombie")]))
    look.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'penstock the zombie' AND datname = current_database()"
    )
    deliver(own_database, name)
    with pytest.raises(LoadError):
        write(session, "1", rows([(2, "zombie")]))
    with pytest.raises(LoadError) as caught:
        session.commit([first], account_for([first]))
    session.abort()
    assert caught.value.retryable
    assert found(look) == sorted(recipe.after)
    assert ours(look) == []


def test_two_loads_of_one_table_take_turns(own_database: Connection, look: Session) -> None:
    start_with(own_database, look)
    failed: list[BaseException] = []

    def run() -> None:
        for _ in range(5):
            try:
                deliver(own_database, "append direct")
            except FencedError as error:
                failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = loads_into(own_database).destination.ledger().history(TARGET, 100)
    assert [row.sequence for row in history] == list(range(len(history), 0, -1))
    assert len(history) == 1 + 15 - len(failed)
    assert len(found(look)) == 2 + 3 * (15 - len(failed))
    assert all(error.retryable for error in failed)  # type: ignore[attr-defined]
