"""Plans and batches for tests of loads: written by hand, as load/ would make them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from penstock.connectors.sql.ledger import target_key
from penstock.protocols import Destination
from penstock.schema.types import to_arrow_schema
from penstock.values import (
    START,
    Account,
    Batch,
    CommitReceipt,
    CreateTable,
    Field,
    Insert,
    LoadPlan,
    Route,
    RunId,
    SplitId,
    Strategy,
    StreamName,
    TableName,
    TableSchema,
    WriteStep,
    load_id_of,
)

ITEMS = TableSchema((Field("id", "int64"), Field("name", "string")))
STARTED = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
FIRST: tuple[WriteStep, ...] = (CreateTable(), Insert())


def plan_of(
    destination: Destination,
    target: TableName,
    steps: Sequence[WriteStep],
    *,
    schema: TableSchema = ITEMS,
    route: Route = "direct",
    strategy: Strategy = "append",
    **changes: Any,
) -> LoadPlan:
    """The next load of the target, continuing from its head."""
    head = destination.ledger().heads([target]).get(target)
    generation, sequence = (head.generation, head.sequence + 1) if head else (1, 1)
    stream = "test:items"
    plan = LoadPlan(
        load_id=load_id_of(target_key(target), stream, generation, sequence),
        run_id=RunId("run"),
        target=target,
        stream=stream,
        owner="tests",
        generation=generation,
        sequence=sequence,
        strategy=strategy,
        route=route,
        steps=tuple(steps),
        schema=schema,
        table=destination.describe([target])[target],
        started_at=STARTED,
        lock_wait_seconds=5.0,
        holder="the first run",
    )
    return replace(plan, **changes)


def batches_of(schema: TableSchema, rows: Sequence[Mapping[str, Any]], size: int = 2) -> Iterator[Batch]:
    arrow = to_arrow_schema(schema)
    for start in range(0, len(rows), size):
        part = [dict(row) for row in rows[start : start + size]]
        yield Batch(StreamName("items"), pa.RecordBatch.from_pylist(part, schema=arrow))


def items(*pairs: tuple[int | None, str | None]) -> list[dict[str, Any]]:
    return [{"id": key, "name": name} for key, name in pairs]


def load_rows(
    destination: Destination, plan: LoadPlan, rows: Sequence[Mapping[str, Any]], **account: Any
) -> CommitReceipt:
    session = destination.begin(plan)
    try:
        piece = session.write(SplitId("one"), 1, batches_of(plan.schema, rows))
        counts = {"position": START, "read": len(rows), "expected": len(rows), **account}
        return session.commit([piece], Account(**counts))
    finally:
        session.abort()
