"""Plans as people read them: one value per table, with every assumption stated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from penstock.errors import EXIT_DONE, PenstockError
from penstock.loading.plan import delivery_grade, describe_step
from penstock.pipeline.results import TablePlan
from penstock.protocols import Destination, Remarking, RemoteEngine
from penstock.steps.replicate import Parties, Prepared, prepare
from penstock.steps.survey import Surveyed, describe_lag
from penstock.values import Bounds, CursorSpec, StreamSpec, TableSchema


def plan_table(table: Surveyed, parties: Parties | None) -> TablePlan:
    """The plan of one table; what would fail is its `error`."""
    if parties is None or table.error is not None or table.request is None:
        return _failed(table, table.error)
    try:
        with parties.source.open([table.request]) as session:
            prepared = prepare(table, parties, session)
    except PenstockError as error:
        table.step.locate(error)
        return _failed(table, error)
    return _planned(table, prepared, parties)


def _failed(table: Surveyed, error: PenstockError | None) -> TablePlan:
    step = table.step
    return TablePlan(
        pipeline=step.pipeline,
        stream=str(step.reading.stream),
        target=str(step.writing.target),
        source=step.source,
        destination=step.destination,
        method=step.reading.method,
        strategy=step.writing.strategy,
        route="",
        grade="refused",
        relay=False,
        steps=(),
        splits=0,
        bounds="",
        rows_estimate=None,
        idle=False,
        columns=(),
        error=str(error) if error else None,
        exit_code=error.exit_code if error else EXIT_DONE,
    )


def _planned(table: Surveyed, prepared: Prepared, parties: Parties) -> TablePlan:
    step, bounds = table.step, prepared.bounds
    stream = table.stream
    return TablePlan(
        pipeline=step.pipeline,
        stream=str(step.reading.stream),
        target=str(step.writing.target),
        source=step.source,
        destination=step.destination,
        method=step.reading.method,
        strategy=step.writing.strategy,
        route=prepared.recipe.route,
        grade=delivery_grade(parties.destination.operations, step.writing.strategy),
        relay=prepared.relay,
        steps=tuple(describe_step(s) for s in prepared.recipe.steps),
        splits=len(prepared.splits),
        bounds=_say_bounds(table, bounds),
        rows_estimate=prepared.rows_estimate if prepared.rows_estimate is not None else _estimate_of(stream),
        idle=bool(bounds.idle or (table.bounds and table.bounds.idle)),
        columns=_columns(prepared),
        runs=_say_place(table, parties),
        notes=_notes(table, prepared, parties),
    )


def _say_place(table: Surveyed, parties: Parties) -> str:
    """Where the splits are read, shaped and written."""
    engine, transform = parties.engine, table.step.transform
    if not isinstance(engine, RemoteEngine):
        return "in this process"
    if parties.remote is None:
        return "in this process: its source is a file that this project also writes to"
    if transform is not None and engine.gathers(transform):
        return "in this process: the transform sees rows of several splits together"
    if table.step.writing.io == "jdbc":
        return f"{engine.place}, written through JDBC"
    return engine.place if parties.remote.open_writer else f"{engine.place}, written by this process"


def _estimate_of(stream: StreamSpec | None) -> int | None:
    return stream.rows_estimate if stream else None


def _say_bounds(table: Surveyed, bounds: Bounds) -> str:
    cursor = table.step.reading.cursor
    if cursor is None:
        return "everything"
    window = table.step.reading.window
    if window is not None:
        return f"{window.lower or '...'} <= {cursor.label} < {window.upper or '...'}"
    low = f"{bounds.lower} <= " if bounds.lower else ""
    high = f" <= {bounds.upper}" if bounds.upper else ""
    return f"{low}{cursor.label}{high}"


def _columns(prepared: Prepared) -> tuple[tuple[str, str, str], ...]:
    back = {target: source for source, target in prepared.shaping.renames.items()}
    found = {f.name: f.native or f.type for f in prepared.source_schema.fields}
    added = [(f.name, "(added)", f.type) for f in prepared.plan.schema.fields if back.get(f.name, f.name) not in found]
    kept = [
        (name, found[name], f.type) for f in prepared.plan.schema.fields if (name := back.get(f.name, f.name)) in found
    ]
    if prepared.shaping.fills_ingested_at and prepared.plan.ingested_at_column:
        added.append((prepared.plan.ingested_at_column, "(added)", "timestamptz"))
    return (*kept, *added)


def _notes(table: Surveyed, prepared: Prepared, parties: Parties) -> tuple[str, ...]:
    step, evolution = table.step, prepared.shaping.evolution
    notes = [
        *_own_moments(table, parties),
        *prepared.recipe.notes,
        *prepared.bounds.notes,
        *_without_effect(table, parties),
    ]
    if evolution.ignored:
        notes.append(f"new columns left out by schema_evolution: {', '.join(evolution.ignored)}")
    if evolution.missing:
        notes.append(f"columns the stream no longer has stay NULL: {', '.join(evolution.missing)}")
    if not getattr(step.transform, "is_bounded", True):
        notes.append("the transform sees the whole table, and its kind of frame holds it in memory")
    if prepared.boundary is not None and step.reading.method == "incremental":
        notes += _missed_by_cursor(step.reading.cursor)
    notes += _remarks(prepared, parties.destination)
    lag = describe_lag(step, prepared.bounds)
    if lag is not None:
        notes.append(lag)
    if step.full_refresh:
        notes.append("full refresh: the table is replaced and its ledger starts a new generation")
    return tuple(notes)


def _own_moments(table: Surveyed, parties: Parties) -> Iterator[str]:
    if parties.remote is None or table.step.reading.io != "jdbc":
        return
    yield (
        "read through JDBC, without a shared snapshot: each partition sees the rows of its own moment, so that a table "
        "that changes meanwhile may be read as it never was"
    )


def _remarks(prepared: Prepared, destination: Destination) -> Sequence[str]:
    if not isinstance(destination, Remarking):
        return ()
    renames = prepared.shaping.renames
    fields = (replace(f, name=renames.get(f.name, f.name)) for f in prepared.source_schema.fields)
    return destination.remarks(TableSchema(tuple(fields)), prepared.plan.schema)


def _missed_by_cursor(cursor: CursorSpec | None) -> Iterator[str]:
    lookback = cursor.lookback if cursor else None
    if not lookback:
        yield "rows stamped below the last cursor and committed later are missed: set lookback to cover them"
    elif lookback != "all":
        yield "rows stamped further below the last cursor than lookback and committed later are missed"


def _without_effect(table: Surveyed, parties: Parties) -> Iterator[str]:
    """Wishes that this source or this destination has no use for."""
    step, splits = table.step, table.step.reading.splits
    wishes = {
        "partitions_column": splits.column,
        "partitions_count": None if splits.by_cursor else splits.count,  # through JDBC it need not be written
        "partitions_lower_bound": splits.lower,
        "partitions_upper_bound": splits.upper,
        "partitions_bounds_filtered": splits.bounds_filtered or None,
    }
    written = [key for key, value in wishes.items() if value is not None]
    if written and "cut_by_column" not in parties.source.abilities:
        yield f"{', '.join(written)}: no effect, {step.source} cuts its reads itself"
    if "jdbc" in (step.reading.io, step.writing.io) and not isinstance(parties.engine, RemoteEngine):
        yield "spark.io: no effect, the arrow engine reads and writes natively"
    if step.writing.partition_by and "folders" not in parties.destination.operations:
        yield f"partition_by: no effect, {step.destination} holds tables and no folders"
    if (step.writing.writers or 1) > 1 and parties.destination.limits.writers == 1:
        yield f"write_partitions: no effect, {step.destination} has one writer"
