"""PostgreSQL as a source: tables by transaction horizon, everything else by cursor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from penstock.connectors.postgres import extents
from penstock.connectors.postgres.catalog import Relation, describe, list_all
from penstock.connectors.postgres.connect import Session, address_of
from penstock.connectors.postgres.extents import Extent
from penstock.connectors.postgres.horizon import Facts
from penstock.connectors.postgres.measure import ask_activity, ask_facts, measure
from penstock.connectors.postgres.reader import PostgresReader
from penstock.connectors.postgres.relay import COPY_BINARY, relay_splits
from penstock.connectors.postgres.session import PostgresReadSession
from penstock.connectors.postgres.settings import default_schema, session_settings, set_sql
from penstock.connectors.postgres.targets import resolve
from penstock.errors import ConfigError, ExtractionError, PenstockError
from penstock.values import (
    Ability,
    Bounds,
    Connection,
    Encoding,
    ReadRequest,
    Split,
    StreamSpec,
    TableSchema,
)

if TYPE_CHECKING:
    from penstock.protocols import Reader, ReadSession

OLDEST_VERSION = 130_000


class PostgresSource:
    """Reads PostgreSQL 13 and later. Opens a connection when one is needed and keeps none but a read session's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._described: dict[str, Relation] = {}

    @property
    def abilities(self) -> frozenset[Ability]:
        return frozenset(
            ("shared_snapshot", "travelling_snapshot", "splits", "cut_by_column", "horizon", "relay", "static_schema")
        )

    @property
    def identity(self) -> str:
        c = self._connection
        return f"postgres://{c.host or 'localhost'}:{c.port or 5432}/{c.database or c.user or 'postgres'}"

    @property
    def relay_encoding(self) -> Encoding:
        return COPY_BINARY

    def relay_splits(self, splits: Sequence[Split], target: TableSchema) -> Sequence[Split] | None:
        """The splits told to hand out bytes that fit `target` column by column, or None where only decoding is safe."""
        return relay_splits(splits, target.fields)

    def check(self) -> None:
        """Log in and take a snapshot. Raises ConfigError or ExtractionError with what failed and why."""
        with _Opened(self._connection) as session:
            facts = ask_facts(session, ask_activity(session))
        if facts.version < OLDEST_VERSION:
            raise ExtractionError(
                f"the server is PostgreSQL {facts.version // 10_000}: snapshots by transaction came with 13",
                where=address_of(self._connection),
                fix="upgrade the server",
                fault="config",
            )

    def streams(self, like: Sequence[str] | None = None) -> Iterable[StreamSpec]:
        with _Opened(self._connection) as session:
            if like is None:
                found = list_all(session, self._connection.schema, default_schema(self._connection))
            else:
                found = describe(session, like, default_schema(self._connection))
        self._described.update(found)
        return [relation.to_spec(name) for name, relation in found.items()]

    def probe(self, requests: Sequence[ReadRequest]) -> Sequence[Bounds]:
        """All bounds by one statement. What one request may not do is a note of its bounds: open() raises it."""
        if not requests:
            return []
        with _Opened(self._connection) as session:
            missing = [n for n in _tables(requests) if n not in self._described]
            if missing:
                self._described.update(describe(session, missing, default_schema(self._connection)))
            facts = ask_facts(session, ask_activity(session))
            planned = [self._plan(session, request, facts) for request in requests]
            return _probe(session, planned, facts)

    def open(self, requests: Sequence[ReadRequest]) -> ReadSession:
        """One snapshot for all requests. Raises SourceChangedError where a table is not as streams() described it."""
        streams = [r.stream for r in requests]
        if len(set(streams)) != len(streams):
            raise ConfigError("a stream can be requested once per session", where=self.identity)
        planned = {name: self._described.pop(name) for name in _tables(requests) if name in self._described}
        return PostgresReadSession(self._connection, requests, planned)

    def reader(self) -> Reader:
        return PostgresReader(self._connection)

    def _plan(self, session: Session, request: ReadRequest, facts: Facts) -> Extent | PenstockError:
        try:
            return extents.plan(resolve(session, request, self._described.get(str(request.stream))), facts)
        except PenstockError as error:
            if error.fault == "transient":
                raise
            return error


def open_source(connection: Connection) -> PostgresSource:
    return PostgresSource(connection)


class _Opened:
    """A session for the length of one call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> Session:
        self._session = Session(self._connection, application="source", kind=ExtractionError)
        self._session.execute(set_sql(session_settings(self._connection)))
        return self._session

    def __exit__(self, *exc: object) -> None:
        self._session.close()


def _tables(requests: Sequence[ReadRequest]) -> list[str]:
    return [str(r.stream) for r in requests if r.query is None]


def _probe(session: Session, planned: Sequence[Extent | PenstockError], facts: Facts) -> list[Bounds]:
    found: dict[int, Bounds] = {i: _failed(p) for i, p in enumerate(planned) if isinstance(p, PenstockError)}
    sound = [(i, p) for i, p in enumerate(planned) if isinstance(p, Extent)]
    try:
        found.update(_ask(session, sound, facts))
    except PenstockError as error:
        if error.fault == "transient" or len(planned) == 1:
            raise
        # one table that cannot be asked about must not hide the others
        for one in sound:
            try:
                found.update(_ask(session, [one], facts))
            except PenstockError as its_own:
                found[one[0]] = _failed(its_own)
    return [found[i] for i in range(len(planned))]


def _ask(session: Session, sound: Sequence[tuple[int, Extent]], facts: Facts) -> dict[int, Bounds]:
    extents_only = [extent for _, extent in sound]
    answers = measure(session, extents_only, facts)
    found = {}
    for place, (number, extent) in enumerate(sound):
        try:
            settled = extents.settle(extent, answers[place], facts, None)
        except PenstockError as error:
            found[number] = _failed(error)
        else:
            assert settled.bounds is not None
            found[number] = settled.bounds
    return found


def _failed(error: PenstockError) -> Bounds:
    return Bounds(notes=(f"cannot be read: {error.what}",))
