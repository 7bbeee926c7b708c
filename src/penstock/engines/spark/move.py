"""One load moved by tasks: orders out, reports in, pieces for the commit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.engines.spark.connect import is_connect
from penstock.engines.spark.jdbc import JdbcReader, submit
from penstock.engines.spark.jobs import Answer, run_job
from penstock.engines.spark.landing import JdbcWriter, land
from penstock.engines.spark.meters import Follower, meter_of
from penstock.engines.spark.remote import RemoteReader
from penstock.engines.spark.reports import error_from_json, pieces_of, sum_tallies, tally_from_json
from penstock.engines.spark.task import Orders, tasks
from penstock.errors import LoadError
from penstock.protocols import LoadSession, Move, Moved
from penstock.values import Batch, Piece, Split, SplitId, StreamName, Tally, WriteTicket
from penstock.values.wire import split_to_json, ticket_to_json

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class Mover:
    """One move. `begin` comes before the tasks where they write pieces, after them where they stage files."""

    def __init__(self, session: SparkSession, job: Move, staging: Path, *, relay: bool) -> None:
        self._meter = meter_of(session, staging) if job.progress is not None else None
        self._follower = Follower(job.progress, self._meter)
        self._session = session
        self._job = job
        self._staging = staging
        self._relay = relay
        self._load: LoadSession | None = None

    def run(self) -> Moved:
        try:
            return self._run()
        except BaseException as error:
            self._abort(error)
            raise

    def stage(self) -> Moved:
        """The rows in files of the staging folder, as pieces; no load is begun."""
        pieces, tally = self._carried_out(None)
        return Moved(None, tuple(pieces), tally)

    def _run(self) -> Moved:
        job = self._job
        if self._relay or job.open_writer is not None:
            self._load = job.begin()
        ticket = self._load.ticket if self._load is not None else None
        pieces, tally = self._carried_out(ticket)
        if not job.eager and not tally.given:
            return self._nothing(tally)
        if ticket is None:
            self._load = self._load or job.begin()
            pieces = list(self._written(self._load, pieces))
        return Moved(self._load, tuple(pieces), tally)

    def _carried_out(self, ticket: WriteTicket | None) -> tuple[list[Piece], Tally]:
        orders = self._orders(json.dumps(ticket_to_json(ticket)) if ticket is not None else None)
        if ticket is not None and isinstance(self._job.open_writer, JdbcWriter):
            reports = land(self._session, self._job.open_writer, orders, ticket, self._watched)
        else:
            reports = self._reports(orders)
        tally = sum_tallies([tally_from_json(report["tally"]) for report in reports])
        self._follower.reach(tally.read, tally.size_bytes)
        return [piece for report in reports for piece in pieces_of(report)], tally

    def _nothing(self, tally: Tally) -> Moved:
        if self._load is not None:
            self._load.abort()
        return Moved(None, (), tally)

    def _orders(self, ticket: str | None) -> Orders:
        job = self._job
        reader = job.reader
        return Orders(
            reader=reader,
            groups=[json.dumps([split_to_json(split) for split in group]) for group in self._groups()],
            shape=job.shape,
            transform=job.transform,
            open_writer=job.open_writer,
            ticket=ticket,
            staging=str(self._staging),
            relay=self._relay,
            variants=frozenset({reader.connection.variant} if isinstance(reader, RemoteReader) else ()),
            meter=self._meter,
        )

    def _groups(self) -> list[Sequence[Split]]:
        """The splits of each task: one, but all in one where rows delivered before are known by how often they came."""
        if self._job.shape.boundary is not None:
            return [self._job.splits]
        return [[split] for split in self._job.splits]

    def _reports(self, orders: Orders) -> list[dict[str, Any]]:
        """What the tasks reported, in the order of their splits. Raises the first error of any of them."""
        count = len(orders.groups)
        rows = self._watched(lambda: self._submitted(orders))
        reports = [json.loads(row.report) for row in sorted(rows, key=lambda row: row.number)]
        for report in reports:
            if "error" in report:
                raise error_from_json(report["error"])
        if len(reports) != count:
            raise LoadError(f"{count} tasks ran, {len(reports)} reported", fault="internal")
        return reports

    def _watched(self, job: Callable[[], Answer]) -> Answer:
        return run_job(self._session, job, self._job.stop, self._follower.look)

    def _submitted(self, orders: Orders) -> list[Any]:
        if isinstance(orders.reader, JdbcReader):
            return submit(self._session, orders.reader, orders)
        count = len(orders.groups)
        frame = self._session.range(0, count, 1, count).mapInArrow(tasks(orders), "number bigint, report string")
        return list(self._streamed(frame) if is_connect(self._session) else frame.collect())

    def _streamed(self, frame: DataFrame) -> Iterator[Any]:
        """The rows of a Connect frame as its tasks end; all of them run at once, which a classic iterator's do not."""
        moved = Tally()
        for row in frame.toLocalIterator():
            yield row
            tally = json.loads(row.report).get("tally")
            if tally is not None:
                moved = sum_tallies([moved, tally_from_json(tally)])
                self._follower.reach(moved.read, moved.size_bytes)

    def _written(self, load: LoadSession, staged: Sequence[Piece]) -> Iterator[Piece]:
        """The staged files as the pieces of the load's own session, which takes one call at a time."""
        first = self._job.splits[0]
        for into in ("target", "quarantine"):
            files = [piece for piece in staged if piece.into == into and piece.work["path"]]
            if files or into == "target":
                batches = chain.from_iterable(_read_staged(first.stream, piece) for piece in files)
                yield load.write(SplitId(first.id), 0, batches, into=into)

    def _abort(self, error: BaseException) -> None:
        if self._load is None:
            return
        try:
            self._load.abort()
        except Exception as failure:  # noqa: BLE001 - noted on the error that is raised
            error.add_note(f"the load could not be aborted either: {type(failure).__name__}: {failure}")


def _read_staged(stream: StreamName, piece: Piece) -> Iterator[Batch]:
    import pyarrow as pa

    with pa.memory_map(str(piece.work["path"])) as file, pa.ipc.open_stream(file) as reader:
        for rows in reader:
            yield Batch(stream, rows)
