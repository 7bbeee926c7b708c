"""The Spark engine: what steps call. Tasks move rows, this process begins and commits."""

from __future__ import annotations

from penstock.engines.arrow.engine import ArrowEngine
from penstock.engines.arrow.transform import ArrowTransform
from penstock.engines.spark.move import Mover
from penstock.engines.spark.remote import RemoteReader, RemoteWriter, keeps_files, travelling
from penstock.engines.spark.session import HeldSession
from penstock.engines.spark.transform import TravellingTransform
from penstock.errors import ConfigError
from penstock.protocols import Move, Moved, Transform
from penstock.values import Connection


class SparkEngine:
    """Moves the rows of one source and one destination through tasks of a session.

    `local` does what needs no cluster: transforms over whole tables in frames of this process, and moves whose ends
    cannot travel. In its folder tasks leave the pieces of destinations that take none from elsewhere.
    """

    def __init__(self, session: HeldSession, local: ArrowEngine) -> None:
        self._session = session
        self._local = local

    def move(self, job: Move) -> Moved:
        if not job.splits or not isinstance(job.reader, RemoteReader) or _sees_all(job.transform):
            return self._local.move(job)
        return self._by_tasks(job, relay=False)

    def relay(self, job: Move) -> Moved:
        if not isinstance(job.reader, RemoteReader) or job.open_writer is None:
            return self._local.relay(job)
        return self._by_tasks(job, relay=True)

    def _by_tasks(self, job: Move, *, relay: bool) -> Moved:
        if job.open_writer is None:
            self._require_shared_staging()
        session = self._session.get()
        with self._local.temporary_folder() as staging:
            return Mover(session, job, staging, relay=relay).run()

    def _require_shared_staging(self) -> None:
        if not self._session.is_local:
            raise ConfigError(
                "the rows of this load pass through files in settings.staging, a folder of this machine, and the "
                "executors are on others",
                fix="use a master of this machine (local[*]) or engine: arrow; tables of postgres that are not "
                "replaced in place need no such files",
            )

    def load_transform(self, reference: str, base_dir: str, *, default_frame: str | None = None) -> Transform:
        loaded = self._local.load_transform(reference, base_dir, default_frame=default_frame)
        assert isinstance(loaded, ArrowTransform)
        return TravellingTransform.of_function(
            loaded, (reference, base_dir, default_frame), shares_disk=self._session.is_local
        )

    def sql_transform(self, sql: str) -> Transform:
        parsed = self._local.sql_transform(sql)
        assert isinstance(parsed, ArrowTransform)
        return TravellingTransform.of_sql(parsed, sql)

    def reader(self, source: Connection) -> RemoteReader:
        self._require_reachable(source)
        return RemoteReader(travelling(source))

    def open_writer(self, destination: Connection) -> RemoteWriter:
        self._require_reachable(destination)
        return RemoteWriter(travelling(destination))

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

    def close(self) -> None:
        """End the session if it was made here, and give back what the local engine holds; safe to repeat."""
        try:
            self._session.close()
        finally:
            self._local.close()


def _sees_all(transform: Transform | None) -> bool:
    return transform is not None and transform.scope != "rows"
