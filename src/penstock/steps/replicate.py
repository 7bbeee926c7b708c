"""Replicate: a source's stream into a table: plan one load, move it, commit it, acknowledge it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from penstock.engines.scope import TransformContext, bind
from penstock.errors import ConfigError, ContractError, LoadError, PenstockError
from penstock.failpoints import failpoint
from penstock.loading.plan import Recipe, Wish, plan_load, swaps_table
from penstock.protocols import (
    Attached,
    Destination,
    Engine,
    LoadSession,
    Move,
    Moved,
    Progress,
    Reader,
    ReadSession,
    RelaySource,
    Source,
    Transform,
    Writer,
)
from penstock.records import dataclass
from penstock.steps.replicate_step import ReplicateStep
from penstock.steps.shaping import Shaping, is_key_unique, make_shape, own_columns, schema_signature, shape_table
from penstock.steps.survey import Surveyed
from penstock.values import (
    Account,
    Boundary,
    BoundaryRule,
    Bounds,
    CommitReceipt,
    DeleteWindow,
    LoadPlan,
    Position,
    RunId,
    Split,
    TableSchema,
    Tally,
    WriteTicket,
    load_id_of,
)


@dataclass(frozen=True, slots=True)
class RemoteEnds:
    """The two ends for an engine whose splits run in other processes.

    `open_writer` is None where pieces are written by this process alone: the destination takes none from others, or
    the source cannot show another attempt the same rows, so that a piece might not be what its attempt reported.
    `require` raises ConfigError for columns, as read and as written, that cannot travel so.
    """

    reader: Reader
    open_writer: Callable[[WriteTicket], Writer] | None
    require: Callable[[TableSchema, TableSchema], None] | None = None


@dataclass(frozen=True, slots=True)
class Parties:
    """The two ends, the engine between them, and who is asking."""

    source: Source
    destination: Destination
    engine: Engine
    run_id: RunId
    holder: str
    started_at: datetime
    progress: Progress | None = None
    stop: threading.Event | None = None
    remote: RemoteEnds | None = None
    on_planned: Callable[[Prepared], None] | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A load planned down to its steps, its read session open."""

    plan: LoadPlan
    shaping: Shaping
    recipe: Recipe
    splits: tuple[Split, ...]
    bounds: Bounds
    relay: bool
    boundary: BoundaryRule | None
    source_schema: TableSchema

    @property
    def rows_estimate(self) -> int | None:
        """How many rows will come, as far as anybody knows."""
        known = [s.rows_estimate for s in self.splits if s.rows_estimate is not None]
        guess = self.bounds.rows if self.bounds.rows is not None else self.bounds.rows_estimate
        return guess if guess is not None else (sum(known) if known else None)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one load did. `receipt` is None when there was nothing to deliver."""

    prepared: Prepared
    tally: Tally
    receipt: CommitReceipt | None

    @property
    def unfinished(self) -> bool:
        return self.receipt is not None and self.receipt.position.chain_end is not None


def deliver(table: Surveyed, parties: Parties) -> Delivery:
    """One load from open to acknowledge. Raises PenstockError; nothing of a failed load is visible."""
    request = table.request
    if request is None or table.admission is None:
        raise AssertionError("surveyed without a request")
    with parties.source.open([request]) as session:
        failpoint("source.opened")
        prepared = prepare(table, parties, session)
        failpoint("run.planned")
        if parties.on_planned is not None:
            parties.on_planned(prepared)
        return _carry_out(table, prepared, parties, session)


def _carry_out(table: Surveyed, prepared: Prepared, parties: Parties, session: ReadSession) -> Delivery:
    moved = _move(prepared, parties, table)
    load = moved.load
    if load is None:
        return Delivery(prepared, moved.tally, None)
    receipt = _commit(table, prepared, moved, load)
    failpoint("run.receipt")
    if receipt.position.cursor is not None and not table.step.is_backfill:
        failpoint("source.acknowledging")
        session.acknowledge({table.step.reading.stream: receipt.position.cursor})
        failpoint("source.acknowledged")
    return Delivery(prepared, moved.tally, receipt)


def _move(prepared: Prepared, parties: Parties, table: Surveyed) -> Moved:
    step, remote = table.step, parties.remote
    job = Move(
        reader=remote.reader if remote is not None else parties.source.reader(),
        splits=prepared.splits,
        begin=lambda: parties.destination.begin(prepared.plan),
        shape=make_shape(step, prepared.shaping, parties.started_at, prepared.boundary),
        transform=bound_transform(step, parties),
        eager=_is_eager(table, prepared),
        writers=prepared.plan.writers,
        progress=parties.progress,
        stop=parties.stop,
        open_writer=remote.open_writer if remote is not None and prepared.recipe.route != "direct" else None,
    )
    return parties.engine.relay(job) if prepared.relay else parties.engine.move(job)


def bound_transform(step: ReplicateStep, parties: Parties) -> Transform | None:
    """The step's transform, told which table of which run it works for."""
    if step.transform is None:
        return None
    context = TransformContext(
        str(step.reading.stream), str(step.writing.target), step.pipeline, parties.run_id, parties.started_at
    )
    return bind(step.transform, context)


