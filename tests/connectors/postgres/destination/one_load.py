"""One load of a few rows by a named recipe; run as a process of its own it can be killed at any failpoint."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from penstock.connectors.postgres.destination import PostgresDestination
from penstock.testing.loads import Loads, account_for, write
from penstock.values import (
    CommitReceipt,
    Connection,
    CreateTable,
    EnsureKey,
    Field,
    Insert,
    Route,
    Strategy,
    Swap,
    TableName,
    TableSchema,
    Upsert,
    WriteStep,
)
from tests.connectors.postgres.destination.servers import connection_of

TARGET = TableName("public", "items")
ITEMS = TableSchema((Field("id", "int64"), Field("name", "string")))
BEFORE = [(1, "old"), (2, "old")]
SPLITS = ([(1, "new"), (3, "new")], [(4, "new")])
NEW = [(1, "new"), (3, "new"), (4, "new")]
APPENDED = [*BEFORE, *NEW]
MERGED = [(2, "old"), *NEW]


@dataclass(frozen=True)
class Recipe:
    strategy: Strategy
    route: Route
    writers: int
    steps: tuple[WriteStep, ...]
    after: list[tuple[int, str]]


RECIPES = {
    "append direct": Recipe("append", "direct", 1, (Insert(),), APPENDED),
    "append staged": Recipe("append", "staged", 2, (Insert(),), APPENDED),
    "replace direct": Recipe("replace", "direct", 1, (CreateTable(), Insert(), Swap()), NEW),
    "replace shadow": Recipe("replace", "shadow", 2, (CreateTable(), Insert(), Swap()), NEW),
    "upsert alone": Recipe("upsert", "staged", 1, (EnsureKey(("id",)), Upsert(("id",))), MERGED),
    "upsert staged": Recipe("upsert", "staged", 2, (EnsureKey(("id",)), Upsert(("id",))), MERGED),
}


def loads_into(connection: Connection, **changes: Any) -> Loads:
    return Loads(PostgresDestination(connection), TARGET, lock_wait_seconds=20.0, changes=changes)


def rows(pairs: list[tuple[int, str]]) -> pa.Table:
    return pa.table({"id": pa.array([p[0] for p in pairs], pa.int64()), "name": [p[1] for p in pairs]})


def deliver(connection: Connection, name: str, holder: str = "one load") -> CommitReceipt:
    recipe = RECIPES[name]
    loads = loads_into(connection, writers=recipe.writers, holder=holder)
    plan = loads.plan(ITEMS, recipe.strategy, route=recipe.route, steps=recipe.steps)
    session = loads.destination.begin(plan)
    try:
        pieces = [write(session, str(i), rows(pairs), batch_rows=1) for i, pairs in enumerate(SPLITS)]
        return session.commit(pieces, account_for(pieces))
    finally:
        session.abort()


if __name__ == "__main__":
    deliver(connection_of(sys.argv[1]), sys.argv[2], "the killed one")
