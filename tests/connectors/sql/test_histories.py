"""Random histories of loads, failures and aborts against a plain list; and two processes at one target."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import LoadError
from penstock.failpoints import FailpointError
from penstock.values import (
    Account,
    CreateTable,
    Cursor,
    DeleteAll,
    DeleteMatching,
    EnsureKey,
    Insert,
    Position,
    Route,
    SplitId,
    Swap,
    Upsert,
    WriteStep,
)
from tests.connectors.sql.loads import batches_of, items, plan_of
from tests.connectors.sql.place import ROWS, SYSTEMS, Place, T, open_place

ROOT = Path(__file__).resolve().parents[3]
KEY = ("id",)
RECIPES: dict[str, tuple[Route, tuple[WriteStep, ...]]] = {
    "append": ("direct", (Insert(),)),
    "replace": ("direct", (CreateTable(), Insert(), Swap())),
    "in place": ("direct", (DeleteAll(), Insert())),
    "upsert": ("staged", (DeleteAll(), EnsureKey(KEY), Upsert(KEY))),
    "delete_insert": ("staged", (DeleteMatching(KEY), Insert())),
}
POINTS = ("load.batch_written", "load.piece_written", "commit.started", "commit.applied", "commit.ledger_written")
PAIRS = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["a", "b", ""])), max_size=5)
STEPS = st.tuples(st.sampled_from(sorted(RECIPES)), PAIRS, st.sampled_from(["ok", "ok", "ok", "abort", *POINTS]))


def expected(model: list[Any], recipe: str, pairs: list[Any]) -> list[Any]:
    if recipe == "append":
        return model + pairs
    if recipe == "upsert":
        return list(dict(pairs).items())
    if recipe == "delete_insert":
        return [row for row in model if row[0] not in dict(pairs)] + pairs
    return list(pairs)


def attempt(place: Place, recipe: str, pairs: list[Any], fate: str) -> bool:
    """Whether the load went in."""
    route, steps = RECIPES[recipe]
    if place.destination.describe([T])[T] is None:
        steps = (CreateTable(), *(s for s in steps if not isinstance(s, CreateTable | Swap)))
    plan = plan_of(place.destination, T, steps, route=route)
    session = place.destination.begin(plan)
    try:
        if fate in POINTS:
            os.environ["PENSTOCK_FAULTS"] = f"{fate}=raise"
        piece = session.write(SplitId("one"), 1, batches_of(plan.schema, items(*pairs)))
        if fate == "abort":
            return False
        position = Position(Cursor("int", plan.sequence))
        session.commit([piece], Account(position, read=len(pairs), expected=len(pairs)))
    except FailpointError:
        return False
    finally:
        os.environ.pop("PENSTOCK_FAULTS", None)
        session.abort()
    return True


def check_history(system: str, history: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = open_place(system, Path(folder))
        model: list[Any] = []
        loads, keyed = 0, False
        for recipe, pairs, fate in history:
            after = expected(model, recipe, pairs)
            clashes = keyed and len({number for number, _ in after}) < len(after)  # the unique index of an upsert stays
            try:
                went_in = attempt(place, recipe, pairs, fate)
            except LoadError as error:
                if not clashes or error.retryable:
                    raise
                went_in = False
            assert not (clashes and went_in)
            if went_in:
                model, loads, keyed = after, loads + 1, keyed or recipe == "upsert"
            there = place.destination.describe([T])[T] is not None
            assert (place.query(ROWS) if there else []) == sorted(model)
            head = place.destination.ledger().heads([T])[T]
            assert head.sequence == loads
            assert head.position == (Position(Cursor("int", loads)) if loads else Position())
        history_rows = place.destination.ledger().history(T, 100)
        assert [row.sequence for row in history_rows] == list(range(loads, 0, -1))


@pytest.mark.feature("N2")
@settings(max_examples=20)
@given(st.lists(STEPS, min_size=1, max_size=6))
def test_any_history_of_sqlite_loads_leaves_what_the_committed_ones_wrote(history: list[Any]) -> None:
    check_history("sqlite", history)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.feature("N2")
@settings(max_examples=20)
@given(st.lists(STEPS, min_size=1, max_size=5))
def test_any_history_of_duckdb_loads_leaves_what_the_committed_ones_wrote(history: list[Any]) -> None:
    check_history("duckdb", history)


ADDING = """
import sys
from pathlib import Path
from penstock.values import CreateTable, Insert
from tests.connectors.sql.loads import items
from tests.connectors.sql.place import T, open_place
from penstock.errors import FencedError
place = open_place(sys.argv[1], Path(sys.argv[2]))
done = 0
while done < 10:
    try:
        place.load((Insert(),), items((done, sys.argv[3])), lock_wait_seconds=30.0)
        done += 1
    except FencedError as error:
        assert error.retryable, error
"""


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_two_processes_at_one_target_lose_and_double_nothing(system: str, tmp_path: Path) -> None:
    place = open_place(system, tmp_path)
    place.load((CreateTable(), Insert()), [])
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    command = [sys.executable, "-c", ADDING, system, str(tmp_path)]
    both = [subprocess.Popen([*command, name], env=environment, cwd=ROOT) for name in ("a", "b")]
    assert [process.wait() for process in both] == [0, 0]
    assert place.query(ROWS) == sorted([(i, name) for i in range(10) for name in ("a", "b")])
    assert place.destination.ledger().heads([T])[T].sequence == 21
