"""The ends of a run: each connection opened once, with as many tables at a time as it allows."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import field
from functools import partial

from penstock.errors import ConfigError, PenstockError
from penstock.plugins import connector, open_destination, open_jdbc, open_jdbc_destination, open_source
from penstock.protocols import Destination, Engine, KeptOpen, Reader, RemoteEngine, RowAware, Source
from penstock.records import dataclass
from penstock.steps.replicate import RemoteEnds
from penstock.steps.replicate_step import ReplicateStep
from penstock.steps.survey import Surveyed, survey
from penstock.values import Connection, ReadRequest, StreamName, TableName, TableSchema


@dataclass(slots=True)
class Ends:
    """Sources and destinations by connection name; safe to use from many threads."""

    connections: Mapping[str, Connection]
    written: frozenset[str] = frozenset()
    stands_at: Mapping[str, str] = field(default_factory=dict)  # name -> file:line:column of the project
    _sources: dict[str, Source] = field(default_factory=dict)
    _destinations: dict[str, Destination] = field(default_factory=dict)
    _places: dict[str, threading.BoundedSemaphore] = field(default_factory=dict)
    _kept: ExitStack | None = None
    _guard: threading.RLock = field(default_factory=threading.RLock)

    def connection(self, name: str) -> Connection:
        if name not in self.connections:
            raise ConfigError(f"no connection {name!r}", fix=f"connections: {', '.join(sorted(self.connections))}")
        return self.connections[name]

    def source(self, name: str) -> Source:
        with self._guard:
            if name not in self._sources:
                # A file that is written here too must be known as such before it is read: it has one handle.
                for destination in sorted(self.written):
                    self.destination(destination)
                self._sources[name] = open_source(self.connection(name))
            return self._sources[name]

    def lend(self, name: str, source: Source) -> None:
        """Let `source` stand for the read side of the connection: a frame in place of a table."""
        with self._guard:
            self._sources[name] = source

    def destination(self, name: str) -> Destination:
        with self._guard:
            if name not in self._destinations:
                self._destinations[name] = open_destination(self.connection(name))
                self._keep_open(self._destinations[name])
            return self._destinations[name]

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """While it lasts, destinations that are dear to open may stay open between two looks at them."""
        with ExitStack() as stack:
            with self._guard:
                self._kept = stack
                for destination in self._destinations.values():
                    self._keep_open(destination)
            try:
                yield
            finally:
                with self._guard:
                    self._kept = None

    def _keep_open(self, destination: Destination) -> None:
        if self._kept is not None and isinstance(destination, KeptOpen):
            self._kept.enter_context(destination.kept_open())

    @contextmanager
    def locating(self, *names: str) -> Iterator[None]:
        """Errors that are about one of these connections say where in the project file it is written."""
        try:
            yield
        except PenstockError as error:
            for name in names:
                self._locate(error, name)
            raise

    def _locate(self, error: PenstockError, name: str) -> None:
        place, connection, told = self.stands_at.get(name), self.connections.get(name), error.where or ""
        if place is None or connection is None:
            return
        if told.partition(" ")[0] == f"connections.{name}":
            error.locate(f"{place}, {told}")
        elif told and told in (connection.database, connection.extra.get("path")):
            error.locate(f"{place}, connections.{name} ({told})")

    def has_rows(self, destination: str, table: TableName) -> bool:
        """Whether the table holds a row: asked of the destination, or seen through the connection's own read side."""
        asked = self.destination(destination)
        if isinstance(asked, RowAware):
            return asked.has_rows(table)
        source = self.source(destination)
        with source.open([ReadRequest(StreamName(str(table)), limit=1)]) as session:
            reader = source.reader()
            return any(batch.rows.num_rows for split in session.splits for batch in reader.read(split))

    def survey(self, steps: Sequence[ReplicateStep]) -> list[Surveyed]:
        """Look at steps that share both ends. Raises only what concerns all of them."""
        source, destination = steps[0].source, steps[0].destination
        with self.locating(source, destination):
            return survey(
                steps,
                self.source(source),
                self.destination(destination),
                lambda table: self.has_rows(destination, table),
            )

    def remote(self, engine: Engine, step: ReplicateStep) -> RemoteEnds | None:
        """The ends of a table as an engine's tasks open them, where its splits run in other processes."""
        if not isinstance(engine, RemoteEngine) or step.source not in self.connections or self._is_written(step.source):
            return None
        source, destination = self.source(step.source), self.destination(step.destination)
        read_io, write_io = step.reading.io, step.writing.io
        apart = "travelling_snapshot" in source.abilities and "remote_pieces" in destination.operations
        apart = apart and read_io == "native"  # JDBC shows each attempt the rows of its own moment
        here, there = self.connection(step.source), self.connection(step.destination)
        with self.locating(step.source, step.destination):
            reader, require = engine.reader(here, read_io), partial(_require_carried, step, here, there)
            if not apart and write_io == "native":
                return RemoteEnds(reader, None, require)
            return RemoteEnds(reader, engine.open_writer(there, write_io, batch_rows=step.writing.batch_rows), require)

    def reader_elsewhere(self, engine: RemoteEngine, name: str) -> Reader:
        """The read side as other processes open it. Raises ConfigError where they cannot."""
        if self._is_written(name):
            raise ConfigError(
                f"connection {name!r} is a file that this project also writes to: the tasks of Spark cannot read it",
                where=f"connections.{name}",
                fix="take to_arrow() of engine arrow, or read a copy of the file",
            )
        with self.locating(name):
            return engine.reader(self.connection(name))

    def _is_written(self, name: str) -> bool:
        """Whether files that this process may also write to: no other process can open them meanwhile."""
        if not connector(self.connection(name).variant).keeps_files:
            return False
        here = _place_of(self.connection(name))
        return any(_place_of(self.connection(other)) == here for other in self.written)

    @contextmanager
    def places(self, source: str, destination: str) -> Iterator[None]:
        """Hold a place at both ends while one table is loaded; taken in one order, so no ring of waiters."""
        wanted = {
            f"source {source}": self._reads(source),
            f"destination {destination}": self._loads(destination),
        }
        with ExitStack() as stack:
            for name in sorted(wanted):
                stack.enter_context(self._semaphore(name, wanted[name]))
            yield

    def _reads(self, name: str) -> int:
        """A table holds a connection for its snapshot and one or more that read."""
        return max(1, self.connection(name).max_connections // 2) if name in self.connections else 1

    def _loads(self, name: str) -> int:
        limits = self.destination(name).limits
        return max(1, min(limits.loads, self.connection(name).max_connections // 2))

    def _semaphore(self, name: str, places: int) -> threading.BoundedSemaphore:
        with self._guard:
            if name not in self._places:
                self._places[name] = threading.BoundedSemaphore(places)
            return self._places[name]


def _place_of(connection: Connection) -> tuple[str, str]:
    place = connection.database or connection.extra.get("db_path") or connection.extra.get("path")
    return connection.variant, os.path.realpath(str(place))


def _require_carried(
    step: ReplicateStep, here: Connection, there: Connection, read: TableSchema, written: TableSchema
) -> None:
    """Raises ConfigError for columns that JDBC cannot carry, where the step asks for it."""
    if step.reading.io == "jdbc":
        open_jdbc(here).require_readable(read)
    if step.writing.io == "jdbc":
        open_jdbc_destination(there).require_writable(written)
