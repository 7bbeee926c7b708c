"""A destination without transactions: readers see rows as they come, and the ledger says prepared, then done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace

from penstock.errors import FencedError, LoadError
from penstock.failpoints import failpoint
from penstock.protocols import Chunks, LedgerStore
from penstock.records import dataclass
from penstock.testing.memory.destination import head_after, history_row
from penstock.testing.memory.store import MemoryLedger, MemoryStore
from penstock.values import (
    START,
    Account,
    Batch,
    CommitReceipt,
    Into,
    LedgerHead,
    Limits,
    LoadPlan,
    Operation,
    Piece,
    Position,
    ReadRequest,
    SplitId,
    TableName,
    TableSchema,
    WriteTicket,
    utc_now,
)

TAG = "_penstock_load"


@dataclass
class PreparedDestination:
    """Appends only. Every row is tagged with its load, so that a replay can take the first attempt's rows away."""

    store: MemoryStore = field(default_factory=MemoryStore)
    operations: frozenset[Operation] = frozenset({"create", "append"})
    limits: Limits = field(default_factory=Limits)
    identity: str = "prepared"

    def check(self) -> None:
        """Memory is always there."""

    def describe(self, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema | None]:
        return {table: self.store.state.schemas.get(table) for table in tables}

    def ledger(self) -> MemoryLedger:
        return MemoryLedger(self.store)

    def begin(self, plan: LoadPlan) -> PreparedLoad:
        self.store.lock(plan.target, plan.holder, plan.lock_wait_seconds)
        try:
            head = self._prepare(plan)
        except BaseException:
            self.store.unlock(plan.target, plan.holder)
            raise
        return PreparedLoad(self.store, plan, head.epoch)

    def _prepare(self, plan: LoadPlan) -> LedgerHead:
        """Write the exact bounds before any data. Raises FencedError where another range is prepared."""
        head = self.store.state.heads.get(plan.target)
        if head is None:
            head = LedgerHead(str(plan.target), plan.stream, plan.owner, plan.generation, 0, 0, START, "done", None)
        wanted = plan.bounds.position or START
        unfinished = head.state == "prepared"
        if unfinished and (head.load_id != plan.load_id or head.position != wanted):
            raise FencedError(
                f"table {plan.target} has a load half in: it is to be read again up to {head.position.cursor}",
                where=str(plan.target),
                fix="plan the load again",
                retryable=True,
            )
        if head.sequence != plan.sequence - 1:
            raise FencedError(f"table {plan.target} stands at load {head.sequence}", retryable=True)
        prepared = replace(head, state="prepared", load_id=plan.load_id, position=wanted, epoch=head.epoch + 1)
        self._write_head(plan.target, prepared)
        self._forget_rows(plan)
        return prepared

    def _write_head(self, table: TableName, head: LedgerHead) -> None:
        self.store.state = replace(self.store.state, heads={**self.store.state.heads, table: head})

    def _forget_rows(self, plan: LoadPlan) -> None:
        state = self.store.state
        kept = tuple(row for row in state.tables.get(plan.target, ()) if row[TAG] != plan.load_id)
        self.store.state = replace(state, tables={**state.tables, plan.target: kept})

    def writer(self, ticket: WriteTicket) -> PreparedLoad:
        raise LoadError(f"load {ticket.load_id}: only its own session writes here")


@dataclass
class PreparedLoad:
    """Rows are there as soon as they are written."""

    store: MemoryStore
    plan: LoadPlan
    epoch: int
    receipt: CommitReceipt | None = None

    @property
    def ticket(self) -> WriteTicket | None:
        return None

    def write(self, split_id: SplitId, attempt: int, batches: Iterator[Batch], *, into: Into = "target") -> Piece:
        count = 0
        for batch in batches:
            rows = tuple({**row, TAG: self.plan.load_id} for row in batch.rows.to_pylist())
            state = self.store.state
            seen = (*state.tables.get(self.plan.target, ()), *rows)
            self.store.state = replace(
                state,
                tables={**state.tables, self.plan.target: seen},
                schemas={**state.schemas, self.plan.target: self.plan.schema},
            )
            count += len(rows)
            failpoint("load.batch_written")
        return Piece(split_id, attempt, count, into=into)

    def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece:
        raise LoadError(f"no undecoded bytes here ({chunks.encoding}, split {split_id}, attempt {attempt})")

    def commit(self, pieces: Sequence[Piece], account: Account) -> CommitReceipt:
        if self.receipt is not None:
            return replace(self.receipt, repeated=True)
        plan, written = self.plan, sum(piece.rows for piece in pieces)
        head = self.store.state.heads[plan.target]
        if head.epoch != self.epoch:
            raise FencedError(f"table {plan.target} was taken over", where=str(plan.target), retryable=True)
        receipt = CommitReceipt(plan.load_id, plan.generation, plan.sequence, written, 0, account.position, utc_now())
        state = self.store.state
        failpoint("commit.ledger_written")
        self.store.state = replace(
            state,
            heads={**state.heads, plan.target: head_after(head, plan, account, receipt)},
            loads=(*state.loads, history_row(plan, account, receipt, self.epoch)),
        )
        failpoint("commit.committed")
        self.receipt = receipt
        return receipt

    def abort(self) -> None:
        """What was written stays, marked as prepared: only the replay may take it away."""
        self.store.unlock(self.plan.target, self.plan.holder)


def next_request(request: ReadRequest, ledger: LedgerStore, table: TableName) -> ReadRequest:
    """From the newest finished load on; where one is half in, exactly up to where that one was to end."""
    head = ledger.heads([table]).get(table)
    if head is None:
        return replace(request, after=START)
    if head.state != "prepared":
        return replace(request, after=head.position)
    finished = ledger.history(table, 1)
    after: Position = finished[0].position if finished else START
    return replace(request, after=after, upto=head.position.cursor)