def _is_eager(table: Surveyed, prepared: Prepared) -> bool:
    """A load that has something to do even without rows: a table to make, rows to remove, a position to move on."""
    removes = any(step.verb in ("delete all rows", "delete window", "swap") for step in prepared.plan.steps)
    return prepared.relay or removes or table.table is None or prepared.bounds.chained


def _commit(table: Surveyed, prepared: Prepared, moved: Moved, load: LoadSession) -> CommitReceipt:
    try:
        _refuse_to_empty(table, prepared, moved.tally)
        _refuse_to_double(table, prepared, moved.tally)
        receipt = load.commit(moved.pieces, _account(table, prepared, moved))
    except BaseException as error:
        _abort(load, error)
        raise
    load.abort()
    return receipt


def _abort(load: LoadSession, error: BaseException) -> None:
    """What went wrong first is what people must read: trouble while cleaning up is added to it."""
    try:
        load.abort()
    except PenstockError as trouble:
        error.add_note(f"while cleaning up: {trouble}")


def _refuse_to_empty(table: Surveyed, prepared: Prepared, tally: Tally) -> None:
    """Zero rows empty a table only on purpose, or when the source counted zero in the same snapshot."""
    step = table.step
    empties = any(s.verb in ("delete all rows", "swap") for s in prepared.plan.steps)
    proved = tally.read == 0 and prepared.bounds.rows == 0
    if tally.written or table.table is None or not empties or step.writing.allow_empty or proved:
        return
    raise LoadError(
        f"no row arrived for {step.writing.target}, which would be emptied",
        where=step.where,
        fix="set allow_empty: true on the table if an empty result is right",
    )


def _refuse_to_double(table: Surveyed, prepared: Prepared, tally: Tally) -> None:
    """What may have been delivered before would be appended again; a key takes it in its stride."""
    step = table.step
    if not tally.unrecognised or step.writing.strategy != "append":
        return
    then = prepared.boundary.known.types if prepared.boundary else {}
    now = {f.name: f.type for f in prepared.source_schema.fields}
    changes = [f"{name!r} was {then.get(name, 'absent')}, is {now.get(name, 'absent')}" for name in tally.unrecognised]
    raise ContractError(
        f"columns of {step.reading.stream} changed ({'; '.join(changes)}), so that rows up to the last cursor, which "
        f"{step.writing.target} may hold, are not recognised: they would be appended once more",
        where=step.where,
        fix="use write_strategy: upsert with a write_key, run once with --full-refresh, or undo the change",
    )


def _account(table: Surveyed, prepared: Prepared, moved: Moved) -> Account:
    tally = moved.tally
    position = _position_after(table, prepared.bounds, tally)
    return Account(
        position=position,
        read=tally.read,
        deduplicated_in=tally.deduplicated_in,
        given=tally.given,
        returned=tally.returned,
        expected=tally.written,
        quarantined=tally.quarantined,
        size_bytes=tally.size_bytes,
        digest=_signed_digest(table, prepared, tally),
        boundary=tally.boundary if prepared.boundary else None,
        unfinished=position.chain_end is not None,
    )


def _signed_digest(table: Surveyed, prepared: Prepared, tally: Tally) -> str | None:
    if tally.digest is None:
        return None
    return f"{schema_signature(own_columns(table.step, prepared.shaping))}|{tally.digest}"


