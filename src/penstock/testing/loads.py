"""Loads made by hand: what a conformance suite drives a destination with, without the pipeline above it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING

from penstock.protocols import Destination, LoadSession
from penstock.records import dataclass
from penstock.schema.types import from_arrow_schema
from penstock.values import (
    START,
    Account,
    Batch,
    CommitReceipt,
    CreateTable,
    Cursor,
    DeleteAll,
    DeleteMatching,
    EnsureKey,
    Insert,
    LoadPlan,
    Piece,
    Position,
    Route,
    RunId,
    SplitId,
    Strategy,
    StreamName,
    Swap,
    TableName,
    TableSchema,
    Upsert,
    WriteStep,
    load_id_of,
    utc_now,
)

if TYPE_CHECKING:
    import pyarrow as pa

STREAM = "suite:rows"


@dataclass
class Loads:
    """Plans and delivers loads into one table, each continuing from the ledger head."""

    destination: Destination
    target: TableName
    stream: str = STREAM
    owner: str = "suite"
    holder: str = "suite on this machine"
    lock_wait_seconds: float = 0.2
    changes: dict[str, object] = field(default_factory=dict)

    def plan(
        self,
        schema: TableSchema,
        strategy: Strategy = "append",
        *,
        route: Route | None = None,
        key: tuple[str, ...] = (),
        order: tuple[str, ...] = (),
        steps: Sequence[WriteStep] | None = None,
    ) -> LoadPlan:
        """The next load. Looks at the head and the table; `steps` and `route` only where the usual ones will not do."""
        head = self.destination.ledger().heads([self.target]).get(self.target)
        table = self.destination.describe([self.target])[self.target]
        generation, sequence = (head.generation, head.sequence + 1) if head else (1, 1)
        chosen = usual_steps(strategy, table, key, order, self.destination) if steps is None else steps
        plan = LoadPlan(
            load_id=load_id_of(str(self.target), self.stream, generation, sequence),
            run_id=RunId("suite-run"),
            target=self.target,
            stream=self.stream,
            owner=self.owner,
            generation=generation,
            sequence=sequence,
            strategy=strategy,
            route=route or ("staged" if strategy in ("upsert", "merge", "delete_insert") else "direct"),
            steps=tuple(chosen),
            schema=schema,
            table=table,
            started_at=utc_now(),
            key=key,
            lock_wait_seconds=self.lock_wait_seconds,
            holder=self.holder,
        )
        return replace(plan, **self.changes)  # type: ignore[arg-type]

    def deliver(
        self, rows: pa.Table, strategy: Strategy = "append", *, plan: LoadPlan | None = None, **wishes: object
    ) -> CommitReceipt:
        """One whole load: begun, written as one split, committed."""
        plan = plan or self.plan(from_arrow_schema(rows.schema), strategy, **wishes)  # type: ignore[arg-type]
        session = self.destination.begin(plan)
        try:
            piece = write(session, "0", rows)
            return session.commit([piece], account_for([piece]))
        finally:
            session.abort()


def usual_steps(
    strategy: Strategy,
    table: TableSchema | None,
    key: tuple[str, ...],
    order: tuple[str, ...],
    destination: Destination,
) -> list[WriteStep]:
    """The steps the pipeline would plan for one writer."""
    exists = table is not None
    made: list[WriteStep] = [] if exists else [CreateTable()]
    if strategy in ("upsert", "merge"):
        return [*made, EnsureKey(key), Upsert(key, order)]
    if strategy == "delete_insert" and exists:
        return [DeleteMatching(key), Insert()]
    if strategy == "replace" and exists:
        swaps = "swap" in destination.operations
        return [CreateTable(), Insert(), Swap()] if swaps else [DeleteAll(), Insert()]
    return [*made, Insert()]


def write(session: LoadSession, split: str, rows: pa.Table, *, attempt: int = 1, batch_rows: int = 1_000) -> Piece:
    """One split's rows, in batches."""
    return session.write(SplitId(split), attempt, batches_of(rows, batch_rows))


def batches_of(rows: pa.Table, batch_rows: int = 1_000) -> Iterator[Batch]:
    for batch in rows.to_batches(max_chunksize=batch_rows):
        yield Batch(StreamName("rows"), batch)


def account_for(pieces: Sequence[Piece], cursor: Cursor | None = None) -> Account:
    """An account that claims what the pieces hold."""
    rows = sum(piece.rows for piece in pieces if piece.into == "target")
    position = START if cursor is None else Position(cursor, cursor)
    return Account(position=position, read=rows, given=rows, returned=rows, expected=rows)
