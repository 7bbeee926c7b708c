"""The Spark engine: what steps call. Tasks move rows, this process begins and commits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from penstock import plugins
from penstock.engines.arrow.engine import ArrowEngine
from penstock.engines.arrow.reference import UserFunction, load_user_function
from penstock.engines.arrow.transform import ArrowTransform
from penstock.engines.spark.datasource import register
from penstock.engines.spark.frames import (
    FRAMES,
    SparkTransform,
    StagedReader,
    asks_for_session,
    empty_file,
    finished_shape,
    frame_of,
    raw_shape,
    schema_of_staged,
    splits_of,
    staging_of,
)
from penstock.engines.spark.jdbc import JdbcReader
from penstock.engines.spark.jobs import run_job
from penstock.engines.spark.landing import JdbcWriter
from penstock.engines.spark.move import Mover
from penstock.engines.spark.notebook import lazy_frame
from penstock.engines.spark.remote import Fetching, RemoteReader, RemoteWriter, keeps_files, travelling
from penstock.engines.spark.session import HeldSession
from penstock.engines.spark.staging import folder_at
from penstock.engines.spark.task import Pieces, StagedFiles
from penstock.engines.spark.transform import TravellingTransform
from penstock.engines.spark.types import arrow_schema
from penstock.errors import ConfigError, LoadError, PenstockError, TransformError
from penstock.protocols import Move, Moved, Reader, Transform
from penstock.schema.types import to_arrow_schema
from penstock.values import Connection, Piece, RowIo, Split, StreamName, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame


class SparkEngine:
    """Moves the rows of one source and one destination through tasks of a session.

    `local` does what needs no cluster: transforms over whole tables in frames of this process, and moves whose ends
    cannot travel. In its folder tasks leave the pieces of destinations that take none from elsewhere.
    """

    def __init__(
        self,
        session: HeldSession,
        local: ArrowEngine,
        *,
        jars_folder: str | None = None,
        staging_url: str | None = None,
        secrets: Fetching = "driver",
    ) -> None:
        self._jars_folder = jars_folder
        self._staging_url = staging_url
        self._secrets = secrets
        self._session = session
        self._local = local

    def move(self, job: Move) -> Moved:
        if isinstance(job.transform, SparkTransform):
            return self._through_frame(job, job.transform)
        if not job.splits or not isinstance(job.reader, RemoteReader):
            return self._local.move(job)
        if job.transform is not None and self.gathers(job.transform):
            return self._through_files(job) if isinstance(job.reader, JdbcReader) else self._local.move(job)
        return self._by_tasks(job, relay=False)

    def _through_frame(self, job: Move, transform: SparkTransform) -> Moved:
        """Stage what is read, transform, stage what is made, load that: see frames."""
        if not job.splits:
            return self._local.move(replace(job, transform=None))
        with self._shared_folder() as folder:
            taken = replace(job, transform=None, shape=raw_shape(job.shape), open_writer=None, eager=True)
            read = self._staged(replace(taken, begin=lambda: Pieces(StagedFiles(folder), 0)), folder)
            if not read.tally.given and not job.eager:
                return replace(read, load=None, pieces=())
            made = self._made(job, transform, read.pieces, folder)
            given = replace(
                job, reader=StagedReader(), splits=made, transform=None, shape=finished_shape(job.shape), progress=None
            )
            moved = self._load_made(given)
        return _as_read(read, moved)

    def _through_files(self, job: Move) -> Moved:
        """For a transform that must see rows of several splits, in this process: what Spark reads comes as files."""
        with self._shared_folder() as folder:
            read = self._staged(replace(job, transform=None, shape=raw_shape(job.shape), open_writer=None), folder)
            if not read.tally.given and not job.eager:
                return replace(read, load=None, pieces=())
            first = job.splits[0]
            files = [{**piece.work, "rows": piece.rows} for piece in read.pieces if piece.rows]
            splits = splits_of(files or [empty_file(folder, first.schema)], first.stream, first.schema)
            given = replace(job, reader=StagedReader(), splits=splits, shape=finished_shape(job.shape), progress=None)
            moved = self._local.move(given)
        return _as_read(read, moved)

    def _staged(self, job: Move, folder: str) -> Moved:
        """The rows of the source in files; no load is begun."""
        if not isinstance(job.reader, RemoteReader):
            return self._local.move(job)
        return Mover(self._session.get(), job, folder, relay=False).stage()

    def _made(self, job: Move, transform: SparkTransform, pieces: Sequence[Piece], folder: str) -> tuple[Split, ...]:
        """What the transform makes of the pieces; those into quarantine go round it."""
        first = job.splits[0]
        files = [str(piece.work["path"]) for piece in pieces if piece.rows and piece.into == "target"]
        incoming = schema_of_staged(files, to_arrow_schema(first.schema))
        session = self._session.get()
        made = transform.checked(transform.call(frame_of(session, files, incoming)), incoming)
        try:
            rows = run_job(session, lambda: staging_of(made, folder).collect(), job.stop)
        except LoadError as error:
            if error.fault != "internal" or error.__cause__ is None:
                raise
            raise transform.failure(error.__cause__) from error.__cause__
        reports = [report for row in rows if (report := json.loads(row.report)) is not None]
        aside = [{**piece.work, "rows": piece.rows} for piece in pieces if piece.rows and piece.into == "quarantine"]
        declared = transform.declared_for(incoming)
        return (
            *splits_of(reports, first.stream, declared),
            *splits_of(aside, first.stream, declared, into="quarantine"),
        )

    @contextmanager
    def arrow_of(self, frame: DataFrame) -> Iterator[pa.RecordBatchReader]:
        """The rows of a Spark frame as batches, out of files that its tasks write; to be read while it lasts."""
        import pyarrow as pa

        schema = arrow_schema(frame.schema)
        with self._shared_folder() as folder:
            rows = run_job(self._session.get(), lambda: staging_of(frame, folder).collect(), None)
            reports = [report for row in rows if (report := json.loads(row.report)) is not None]
            splits = splits_of(reports, StreamName("frame"), TableSchema(()))
            batches = (batch.rows.cast(schema) for split in splits for batch in StagedReader().read(split))
            yield pa.RecordBatchReader.from_batches(schema, batches)

    def _load_made(self, job: Move) -> Moved:
        if not job.splits or job.open_writer is None:
            return self._local.move(job)
        with self._own_folder() as folder:
            return Mover(self._session.get(), job, folder, relay=False).run()

    def relay(self, job: Move) -> Moved:
        if not isinstance(job.reader, RemoteReader) or job.open_writer is None:
            return self._local.relay(job)
        return self._by_tasks(job, relay=True)

    def _by_tasks(self, job: Move, *, relay: bool) -> Moved:
        session = self._session.get()
        with self._shared_folder() if job.open_writer is None else self._own_folder() as folder:
            return Mover(session, job, folder, relay=relay).run()

    def frame_of(self, reader: Reader, splits: Sequence[Split]) -> DataFrame:
        """The rows of the splits as a lazy frame, a partition for each, while what they are read from lasts."""
        return lazy_frame(self._session.get(), reader, splits)

    def offer(self, connections: Sequence[Connection]) -> None:
        """Make them readable by the session's own `read.format("penstock")`; one out of reach says so when named."""
        register(self._session.get(), {one.name: self._offered(one) for one in connections})

    def _offered(self, connection: Connection) -> Connection | PenstockError:
        try:
            self._require_reachable(connection)
            return travelling(connection, self._secrets)
        except PenstockError as error:
            return error

    @contextmanager
    def _own_folder(self) -> Iterator[str]:
        with self._local.temporary_folder() as folder:
            yield str(folder)

    def _shared_folder(self) -> AbstractContextManager[str]:
        """A folder for rows that tasks see too. Raises ConfigError where the project names none."""
        if self._session.is_local:
            return self._own_folder()
        if self._staging_url is not None:
            return folder_at(self._staging_url)
        raise ConfigError(
            "the rows of this load pass through files in settings.staging, which is a folder of this machine, and the "
            "executors are on others",
            where="settings.staging",
            fix="write a URL there that all of them reach (s3://, gs://, abfss://, or file:/// for a folder mounted "
            "everywhere), or use a master of this machine (local[*]) or engine: arrow",
        )

    def load_transform(self, reference: str, base_dir: str, *, default_frame: str | None = None) -> Transform:
        user = self._user_function(reference, base_dir, default_frame)
        if user.frame in FRAMES.values():
            return SparkTransform(user, self._session)
        loaded = self._local.function_transform(user)
        return TravellingTransform.of_function(
            loaded, (reference, base_dir, default_frame), shares_disk=self._session.is_local
        )

    def _user_function(self, reference: str, base_dir: str, default_frame: str | None) -> UserFunction:
        try:
            return load_user_function(reference, base_dir, default_frame, more=FRAMES)
        except TransformError as error:
            if not asks_for_session(error.__cause__):
                raise
        self._session.get()  # columns and UDFs that the file makes as it is loaded need one
        return load_user_function(reference, base_dir, default_frame, more=FRAMES)

    def sql_transform(self, sql: str) -> Transform:
        parsed = self._local.sql_transform(sql)
        assert isinstance(parsed, ArrowTransform)
        return TravellingTransform.of_sql(parsed, sql)

    def reader(self, source: Connection, io: RowIo = "native") -> RemoteReader:
        self._require_reachable(source)
        if io == "native":
            return RemoteReader(travelling(source, self._secrets))
        self._require_secrets_here(source)
        plugins.open_jdbc(source)
        return JdbcReader(travelling(source), jars_folder=self._jars_folder)

    def open_writer(self, destination: Connection, io: RowIo = "native", *, batch_rows: int = 10_000) -> RemoteWriter:
        self._require_reachable(destination)
        if io == "native":
            return RemoteWriter(travelling(destination, self._secrets))
        self._require_secrets_here(destination)
        plugins.open_jdbc_destination(destination)
        return JdbcWriter(travelling(destination), jars_folder=self._jars_folder, batch_rows=batch_rows)

    def _require_secrets_here(self, connection: Connection) -> None:
        if self._secrets == "executor":
            raise ConfigError(
                "io: jdbc and settings.spark.secrets: executor exclude each other: Spark's own JDBC takes the password",
                where=f"connections.{connection.name}",
                fix="leave one of them out",
            )

    def _require_reachable(self, connection: Connection) -> None:
        if keeps_files(connection) and not self._session.is_local:
            raise ConfigError(
                f"connection {connection.name!r} names files of this machine, and the executors are on others",
                where=f"connections.{connection.name}",
                fix="use a master of this machine (local[*]), engine: arrow, or a system that executors can reach",
            )

    @property
    def place(self) -> str:
        """Where splits run, for `plan`."""
        return f"Spark tasks on {self._session.place}"

    def gathers(self, transform: Transform) -> bool:
        return transform.scope != "rows" and not isinstance(transform, SparkTransform)

    def close(self) -> None:
        """End the session if it was made here, and give back what the local engine holds; safe to repeat."""
        try:
            self._session.close()
        finally:
            self._local.close()


def _as_read(read: Moved, moved: Moved) -> Moved:
    """A move in two halves, told as one: what was read from the source, and what was written of it."""
    names = ("read", "deduplicated_in", "given", "size_bytes", "reached", "boundary", "unrecognised")
    return replace(moved, tally=replace(moved.tally, **{name: getattr(read.tally, name) for name in names}))