def _position_after(table: Surveyed, bounds: Bounds, tally: Tally) -> Position:
    before = table.admission.after if table.admission else Position()
    if table.step.is_backfill or table.step.reading.method == "full":
        return before
    if bounds.position is not None:
        return bounds.position
    return replace(before, cursor=tally.reached or before.cursor, resume=tally.reached or before.resume)


def prepare(table: Surveyed, parties: Parties, session: ReadSession) -> Prepared:
    """Fix schema, route, steps and load id of the next load of an open session. Reads no row, writes nothing."""
    step = table.step
    bounds = session.bounds[step.reading.stream]
    splits = tuple(s for s in session.splits if s.stream == step.reading.stream)
    source_schema = splits[0].schema
    attachments = _attachments(table, parties.destination)
    apart = parties.remote is not None and parties.remote.open_writer is not None
    # A writer in another process is never the one that commits: with it there are two.
    writers = max(_count_writers(step, splits, parties.destination), 2 if apart else 1)
    rebuilt = _is_rebuilt(table, source_schema, attachments, parties.destination)
    basis = None if rebuilt and step.starts_anew else table.table
    shaping = shape_table(step, source_schema, basis, parties.destination, bounds.upper, rebuilt=rebuilt)
    if parties.remote is not None and parties.remote.require is not None:
        parties.remote.require(source_schema, shaping.schema)
    wish = _wish(table, shaping, bounds, writers, attachments)
    recipe = plan_load(wish, parties.destination.operations, where=step.where)
    if parties.remote is not None and step.writing.io == "jdbc":
        recipe = recipe.apart()
    boundary = _boundary(table, bounds, source_schema, parties.destination)
    relayed = _relay_splits(table, shaping, recipe, parties, splits, boundary)
    plan = _load_plan(table, parties, shaping, recipe, bounds)
    encoding = parties.source.relay_encoding if relayed and isinstance(parties.source, RelaySource) else None
    writers = writers if recipe.route != "direct" else 1
    plan = replace(plan, relay=encoding, splits=len(splits), writers=writers)
    return Prepared(
        plan, shaping, recipe, tuple(relayed or splits), bounds, relayed is not None, boundary, source_schema
    )


def _attachments(table: Surveyed, destination: Destination) -> tuple[str, ...]:
    """Only asked where a table may be replaced: it costs a round trip."""
    target = table.step.writing.target
    replaces = table.step.writing.strategy == "replace" or table.step.full_refresh
    if not replaces or table.table is None or not isinstance(destination, Attached):
        return ()
    hanging = destination.attachments(target)
    return tuple(h for h in hanging if h != f"view {table.step.writing.latest_view}")


def _is_rebuilt(table: Surveyed, source: TableSchema, attachments: tuple[str, ...], destination: Destination) -> bool:
    """Whether a new table takes the place of the present one, so that its columns need not be followed."""
    step = table.step
    wish = Wish(
        strategy=step.writing.strategy,
        exists=table.table is not None,
        key_is_unique=is_key_unique(step, source),
        replace_mode=step.writing.replace_mode,
        attachments=attachments,
        refresh=step.full_refresh,
    )
    return step.writing.evolution == "evolve" and swaps_table(wish, destination.operations, where=step.where)


def _count_writers(step: ReplicateStep, splits: tuple[Split, ...], destination: Destination) -> int:
    wished = step.writing.writers or len(splits)
    return max(1, min(wished, len(splits), destination.limits.writers))


def _wish(table: Surveyed, shaping: Shaping, bounds: Bounds, writers: int, attachments: tuple[str, ...]) -> Wish:
    step = table.step
    strategy, window = step.writing.strategy, None
    if step.is_backfill and strategy in ("append", "delete_insert") and not step.writing.key:
        strategy, window = "delete_insert", _static_window(step, shaping)
    elif strategy == "delete_insert" and not step.writing.key and step.reading.method == "incremental":
        window = _moving_window(step, shaping, bounds)
    return Wish(
        strategy=strategy,
        exists=table.table is not None,
        key=shaping.key,
        order=shaping.order,
        key_is_unique=shaping.source_key_is_unique,
        added=shaping.evolution.added,
        widened=shaping.evolution.widened,
        replace_mode=step.writing.replace_mode,
        attachments=attachments,
        refresh=step.full_refresh,
        writers=writers,
        window=window,
    )


