"""One load under way: begin raises the epoch, write fills the target, its successor or a stage, commit publishes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

from penstock.connectors.sql.dialect import Dialect
from penstock.connectors.sql.ledger import LedgerTables, Outcome, target_key
from penstock.connectors.sql.link import Connect, SqlLink, linked, transaction
from penstock.connectors.sql.steps import LoadTables, StepRunner
from penstock.connectors.sql.writer import Feed, PieceTable, SqlWriter, WriterTables, copy_checked
from penstock.errors import CommitUnknownError, FencedError, LoadError
from penstock.failpoints import failpoint
from penstock.protocols import Chunks
from penstock.records import dataclass
from penstock.schema.types import from_arrow_schema
from penstock.values import (
    START,
    Account,
    Batch,
    CommitReceipt,
    Into,
    LedgerHead,
    LoadPlan,
    Piece,
    SplitId,
    TableName,
    WriteTicket,
    private_name,
    utc_now,
)


@dataclass(frozen=True, slots=True)
class Site:
    """One destination: how to reach it, how it spells, where its ledger is."""

    dialect: Dialect
    connect: Connect
    ledger: LedgerTables


def private_tables(dialect: Dialect, target: TableName, epoch: int) -> LoadTables:
    """The private tables of one epoch of a target: a zombie of an older epoch finds none of ours."""
    schema = target.schema

    def name(role: str) -> str:
        return private_name(role, target_key(target), str(epoch))

    return LoadTables(
        stage=dialect.stage_name(target, name("stage")),
        successor=TableName(schema, name("successor")),
        pieces=TableName(schema, name("pieces")),
    )


def begin_load(site: Site, plan: LoadPlan, session_type: type[SqlLoadSession]) -> SqlLoadSession:
    """Raises FencedError, naming the holder, or retryable when the head has moved past the plan."""
    link = site.connect()
    try:
        holder = link.lock(target_key(plan.target), plan.holder, plan.lock_wait_seconds)
        if holder is not None:
            raise FencedError(
                f"table {plan.target} is being loaded by {holder or 'another run'}",
                where=str(plan.target),
                fix="wait until that run ends, or give lock_wait more seconds",
            )
        failpoint("begin.locked")
        site.ledger.create(link, plan.holder, plan.lock_wait_seconds)
        session = session_type(site, plan, link, _raise_epoch(site, link, plan))
        session.prepare()
    except BaseException:
        link.close()
        raise
    return session


def _raise_epoch(site: Site, link: SqlLink, plan: LoadPlan) -> int:
    key = target_key(plan.target)
    with transaction(link):
        head = site.ledger.take(link, key)
        _check_succession(head, plan)
        epoch = head.epoch + 1 if head else 1
        fresh = LedgerHead(key, plan.stream, plan.owner, plan.generation, epoch, 0, START, "open", None, plan.holder)
        if head:
            fresh = replace(head, epoch=epoch, holder=plan.holder, changed_at=utc_now())
        site.ledger.write_head(link, key, fresh, exists=head is not None)
        site.dialect.create_schema(link, plan.target.schema)
        if head and not site.dialect.temporary_stage:
            for table in private_tables(site.dialect, plan.target, head.epoch).all:
                link.execute(site.dialect.drop_table(table))
        failpoint("begin.epoch_written")
        link.commit()
    failpoint("begin.epoch_committed")
    return epoch


def _check_succession(head: LedgerHead | None, plan: LoadPlan) -> None:
    sequence, generation = (head.sequence, head.generation) if head else (0, 0)
    follows = plan.sequence == sequence + 1
    same_life = plan.generation == generation or (plan.generation == generation + 1)
    if follows and same_life:
        return
    raise FencedError(
        f"table {plan.target} stands at load {sequence} of generation {generation}; this load was planned as"
        f" {plan.sequence} of {plan.generation}: another run was here in between",
        where=str(plan.target),
        fix="run again: it plans from where the table stands now",
        retryable=True,
    )


class SqlLoadSession:
    """A LoadSession over one link that holds the target's lock."""

    def __init__(self, site: Site, plan: LoadPlan, link: SqlLink, epoch: int) -> None:
        self._site, self._plan, self._link, self._epoch = site, plan, link, epoch
        self._tables = private_tables(site.dialect, plan.target, epoch)
        self._steps = StepRunner(site.dialect, link, plan, self._tables)
        self._pieces: dict[tuple[SplitId, Into], Piece] = {}
        self._receipt: CommitReceipt | None = None
        self._opened = False
        self._broken = False
        self._writer: SqlWriter | None = None
        self._guard = threading.Lock()

    @property
    def ticket(self) -> WriteTicket | None:
        if self._writer is None:
            return None
        return WriteTicket(self._plan.load_id, self._writer.tables.to_json())

    def prepare(self) -> None:
        """Make what writers write to before the load's transaction."""
        if self._plan.route == "direct":
            return
        dialect, link, target = self._site.dialect, self._link, self._plan.target
        rows, spare = self._tables.stage, self._tables.successor
        if self._plan.route != "staged":
            rows, spare = spare, rows
        if dialect.temporary_stage:
            if self._plan.route == "shadow":
                raise LoadError(f"{dialect.system} has no shadow route", where=str(target), fault="internal")
            link.execute(dialect.create_stage(rows, self._plan.schema))
            failpoint("load.stage_created")
            return
        with transaction(link):
            if self._plan.route == "staged":
                link.execute(dialect.create_stage(rows, self._plan.schema))
            else:
                self._steps.create(rows)
            PieceTable(dialect, self._tables.pieces).create(link)
            link.commit()
        failpoint("load.stage_created")
        tables = WriterTables(rows, self._tables.pieces, spare, self._steps.written_schema)
        self._writer = SqlWriter(dialect, self._site.connect, tables)

    # -- writing -----------------------------------------------------------------------------------------------------

    def write(self, split_id: SplitId, attempt: int, batches: Iterator[Batch], *, into: Into = "target") -> Piece:
        if self._writer is not None and into == "target":
            return self._writer.write(split_id, attempt, batches)
        with self._guard:
            return self._write_once(split_id, attempt, batches, into)

    def _write_once(self, split_id: SplitId, attempt: int, batches: Iterator[Batch], into: Into) -> Piece:
        known = self._pieces.get((split_id, into))
        if known is not None:
            return known
        try:
            self._open()
            piece = self._write_here(split_id, attempt, batches, into)
        except BaseException:
            self._broken = True
            raise
        self._pieces[split_id, into] = piece
        failpoint("load.piece_written")
        return piece

    def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece:
        raise LoadError(
            f"{self._site.dialect.system} takes no undecoded bytes ({chunks.encoding}, {split_id}, try {attempt})",
            where=str(self._plan.target),
            fault="internal",
        )

    def _open(self) -> None:
        """Start the load's transaction, where rows go straight into it, with the steps that come before them."""
        self._refuse_broken()
        if self._opened:
            return
        self._link.begin()
        self._opened = True
        if self._plan.route == "direct":
            self._steps.before_rows()

    def _refuse_broken(self) -> None:
        if self._broken:
            raise LoadError(
                "this load was aborted, or an earlier write of it failed; it cannot go on",
                where=str(self._plan.target),
                fault="transient",
            )

    def _write_here(self, split_id: SplitId, attempt: int, batches: Iterator[Batch], into: Into) -> Piece:
        if into == "quarantine":
            return self._write_rejected(split_id, attempt, batches)
        schema = self._steps.written_schema
        stamp = self._steps.stamp if self._plan.route == "direct" else None
        table = self._tables.stage if self._plan.route == "staged" else self._steps.filled_table
        feed = Feed(batches, schema.names)
        copy_checked(self._link, table, schema, feed, stamp)
        return Piece(split_id, attempt, feed.rows, feed.size_bytes)

    def _write_rejected(self, split_id: SplitId, attempt: int, batches: Iterator[Batch]) -> Piece:
        """Straight into `<target>__quarantine`: rejected rows commit or vanish with the load."""
        rows = size_bytes = 0
        for batch in batches:
            schema = from_arrow_schema(batch.rows.schema)
            table = self._steps.quarantine(schema)
            feed = Feed(iter([batch]), schema.names)
            rows += copy_checked(self._link, table, schema, feed)
            size_bytes += feed.size_bytes
        return Piece(split_id, attempt, rows, size_bytes, "quarantine")

    # -- commit ------------------------------------------------------------------------------------------------------

    def commit(self, pieces: Sequence[Piece], account: Account) -> CommitReceipt:
        if self._receipt is not None:
            return replace(self._receipt, repeated=True)
        self._refuse_broken()
        try:
            self._open()
            failpoint("commit.started")
            repeated = self._check_head()
            if repeated is not None:
                self._link.rollback()
                self._receipt = repeated
                return repeated
            receipt = self._publish(pieces, account)
        except BaseException:
            self._broken = True
            self._link.rollback()
            raise
        self._end(receipt)
        self._sweep()
        return receipt

    def _check_head(self) -> CommitReceipt | None:
        """The head, held from here to the end of the transaction; the receipt where this load is in already."""
        key = target_key(self._plan.target)
        head = self._site.ledger.take(self._link, key)
        if head is not None and head.epoch == self._epoch and head.load_id != self._plan.load_id:
            return None
        repeated = self._find_receipt(self._link)
        if repeated is None:
            raise FencedError(
                f"table {key} was taken over by {head.holder if head and head.holder else 'another run'};"
                " nothing of this load was written",
                where=key,
                fix="run again: it plans from where the table stands now",
                retryable=True,
            )
        return repeated

    def _publish(self, pieces: Sequence[Piece], account: Account) -> CommitReceipt:
        given = sum(p.rows for p in pieces if p.into == "target")
        if account.expected is not None and given != account.expected:
            raise LoadError(
                f"{account.expected} rows were handed to the writers of {self._plan.target}, {given} arrived",
                where=str(self._plan.target),
                fault="internal",
            )
        self._check_pieces(pieces)
        count = self._steps.after_rows(given)
        failpoint("commit.applied")
        plan, key = self._plan, target_key(self._plan.target)
        now = utc_now()
        outcome = Outcome(account, self._epoch, count.written, count.deduplicated, now)
        state = "open" if account.unfinished else "done"
        head = LedgerHead(
            key, plan.stream, plan.owner, plan.generation, self._epoch, plan.sequence, account.position,
            "open" if state == "open" else "done", plan.load_id, plan.holder, changed_at=now,
        )  # fmt: skip
        self._site.ledger.write_head(self._link, key, head, exists=True)
        self._site.ledger.write_load(self._link, plan, outcome)
        if account.boundary is not None:
            self._site.ledger.write_boundary(self._link, key, account.boundary)
        failpoint("commit.ledger_written")
        return CommitReceipt(
            plan.load_id, plan.generation, plan.sequence, count.written, count.deduplicated, account.position, now
        )

    def _check_pieces(self, pieces: Sequence[Piece]) -> None:
        """What is in must be what is claimed: a stray attempt's rows may not slip in."""
        claimed = {str(p.split): p.rows for p in pieces if p.into == "target"}
        if self._writer is not None:
            stored = PieceTable(self._site.dialect, self._tables.pieces).counts(self._link)
        else:
            stored = {str(split): p.rows for (split, into), p in self._pieces.items() if into == "target"}
        if stored != claimed:
            raise LoadError(
                f"the pieces of the load are {len(stored)} with {sum(stored.values())} rows, claimed were"
                f" {len(claimed)} with {sum(claimed.values())}",
                where=str(self._plan.target),
                fault="internal",
            )

    def _end(self, receipt: CommitReceipt) -> None:
        try:
            self._link.commit()
        except CommitUnknownError as error:
            self._receipt = self._resolve(error)
        except BaseException:
            self._broken = True
            self._link.rollback()
            raise
        else:
            self._receipt = receipt
        failpoint("commit.committed")

    def _resolve(self, error: CommitUnknownError) -> CommitReceipt:
        """Wait until the lost session is gone (its lock is free), then ask the ledger."""
        plan = self._plan
        self._link.close()
        with linked(self._site.connect) as link:
            holder = link.lock(target_key(plan.target), plan.holder, plan.lock_wait_seconds)
            if holder is not None:
                raise error
            found = self._find_receipt(link)
        if found is None:
            raise LoadError(
                f"{error.what}; the ledger says that the load of {plan.target} is not in",
                where=error.where or str(plan.target),
                fix=error.fix or "run again: it resumes where the table stands",
                fault="transient",
            ) from error
        return replace(found, repeated=False)

    def _find_receipt(self, link: SqlLink) -> CommitReceipt | None:
        found = self._site.ledger.find(link, self._plan.load_id)
        if found is None:
            return None
        row, deduplicated = found
        if row.epoch != self._epoch:  # another run's load of the same id: it may have read less than this one
            return None
        return CommitReceipt(
            row.load_id, row.generation, row.sequence, row.rows_written, deduplicated, row.position,
            row.committed_at, repeated=True,
        )  # fmt: skip

    # -- end ---------------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        self._drop_private()
        failpoint("commit.cleaned")
        self._link.close()

    def abort(self) -> None:
        failpoint("abort.started")
        self._broken = True
        self._link.close()
        if self._receipt is None:
            self._drop_private()

    def _drop_private(self) -> None:
        """Temporary stages vanish with their session; others are dropped in a session that is known to be sound."""
        if self._writer is None:
            return
        with linked(self._site.connect) as link:
            for table in self._tables.all:
                link.execute(self._site.dialect.drop_table(table))
        self._writer = None
