"""What is true of many tables before they are loaded, learnt in few round trips: heads, columns, streams, bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from penstock.errors import ConfigError, ExtractionError, PenstockError, RefusedError, counted
from penstock.loading.admission import Admission, Claim, admit
from penstock.loading.plan import KEYED
from penstock.protocols import AbsenceAware, Destination, Source
from penstock.records import dataclass
from penstock.schema.names import check_schema_name, check_table_name
from penstock.steps.replicate_step import ReplicateStep
from penstock.steps.shaping import expected_types
from penstock.values import (
    START,
    Bounds,
    Cursor,
    LedgerHead,
    Limits,
    ReadRequest,
    StreamName,
    StreamSpec,
    TableName,
    TableSchema,
    Window,
)


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One table as it stands. `error` ends this table and no other; `bounds` is None where a read must tell.

    `head` is None where the ledger has none, and where it was not read.
    """

    step: ReplicateStep
    head: LedgerHead | None = None
    table: TableSchema | None = None
    stream: StreamSpec | None = None
    admission: Admission | None = None
    request: ReadRequest | None = None
    bounds: Bounds | None = None
    error: PenstockError | None = None
    ledger_read: bool = False


def survey(
    steps: Sequence[ReplicateStep], source: Source, destination: Destination, has_rows: Callable[[TableName], bool]
) -> list[Surveyed]:
    """Look at all tables of one source and one destination together. Raises only what concerns all of them."""
    unusable = {i: error for i, step in enumerate(steps) if (error := step.error or _name_error(step, destination))}
    usable = [step for index, step in enumerate(steps) if index not in unusable]
    targets = list(dict.fromkeys(s.writing.target for s in usable))
    heads = destination.ledger().heads(targets)
    tables = destination.describe(targets)
    named = list(dict.fromkeys(s.reading.stream for s in usable if s.reading.query is None))
    streams = {spec.name: spec for spec in source.streams(named)} if named else {}
    settled = [_settle_cursor(step, source, streams) for step in usable]
    limits = destination.limits

    def find(step: ReplicateStep) -> StreamSpec | None:
        return _find_stream(step, streams, source)

    found = [_survey_one(step, heads, tables, find, has_rows, limits) for step in settled]
    surveyed = iter(_probe(found, source))
    return [Surveyed(s, error=unusable[i]) if i in unusable else next(surveyed) for i, s in enumerate(steps)]


def _name_error(step: ReplicateStep, destination: Destination) -> PenstockError | None:
    """Found before the destination is asked: it could not say which of the tables it means."""
    target = step.writing.target
    try:
        check_table_name(target.name, destination.limits, where=step.where)
        if target.schema is not None:
            check_schema_name(target.schema, destination.limits, where=step.where)
    except ConfigError as error:
        return error
    return None


def _settle_cursor(step: ReplicateStep, source: Source, streams: Mapping[StreamName, StreamSpec]) -> ReplicateStep:
    """Unsaid, NULL cursors are included where transactions tell what is new, else an error.

    What was read as an expression and is the name of a column, `order date` say, is that column.
    """
    cursor, stream = step.reading.cursor, streams.get(step.reading.stream)
    if cursor is None:
        return step
    if cursor.expression is not None and stream and stream.schema and cursor.expression in stream.schema.names:
        cursor = replace(cursor, columns=(cursor.expression,), expression=None)
        step = replace(step, reading=replace(step.reading, cursor=cursor))
    if cursor.nulls is not None:
        return step
    by_transaction = "horizon" in source.abilities and stream is not None and stream.ordinary_table
    settled = replace(cursor, nulls="include" if by_transaction else "fail")
    return replace(step, reading=replace(step.reading, cursor=settled))


