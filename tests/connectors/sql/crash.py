"""One incremental load between two files, to be killed on the way: `python crash.py SYSTEM SOURCE TARGET STRATEGY`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import pyarrow.compute as pc

from penstock.connectors.duckdb import CONNECTOR as DUCKDB
from penstock.connectors.sqlite import CONNECTOR as SQLITE
from penstock.protocols import Destination, Source
from penstock.values import (
    START,
    Account,
    Batch,
    Connection,
    CreateTable,
    CursorSpec,
    DeleteAll,
    EnsureKey,
    Insert,
    ReadRequest,
    Route,
    StreamName,
    Swap,
    TableName,
    Upsert,
    WriteStep,
)
from tests.connectors.sql.loads import plan_of

TARGET = TableName(None, "target")
CURSOR = CursorSpec(("id",))


def steps_of(strategy: str, *, exists: bool) -> tuple[Route, tuple[WriteStep, ...]]:
    create = () if exists else (CreateTable(),)
    if strategy == "append":
        return "direct", (*create, Insert())
    if strategy == "upsert":
        return "staged", (*create, EnsureKey(("id",)), Upsert(("id",)))
    if strategy == "in_place" and exists:
        return "direct", (DeleteAll(), Insert())
    return "direct", (CreateTable(), Insert(), *((Swap(),) if exists else ()))


def open_both(system: str, source: str, target: str) -> tuple[Source, Destination]:
    reads = SQLITE.open_source
    writes = {"sqlite": SQLITE, "duckdb": DUCKDB}[system].open_destination
    assert reads
    assert writes
    return reads(Connection("a", "sqlite", database=source)), writes(Connection("b", system, database=target))


def run(system: str, source_path: str, target_path: str, strategy: str) -> None:
    """Rows above the ledger's cursor for append and upsert, else all of them."""
    source, destination = open_both(system, source_path, target_path)
    head = destination.ledger().heads([TARGET]).get(TARGET)
    after = head.position if head else START
    incremental = strategy in ("append", "upsert")
    request = ReadRequest(
        StreamName("items"), cursor=CURSOR if incremental else None, after=after if incremental else None
    )
    with source.open([request]) as session:
        bounds = session.bounds[request.stream]
        if incremental and bounds.upper == after.cursor:
            return
        exists = destination.describe([TARGET])[TARGET] is not None
        route, steps = steps_of(strategy, exists=exists)
        split = session.splits[0]
        plan = plan_of(destination, TARGET, steps, schema=split.schema, route=route)
        load = destination.begin(plan)
        try:
            last = after.cursor.value if after.cursor else 0
            batches: Iterator[Batch] = source.reader().read(split)
            if incremental:
                batches = (_above(batch, last) for batch in batches)
            piece = load.write(split.id, 1, batches)
            load.commit([piece], Account(bounds.position or START, read=piece.rows, expected=piece.rows))
        finally:
            load.abort()


def _above(batch: Batch, last: object) -> Batch:
    """Rows at the boundary were delivered: ids are unique here."""
    return replace(batch, rows=batch.rows.filter(pc.greater(batch.rows["id"], last)))


if __name__ == "__main__":
    run(*sys.argv[1:])
