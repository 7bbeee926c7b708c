"""Tables in memory as a destination: epochs, fences, routes and all-or-nothing commits as in a real one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from penstock.errors import FencedError, LoadError
from penstock.failpoints import failpoint
from penstock.protocols import Chunks
from penstock.records import dataclass
from penstock.testing.memory.pieces import PieceWriter, rows_of
from penstock.testing.memory.steps import Draft, apply_steps
from penstock.testing.memory.store import MemoryLedger, MemoryStore
from penstock.values import (
    START,
    Account,
    Batch,
    CommitReceipt,
    Into,
    LedgerHead,
    LedgerRow,
    Limits,
    LoadPlan,
    Operation,
    Piece,
    SplitId,
    TableName,
    TableSchema,
    WriteTicket,
    private_name,
    utc_now,
)

OPERATIONS: frozenset[Operation] = frozenset(
    {
        "transaction",
        "create",
        "append",
        "delete_all",
        "swap",
        "stage",
        "upsert",
        "delete_matching",
        "delete_window",
        "add_column",
        "widen_column",
        "unique_key",
        "remote_pieces",
        "nested",
        "dirty_keys",
    }
)


@dataclass
class MemoryDestination:
    """`folder` takes the pieces of loads under way; it is empty when none is."""

    folder: Path
    store: MemoryStore = field(default_factory=MemoryStore)
    operations: frozenset[Operation] = OPERATIONS
    limits: Limits = field(default_factory=Limits)
    identity: str = "memory"

    def __reduce__(self) -> tuple[type[MemoryDestination], tuple[Path]]:
        """A copy in another process has the folder and nothing else: enough for `writer`."""
        return MemoryDestination, (self.folder,)

    def check(self) -> None:
        """Memory is always there."""

    def describe(self, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema | None]:
        return {table: self.store.state.schemas.get(table) for table in tables}

    def ledger(self) -> MemoryLedger:
        return MemoryLedger(self.store)

    def begin(self, plan: LoadPlan) -> MemoryLoad:
        holder = plan.holder or str(plan.run_id)
        self.store.lock(plan.target, holder, plan.lock_wait_seconds)
        try:
            failpoint("begin.locked")
            epoch = take_epoch(self.store, plan, holder)
            work = self.folder / private_name("pieces", str(plan.target))
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
        except BaseException:
            self.store.unlock(plan.target, holder)
            raise
        return MemoryLoad(self.store, plan, holder, epoch, work)

    def writer(self, ticket: WriteTicket) -> PieceWriter:
        return PieceWriter.from_ticket(ticket)


def take_epoch(store: MemoryStore, plan: LoadPlan, holder: str) -> int:
    """Raise the target's epoch. Raises FencedError, retryable, when the head is not where the plan continues from."""
    with store.changed:
        state = store.state
        head = state.heads.get(plan.target)
        generation, sequence, epoch = (head.generation, head.sequence, head.epoch) if head else (plan.generation, 0, 0)
        if sequence != plan.sequence - 1 or plan.generation not in (generation, generation + 1):
            raise FencedError(
                f"table {plan.target} stands at load {sequence} of generation {generation}, "
                f"the plan continues from {plan.sequence - 1} of {plan.generation}",
                where=str(plan.target),
                fix="plan the load again",
                retryable=True,
            )
        kept = head or LedgerHead(str(plan.target), plan.stream, plan.owner, plan.generation, 0, 0, START, "done", None)
        failpoint("begin.epoch_written")
        taken = replace(kept, epoch=epoch + 1, holder=holder, changed_at=utc_now())
        store.state = replace(state, heads={**state.heads, plan.target: taken})
        failpoint("begin.epoch_committed")
    return epoch + 1