def _survey_one(
    step: ReplicateStep,
    heads: Mapping[TableName, LedgerHead],
    tables: Mapping[TableName, TableSchema | None],
    find: Callable[[ReplicateStep], StreamSpec | None],
    has_rows: Callable[[TableName], bool],
    limits: Limits,
) -> Surveyed:
    target = step.writing.target
    head, table = heads.get(target), tables.get(target)
    try:
        stream = find(step)
        admission = admit(_claim(step, head, table, has_rows), head)
        _refuse_vanished_table(step, head, table)
        _refuse_first_load_after_windows(step, head, table, has_rows)
        request = _localise(make_request(step, admission), stream, step.reading.timezone)
        if stream is not None and stream.schema is not None and table is not None:
            request = replace(request, expected=expected_types(step, stream.schema, table, limits))
    except PenstockError as error:
        step.locate(error)
        return Surveyed(step, head, table, error=error, ledger_read=True)
    return Surveyed(step, head, table, stream, admission, request, ledger_read=True)


def _find_stream(step: ReplicateStep, streams: Mapping[StreamName, StreamSpec], source: Source) -> StreamSpec | None:
    if step.reading.query is not None:
        return None
    stream = streams.get(step.reading.stream)
    if stream is None and isinstance(source, AbsenceAware):
        raise source.absent(step.reading.stream)
    if stream is None:
        raise ExtractionError(
            f"the source has no table {step.reading.stream!r}",
            where=step.where,
            fix=f"check the name, its schema and the rights of the user of connection {step.source!r}",
            fault="config",
        )
    cursor = step.reading.cursor
    missing = [c for c in (cursor.columns if cursor else ()) if stream.schema and c not in stream.schema.names]
    if missing and stream.schema:
        raise ConfigError(
            f"iterate_column {', '.join(map(repr, missing))} is not a column of {step.reading.stream}",
            where=step.where,
            fix=f"columns: {', '.join(stream.schema.names)}",
        )
    _check_cursor_type(step, stream)
    return stream


def _check_cursor_type(step: ReplicateStep, stream: StreamSpec) -> None:
    """A number is no time: bounds, windows and lookbacks would be read in units the column does not have."""
    cursor = step.reading.cursor
    if cursor is None or cursor.type is None or stream.schema is None:
        return
    for column in cursor.columns:
        found = step.reading.types.get(column) or stream.schema.field(column).type
        if {_kind_of(cursor.type), _kind_of(found)} == {"number", "time"}:
            raise ConfigError(
                f"iterate_column_type is {cursor.type}, but {column!r} is {found}",
                where=step.where,
                fix="write the column's own type, or leave iterate_column_type out",
            )


def _kind_of(name: str) -> Literal["number", "time", "other"]:
    if name.startswith(("int", "uint", "float", "decimal")):
        return "number"
    return "time" if name.startswith(("date", "timestamp")) else "other"


def _claim(
    step: ReplicateStep,
    head: LedgerHead | None,
    table: TableSchema | None,
    has_rows: Callable[[TableName], bool],
) -> Claim:
    writing = step.writing
    asks = head is None and table is not None and not step.full_refresh and writing.on_existing == "refuse"
    return Claim(
        target=writing.target,
        stream=step.stream_identity,
        owner=step.owner,
        has_rows=has_rows(writing.target) if asks else None,
        shared=writing.shared,
        on_existing=writing.on_existing,
        refresh=step.full_refresh,
        replaces=writing.strategy == "replace",
    )


def _refuse_vanished_table(step: ReplicateStep, head: LedgerHead | None, table: TableSchema | None) -> None:
    """What came since the last load would pass for the whole table."""
    if head is None or table is not None or step.full_refresh or step.reading.method != "incremental":
        return
    if head.sequence > 0 and head.position != START:
        raise RefusedError(
            f"the ledger knows {counted(head.sequence, 'load')} of {step.writing.target}, but the table is gone",
            where=step.where,
            fix="bring the table back, or load everything again with --full-refresh",
        )


