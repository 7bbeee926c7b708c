"""The Spark engine: what steps call. Tasks move rows, this process begins and commits."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from itertools import chain
from pathlib import Path
from signal import SIGINT
from typing import TYPE_CHECKING, Any

from penstock.engines.arrow.engine import ArrowEngine
from penstock.engines.spark.remote import RemoteReader, RemoteWriter, travelling
from penstock.engines.spark.task import Orders, error_from_json, pieces_of, tally_from_json, tasks
from penstock.errors import Interrupted, LoadError
from penstock.loading.digest import add_digests
from penstock.protocols import LoadSession, Move, Moved, Transform
from penstock.values import Batch, Connection, Piece, Split, SplitId, StreamName, Tally
from penstock.values.wire import split_to_json, ticket_to_json

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_POLL_SECONDS = 0.2


class SparkEngine:
    """Moves the rows of one source and one destination through tasks of a session it does not own.

    `staging` is where tasks leave the pieces of destinations that take none from elsewhere; `local` does what needs no
    cluster: transforms over whole tables in frames of this process.
    """

    def __init__(self, session: SparkSession, local: ArrowEngine, staging: Path) -> None:
        self._session = session
        self._local = local
        self._staging = staging

    def move(self, job: Move) -> Moved:
        if not job.splits or (job.transform is not None and job.transform.scope != "rows"):
            return self._local.move(job)
        return _Mover(self._session, job, self._staging / f"penstock-{uuid.uuid4().hex}", relay=False).run()

    def relay(self, job: Move) -> Moved:
        return _Mover(self._session, job, self._staging, relay=True).run()

    def load_transform(self, reference: str, base_dir: str, *, default_frame: str | None = None) -> Transform:
        return self._local.load_transform(reference, base_dir, default_frame=default_frame)

    def sql_transform(self, sql: str) -> Transform:
        return self._local.sql_transform(sql)

    def reader(self, source: Connection) -> RemoteReader:
        return RemoteReader(travelling(source))

    def open_writer(self, destination: Connection) -> RemoteWriter:
        return RemoteWriter(travelling(destination))

    def close(self) -> None:
        self._local.close()


class _Mover:
    """One move. `begin` comes before the tasks where they write pieces themselves, after them where they stage files."""

    def __init__(self, session: SparkSession, job: Move, staging: Path, *, relay: bool) -> None:
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
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)

    def _run(self) -> Moved:
        job = self._job
        if job.eager or job.open_writer is not None:
            self._load = job.begin()
        ticket = self._load.ticket if self._load is not None else None
        reports = self._reports(self._orders(json.dumps(ticket_to_json(ticket)) if ticket is not None else None))
        tally = _sum_of([tally_from_json(report["tally"]) for report in reports])
        pieces = [piece for report in reports for piece in pieces_of(report)]
        if not job.eager and not tally.given:
            return self._nothing(tally)
        if ticket is None:
            self._load = self._load or job.begin()
            pieces = list(self._written(self._load, pieces))
        return Moved(self._load, tuple(pieces), tally)

    def _nothing(self, tally: Tally) -> Moved:
        if self._load is not None:
            self._load.abort()
        return Moved(None, (), tally)

    def _orders(self, ticket: str | None) -> Orders:
        job = self._job
        return Orders(
            reader=job.reader,
            groups=[json.dumps([split_to_json(split) for split in group]) for group in self._groups()],
            shape=job.shape,
            transform=job.transform,
            open_writer=job.open_writer,
            ticket=ticket,
            staging=str(self._staging),
            relay=self._relay,
        )

    def _groups(self) -> list[Sequence[Split]]:
        """The splits of each task: one, but all in one where rows delivered before are known by how often they came."""
        if self._job.shape.boundary is not None:
            return [self._job.splits]
        return [[split] for split in self._job.splits]

    def _reports(self, orders: Orders) -> list[dict[str, Any]]:
        """What the tasks reported, in the order of their splits. Raises the first error of any of them."""
        count = len(orders.groups)
        frame = self._session.range(0, count, 1, count).mapInArrow(tasks(orders), "number bigint, report string")
        with ThreadPoolExecutor(1, thread_name_prefix="penstock-spark") as pool:
            rows = self._watch(pool.submit(frame.collect))
        reports = [json.loads(row.report) for row in sorted(rows, key=lambda row: row.number)]
        for report in reports:
            if "error" in report:
                raise error_from_json(report["error"])
        if len(reports) != count:
            raise LoadError(f"{count} tasks ran, {len(reports)} reported", fault="internal")
        return reports

    def _watch(self, running: Future[list[Any]]) -> list[Any]:
        stop = self._job.stop
        while True:
            try:
                return running.result(_POLL_SECONDS)
            except NotYetError:
                if stop is not None and stop.is_set():
                    self._session.interruptAll()
                    raise Interrupted(getattr(stop, "signal_number", SIGINT)) from None

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


def _sum_of(tallies: Sequence[Tally]) -> Tally:
    reached = [tally.reached for tally in tallies if tally.reached is not None]
    boundaries = [tally.boundary for tally in tallies if tally.boundary is not None]
    digests = [tally.digest for tally in tallies if tally.digest is not None]
    return Tally(
        read=sum(t.read for t in tallies),
        deduplicated_in=sum(t.deduplicated_in for t in tallies),
        given=sum(t.given for t in tallies),
        returned=sum(t.returned for t in tallies),
        written=sum(t.written for t in tallies),
        quarantined=sum(t.quarantined for t in tallies),
        size_bytes=sum(t.size_bytes for t in tallies),
        reached=max(reached, key=lambda cursor: cursor.value, default=None),  # type: ignore[arg-type, return-value]
        boundary=boundaries[0] if boundaries else None,
        digest=add_digests(digests) if digests else None,
    )