def _static_window(step: ReplicateStep, shaping: Shaping) -> DeleteWindow:
    window = step.reading.window
    column = _window_column(step, shaping)
    return DeleteWindow(column, window.lower if window else None, window.upper if window else None, upper_open=True)


def _moving_window(step: ReplicateStep, shaping: Shaping, bounds: Bounds) -> DeleteWindow | None:
    if bounds.lower is None:
        return None  # the whole stream is read: all rows go
    return DeleteWindow(_window_column(step, shaping), bounds.lower, None)


def _window_column(step: ReplicateStep, shaping: Shaping) -> str:
    if shaping.cursor_column is None or shaping.cursor_column not in shaping.schema.names:
        raise ConfigError(
            "rows of a window cannot be found in the target: it has neither the cursor column nor a write_key",
            where=step.where,
            fix="set write_key, or keep iterate_column as a plain column of the table",
        )
    return shaping.cursor_column


def _boundary(table: Surveyed, bounds: Bounds, schema: TableSchema, destination: Destination) -> BoundaryRule | None:
    """Rows at the edge are known by digest wherever the source cannot deliver each version once by itself."""
    step = table.step
    if step.reading.method != "incremental" or step.is_backfill:
        return None
    if bounds.position is not None and bounds.position.horizon is not None:
        return None
    if step.writing.strategy == "delete_insert" and not step.writing.key:
        return None
    after = table.request.after if table.request else None
    goes_on = after is not None and table.head is not None and not step.full_refresh
    return BoundaryRule(
        known=destination.ledger().boundary(step.writing.target) if goes_on else Boundary(),
        lower=bounds.lower,
        keep_from=bounds.position.resume if bounds.position else None,
        limit=step.writing.boundary_limit,
        types={f.name: f.type for f in schema.fields},
        reached=after.cursor if after else None,
    )


def _relay_splits(
    table: Surveyed,
    shaping: Shaping,
    recipe: Recipe,
    parties: Parties,
    splits: tuple[Split, ...],
    boundary: BoundaryRule | None,
) -> tuple[Split, ...] | None:
    """The splits as undecoded bytes, where nothing on the way looks at a value."""
    step, source = table.step, parties.source
    looks = step.transform is not None or step.adding.dedup_columns or boundary is not None or recipe.dedup_needed
    through_jdbc = parties.remote is not None and "jdbc" in (step.reading.io, step.writing.io)
    if looks or through_jdbc or not shaping.fills_ingested_at or not isinstance(source, RelaySource):
        return None
    if "relay" not in source.abilities or "relay" not in parties.destination.operations:
        return None
    names = [shaping.renames.get(f.name, f.name) for f in splits[0].schema.fields]
    if list(shaping.schema.names) != names:
        return None
    relayed = source.relay_splits(splits, shaping.schema)
    return tuple(relayed) if relayed is not None else None


def _load_plan(table: Surveyed, parties: Parties, shaping: Shaping, recipe: Recipe, bounds: Bounds) -> LoadPlan:
    step, admission = table.step, table.admission
    if admission is None:
        raise AssertionError("planned without admission")
    target, writing = step.writing.target, step.writing
    return LoadPlan(
        load_id=step.load_id or load_id_of(str(target), step.stream_identity, admission.generation, admission.sequence),
        run_id=parties.run_id,
        target=target,
        stream=step.stream_identity,
        owner=step.owner,
        generation=admission.generation,
        sequence=admission.sequence,
        strategy=writing.strategy,
        route=recipe.route,
        steps=recipe.steps,
        schema=shaping.schema,
        table=table.table,
        started_at=parties.started_at,
        ingested_at_column=step.adding.ingested_at_column,
        order_column=shaping.order_column,
        batch_rows=writing.batch_rows,
        lock_wait_seconds=writing.lock_wait_seconds,
        replace_mode=recipe.replace_mode,
        bounds=bounds,
        key=shaping.key,
        partition_by=tuple(shaping.renames.get(c, c) for c in writing.partition_by),
        latest_view=writing.latest_view,
        view_key=step.adding.id_column if step.adding.dedup_columns else None,
        dedup_needed=recipe.dedup_needed,
        holder=parties.holder,
    )