def _refuse_first_load_after_windows(
    step: ReplicateStep,
    head: LedgerHead | None,
    table: TableSchema | None,
    has_rows: Callable[[TableName], bool],
) -> None:
    """Rows that only windows brought would come again with the first read of everything."""
    cursor = step.reading.cursor
    appends = step.reading.method == "incremental" and step.writing.strategy == "append" and not step.is_backfill
    if not appends or step.full_refresh or head is None or table is None or (cursor and cursor.nulls == "include"):
        return
    if head.sequence > 0 and head.position == START and has_rows(step.writing.target):
        raise ConfigError(
            f"{step.writing.target} holds only static windows; a first incremental load would bring their rows again",
            where=step.where,
            fix="run once with --full-refresh, or use write_strategy: upsert",
        )


def describe_lag(step: ReplicateStep, bounds: Bounds | None) -> str | None:
    """What to tell people when an old transaction has held the horizon back for longer than they accept."""
    if bounds is None or bounds.lag_seconds <= step.reading.horizon_warn_seconds:
        return None
    minutes = int(bounds.lag_seconds // 60)
    return f"the horizon is held back for {minutes} min by {bounds.lag_blocker or 'a session that cannot be seen'}"


def make_request(step: ReplicateStep, admission: Admission) -> ReadRequest:
    """What to read so that the table stands where its ledger says plus everything since."""
    reading = step.reading
    incremental = reading.method == "incremental" and not step.is_backfill
    return ReadRequest(
        stream=reading.stream,
        cursor=reading.cursor,
        after=admission.after if incremental else None,
        window=reading.window,
        query=reading.query,
        late_commits=_late_commits(step),
        splits=reading.splits,
        types=reading.types,
        batch_rows=reading.batch_rows,
        limit=reading.limit,
        chain_rows=reading.chain_rows if incremental and reading.cursor is not None else None,
        accept_source_change=reading.accept_source_change,
        set_aside=step.writing.on_bad_value == "quarantine",
    )


def _localise(request: ReadRequest, stream: StreamSpec | None, timezone: str) -> ReadRequest:
    """Naive bounds of a column with a zone are read in settings.timezone; a naive column stays naive."""
    cursor, window = request.cursor, request.window
    if window is None or cursor is None or stream is None or stream.schema is None or not cursor.columns:
        return request
    if stream.schema.field(cursor.columns[0]).type != "timestamptz":
        return request
    zone = ZoneInfo(timezone)
    return replace(request, window=Window(_in_zone(window.lower, zone), _in_zone(window.upper, zone)))


def _in_zone(cursor: Cursor | None, zone: ZoneInfo) -> Cursor | None:
    if cursor is None or not isinstance(cursor.value, datetime) or cursor.value.tzinfo is not None:
        return cursor
    return replace(cursor, value=cursor.value.replace(tzinfo=zone).astimezone(UTC))


def _late_commits(step: ReplicateStep) -> Literal["once", "all", "window"]:
    if step.writing.strategy in KEYED:
        return "all"
    if step.writing.strategy == "delete_insert":
        return "all" if step.writing.key else "window"
    return "once"


def _probe(surveyed: list[Surveyed], source: Source) -> list[Surveyed]:
    """Ask the source about all incremental tables at once; where that fails, one by one."""
    wanted = [i for i, s in enumerate(surveyed) if s.error is None and _worth_probing(s)]
    requests = [r for i in wanted if (r := surveyed[i].request) is not None]
    if not requests:
        return surveyed
    result = list(surveyed)
    try:
        for index, bounds in zip(wanted, source.probe(requests), strict=True):
            result[index] = replace(surveyed[index], bounds=bounds)
    except PenstockError as error:
        if len(requests) == 1:
            surveyed[wanted[0]].step.locate(error)
            result[wanted[0]] = replace(surveyed[wanted[0]], error=error)
            return result
        for index in wanted:
            result[index] = _probe([surveyed[index]], source)[0]
    return result


def _worth_probing(table: Surveyed) -> bool:
    after = table.request.after if table.request else None
    return after is not None and after != START and table.table is not None
