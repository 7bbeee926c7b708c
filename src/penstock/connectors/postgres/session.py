"""The read session: one exported snapshot, kept open while readers use it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.connectors.postgres import extents, loop
from penstock.connectors.postgres.catalog import Relation, describe
from penstock.connectors.postgres.connect import Session
from penstock.connectors.postgres.cursors import OrderSql
from penstock.connectors.postgres.explain import driver_errors
from penstock.connectors.postgres.extents import Extent
from penstock.connectors.postgres.filters import Settings, render
from penstock.connectors.postgres.identifiers import quote
from penstock.connectors.postgres.measure import ask_activity, ask_facts, measure
from penstock.connectors.postgres.reader import numeric_modifiers
from penstock.connectors.postgres.settings import default_schema, session_settings, set_sql
from penstock.connectors.postgres.splits import Share, cut
from penstock.connectors.postgres.targets import Target, resolve
from penstock.errors import ExtractionError, PenstockError, SourceChangedError
from penstock.values import Bounds, Connection, Cursor, Json, ReadRequest, Split, SplitId, StreamName, TableSchema

if TYPE_CHECKING:
    from penstock.connectors.postgres.horizon import Facts

HIDDEN_CURSOR = "_penstock_cursor"
ALIVE_SECONDS = 30.0
LOCK_TIMEOUT = "60s"
_GONE = ("42P01", "42703", "3F000")


class PostgresReadSession:
    """Bounds and splits of several requests, all seen by one snapshot."""

    def __init__(
        self, connection: Connection, requests: Sequence[ReadRequest], planned: Mapping[str, Relation]
    ) -> None:
        self._connection = connection
        self._bounds: dict[StreamName, Bounds] = {}
        self._splits: list[Split] = []
        self._session = Session(connection, application="source", kind=ExtractionError)
        self._alive: Future[None] | None = None
        try:
            self._open(requests, planned)
        except BaseException:
            self._session.close()
            raise
        self._alive = asyncio.run_coroutine_threadsafe(self._keep_alive(), loop.get())

    @property
    def bounds(self) -> Mapping[StreamName, Bounds]:
        return self._bounds

    @property
    def splits(self) -> Sequence[Split]:
        return self._splits

    def acknowledge(self, upto: Mapping[StreamName, Cursor]) -> None:
        """Nothing to do: a table keeps no position for its readers."""

    def __enter__(self) -> PostgresReadSession:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the snapshot go; safe to repeat."""
        if self._alive is not None:
            self._alive.cancel()
            self._alive = None
        self._session.close()

    def _open(self, requests: Sequence[ReadRequest], planned: Mapping[str, Relation]) -> None:
        session = self._session
        session.execute(set_sql({**session_settings(self._connection), "lock_timeout": LOCK_TIMEOUT}))
        activity = ask_activity(session)
        relations = describe(session, _table_names(requests), default_schema(self._connection))
        _check_unchanged(relations, planned)
        targets = [self._resolve(r, relations) for r in requests]
        try:
            # locked before the snapshot is taken: TRUNCATE and rewrites are not seen by older snapshots as they were
            session.execute(_begin(targets))
            facts = ask_facts(session, activity)
            snapshot = str(session.query("SELECT pg_export_snapshot()")[0][0])
            self._measure(targets, facts, snapshot)
        except PenstockError as error:
            raise _gone(error) from error

    def _resolve(self, request: ReadRequest, relations: Mapping[str, Relation]) -> Target:
        target = resolve(self._session, request, relations.get(str(request.stream)))
        if target.query is None or not any(c.base == "numeric" for c in target.columns):
            return target
        found = numeric_modifiers(self._connection, f"SELECT * {target.from_sql([])}", target.stream)
        columns = (
            replace(c, native=found[c.name], base_native=found[c.name]) if c.name in found else c
            for c in target.columns
        )
        return replace(target, columns=tuple(columns))

    def _measure(self, targets: Sequence[Target], facts: Facts, snapshot: str) -> None:
        planned = [extents.plan(target, facts) for target in targets]
        answers = measure(self._session, planned, facts)
        for number, extent in enumerate(planned):
            settled = extents.settle(extent, answers[number], facts, snapshot)
            assert settled.bounds is not None
            self._bounds[settled.target.request.stream] = settled.bounds
            shares = [None] if settled.bounds.idle else cut(self._session, settled, facts.version)
            for place, share in enumerate(shares):
                self._splits.append(_to_split(settled, share, place, snapshot))

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(ALIVE_SECONDS)
            try:
                await self._session.raw.execute("SELECT 1")
            except driver_errors():
                # readers find the snapshot gone and say so, with where and way out
                return


def _table_names(requests: Sequence[ReadRequest]) -> list[str]:
    return [str(r.stream) for r in requests if r.query is None]


def _begin(targets: Sequence[Target]) -> str:
    tables = dict.fromkeys(t.relation.sql for t in targets if t.relation is not None and t.relation.lockable)
    lock = f"LOCK TABLE {', '.join(tables)} IN ACCESS SHARE MODE; " if tables else ""
    return f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {lock}"


def _check_unchanged(relations: Mapping[str, Relation], planned: Mapping[str, Relation]) -> None:
    for stream, relation in relations.items():
        before = planned.get(stream)
        if before is not None and before.columns != relation.columns:
            raise SourceChangedError(
                "the columns of the source changed since the load was planned",
                where=stream,
                fix="run again: the load is planned with the new columns",
                retryable=True,
            )


def _gone(error: PenstockError) -> PenstockError:
    state = getattr(error.__cause__, "sqlstate", None)
    if state not in _GONE:
        return error
    return SourceChangedError(
        f"a table or column went away while the load was planned: {error.what}",
        where=error.where,
        fix="run again; where it is gone for good, take it out of the project",
        retryable=True,
    )


def _to_split(extent: Extent, share: Share | None, place: int, snapshot: str) -> Split:
    target, request = extent.target, extent.target.request
    binder = Settings()
    terms = render(extent.wanted, target.filter_order, binder)
    source = target.from_sql(terms, share.terms(binder) if share is not None else ())
    if request.limit is not None:
        source += f" LIMIT {int(request.limit)}"
    items, schema, order = [s.sql for s in target.selected()], target.schema(), target.order
    shown = _cursor_column(order, schema) if order is not None else None
    if order is not None and shown is None:
        items.append(f"{order.value}{'::text' if order.type == 'decimal' else ''} AS {HIDDEN_CURSOR}")
    settings: dict[str, Json] = dict(binder.values)
    work: dict[str, Json] = {
        "sql": f"SELECT {', '.join(items)} {source}",
        "relay_sql": f"SELECT {', '.join(f't.{quote(name)}' for name in schema.names)} {source}",
        "source": source,
        "settings": settings,
        "snapshot": snapshot,
        "cursor_type": order.arrow if order is not None else None,
        "cursor_column": shown,
        "batch_rows": request.batch_rows,
        "batch_bytes": request.batch_bytes,
    }
    estimate = extent.bounds.rows_estimate if extent.bounds is not None else None
    return Split(SplitId(f"{request.stream}#{place}"), request.stream, schema, work, estimate)


def _cursor_column(order: OrderSql, schema: TableSchema) -> str | None:
    """The column of the rows that is the cursor as it is; None asks for a hidden one."""
    if order.column is None:
        return None
    kind = schema.field(order.column).type
    same = kind == order.arrow or (order.type == "int" and kind in ("int16", "int32"))
    return order.column if same else None
