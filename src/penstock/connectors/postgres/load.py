"""A load into PostgreSQL: relays, the stage of a single writer, and a lost reply to COMMIT."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

from penstock.connectors.postgres.copy_in import CopyTarget, relay_chunks
from penstock.connectors.postgres.dialect import PostgresDialect, TemporaryStages, target_columns
from penstock.connectors.postgres.encode import COPY_BINARY
from penstock.connectors.postgres.link import PostgresLink
from penstock.connectors.postgres.steps import PostgresSteps, with_known_natives
from penstock.connectors.sql.link import SqlLink, linked, transaction
from penstock.connectors.sql.load import Site, SqlLoadSession
from penstock.connectors.sql.writer import PieceTable, SqlWriter
from penstock.errors import CommitUnknownError, ConfigError, LoadError, PenstockError
from penstock.failpoints import failpoint
from penstock.protocols import Chunks
from penstock.records import dataclass
from penstock.values import Batch, CommitReceipt, Into, LoadPlan, Piece, SplitId, TableName, TableSchema

_PAUSE_SECONDS = 0.5


class PostgresLoadSession(SqlLoadSession):
    """A LoadSession over one PostgreSQL session."""

    def __init__(self, site: Site, plan: LoadPlan, link: SqlLink, epoch: int) -> None:
        session = cast("PostgresLink", link)
        dialect = TemporaryStages() if plan.route == "staged" and plan.writers <= 1 else PostgresDialect()
        plan = with_known_natives(session, plan)
        super().__init__(replace(site, dialect=dialect), plan, link, epoch)
        self._session = session
        self._steps = PostgresSteps(dialect, session, plan, self._tables)

    def prepare(self) -> None:
        super().prepare()
        if self._writer is not None:
            self._writer = PostgresWriter(self._writer.dialect, self._writer.connect, self._writer.tables)

    def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece:
        """The source's bytes, undecoded. Raises ConfigError where they are not what the table's columns take."""
        if self._writer is not None:
            return self._writer.relay(split_id, attempt, chunks)
        with self._guard:
            known = self._pieces.get((split_id, "target"))
            if known is not None:
                return known
            try:
                self._open()
                table = self._tables.stage if self._plan.route == "staged" else self._steps.filled_table
                rows, size = relay_in(self._session, table, self._steps.written_schema, chunks)
            except BaseException:
                self._broken = True
                raise
            piece = Piece(split_id, attempt, rows, size)
            self._pieces[split_id, "target"] = piece
        failpoint("load.piece_written")
        return piece

    def _drop_private(self) -> None:
        """What cannot be dropped now the next begin drops: a load that is in stays in, and an error stays itself."""
        if self._writer is None:
            return
        self._writer = None
        with contextlib.suppress(PenstockError), linked(self._site.connect) as link:
            link.execute("SET lock_timeout = '5s'")  # a writer elsewhere may be at work on them still
            for table in self._tables.all:
                link.execute(self._site.dialect.drop_table(table))

    def _resolve(self, error: CommitUnknownError) -> CommitReceipt:
        """As long as the server cannot be reached nothing is known; `lock_wait_seconds` is how long that is borne."""
        deadline = time.monotonic() + self._plan.lock_wait_seconds
        while True:
            try:
                return super()._resolve(error)
            except CommitUnknownError:
                raise
            except LoadError as failed:
                if failed.__cause__ is error:
                    raise
                if not failed.retryable or time.monotonic() > deadline:
                    raise self._unknown(error) from failed
            time.sleep(_PAUSE_SECONDS)

    def _unknown(self, error: CommitUnknownError) -> CommitUnknownError:
        return CommitUnknownError(
            "the reply to COMMIT was lost, and the server cannot be asked whether the load is in",
            where=error.where,
            fix="run again when the server answers: the ledger decides",
            retryable=True,
        )


@dataclass(frozen=True, slots=True)
class PostgresWriter(SqlWriter):
    """A writer in a session of its own, in any process."""

    def write(self, split_id: SplitId, attempt: int, batches: Iterator[Batch], *, into: Into = "target") -> Piece:
        try:
            return SqlWriter.write(self, split_id, attempt, batches, into=into)
        except CommitUnknownError as error:
            raise _try_again(error) from error

    def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece:
        pieces = PieceTable(self.dialect, self.tables.pieces)
        try:
            with linked(self.connect) as link, transaction(link):
                if not pieces.claim(link, split_id, attempt):
                    link.rollback()
                    return pieces.find(link, split_id)
                rows, size = relay_in(cast("PostgresLink", link), self.tables.rows, self.tables.schema, chunks)
                piece = Piece(split_id, attempt, rows, size)
                pieces.fill(link, piece)
                failpoint("load.piece_written")
                link.commit()
                failpoint("load.piece_committed")
        except CommitUnknownError as error:
            raise _try_again(error) from error
        return piece


def relay_in(link: PostgresLink, table: TableName, schema: TableSchema, chunks: Chunks) -> tuple[int, int]:
    """COPY the bytes in on the loop where they come from; rows and bytes."""
    if chunks.encoding != COPY_BINARY:
        raise ConfigError(f"a relay of {chunks.encoding!r} cannot be taken: only {COPY_BINARY!r}", where=str(table))
    there = target_columns(link, table)
    unequal = [f.name for f in schema.fields if f.name not in there or there[f.name].field.type != f.type]
    if unequal:  # COPY BINARY would load most such pairs without an error, as garbage
        raise LoadError(
            f"the table {table} is gone, or has no longer the columns or types it had when the load was planned: "
            f"{', '.join(map(repr, unequal))}",
            where=str(table),
            fix="run again: it is planned from the table as it is now",
            fault="transient",
        )
    target = CopyTarget(table, schema.names, freeze=table in link.fresh)
    return link.session.wait(relay_chunks(link.session.raw, target, aiter(chunks)))


def _try_again(error: CommitUnknownError) -> LoadError:
    """A piece whose COMMIT is in doubt: the next attempt finds it, or writes it."""
    return LoadError(error.what, where=error.where, fault="transient")


__all__ = ["PostgresLoadSession", "PostgresWriter", "relay_in"]