@dataclass
class MemoryLoad:
    """One load under way."""

    store: MemoryStore
    plan: LoadPlan
    holder: str
    epoch: int
    work: Path
    receipt: CommitReceipt | None = None
    ended: bool = False

    @property
    def ticket(self) -> WriteTicket | None:
        if self.plan.route == "direct":
            return None
        return WriteTicket(self.plan.load_id, {"folder": str(self.work)})

    def write(self, split_id: SplitId, attempt: int, batches: Iterator[Batch], *, into: Into = "target") -> Piece:
        return PieceWriter(str(self.work)).write(split_id, attempt, batches, into=into)

    def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece:
        return PieceWriter(str(self.work)).relay(split_id, attempt, chunks)

    def commit(self, pieces: Sequence[Piece], account: Account) -> CommitReceipt:
        if self.receipt is not None:
            return replace(self.receipt, repeated=True)
        failpoint("commit.started")
        with self.store.changed:
            head = self.store.state.heads[self.plan.target]
            if self.ended or head.epoch != self.epoch:
                raise FencedError(
                    f"table {self.plan.target} was taken over by {head.holder!r}: nothing of this load is in",
                    where=str(self.plan.target),
                    fix="plan the load again",
                    retryable=True,
                )
            written = check_counts(self.plan, pieces, account)
            draft = apply_steps(self.store.state, account.final or self.plan, pieces)
            failpoint("commit.applied")
            self.receipt = self._publish(draft, head, account, written)
        self._clean()
        return self.receipt

    def _publish(self, draft: Draft, head: LedgerHead, account: Account, written: int) -> CommitReceipt:
        plan, state = self.plan, draft.state
        receipt = CommitReceipt(
            plan.load_id,
            plan.generation,
            plan.sequence,
            written - draft.deduplicated,
            draft.deduplicated,
            account.position,
            utc_now(),
        )
        state = replace(
            state,
            heads={**state.heads, plan.target: head_after(head, plan, account, receipt)},
            loads=(*state.loads, history_row(plan, account, receipt, self.epoch)),
        )
        if account.boundary is not None:
            state = replace(state, boundaries={**state.boundaries, plan.target: account.boundary})
        failpoint("commit.ledger_written")
        self.store.state = state
        failpoint("commit.committed")
        return receipt

    def abort(self) -> None:
        failpoint("abort.started")
        self._clean()

    def _clean(self) -> None:
        if self.ended:
            return
        self.ended = True
        shutil.rmtree(self.work, ignore_errors=True)
        self.store.unlock(self.plan.target, self.holder)
        failpoint("commit.cleaned")


def check_counts(plan: LoadPlan, pieces: Sequence[Piece], account: Account) -> int:
    """The rows the pieces hold. Raises LoadError when that is not what was handed to the writers."""
    found = sum(len(rows_of(piece)) for piece in pieces if piece.into == "target")
    if account.expected is not None and found != account.expected:
        raise LoadError(
            f"table {plan.target}: {account.expected} rows were handed over, {found} arrived; nothing of them is in",
            where=str(plan.target),
            fix="run again; if it stays, report it with the load id " + plan.load_id,
            fault="internal",
        )
    return found


def head_after(head: LedgerHead, plan: LoadPlan, account: Account, receipt: CommitReceipt) -> LedgerHead:
    return replace(
        head,
        stream=plan.stream,
        owner=plan.owner,
        generation=plan.generation,
        sequence=plan.sequence,
        position=account.position,
        state="open" if account.unfinished else "done",
        load_id=plan.load_id,
        changed_at=receipt.committed_at,
    )


def history_row(plan: LoadPlan, account: Account, receipt: CommitReceipt, epoch: int) -> LedgerRow:
    return LedgerRow(
        load_id=plan.load_id,
        target=str(plan.target),
        generation=plan.generation,
        sequence=plan.sequence,
        epoch=epoch,
        run_id=plan.run_id,
        strategy=plan.strategy,
        route=plan.route,
        position=account.position,
        rows_read=account.read,
        rows_deduplicated=account.deduplicated_in + receipt.deduplicated_out,
        rows_written=receipt.written,
        rows_quarantined=account.quarantined,
        digest=account.digest,
        committed_at=receipt.committed_at,
    )
