"""A plan's steps carried out on rows in memory, slowly and plainly: the model that other destinations must equal."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import field, replace

from penstock.errors import LoadError
from penstock.records import dataclass
from penstock.testing.memory.pieces import rows_of
from penstock.testing.memory.store import Row, State
from penstock.values import (
    AddColumns,
    CreateTable,
    DeleteAll,
    DeleteMatching,
    DeleteWindow,
    EnsureKey,
    Insert,
    LoadPlan,
    Piece,
    TableName,
    TableSchema,
    Upsert,
    WidenColumns,
    WriteStep,
)


@dataclass
class Draft:
    """The target as the commit will leave it, and the rows that were touched on the way."""

    state: State
    schema: TableSchema | None
    rows: list[Row]
    incoming: list[Row]
    order_column: str | None
    deduplicated: int = 0
    touched: list[Row] = field(default_factory=list)

    def visible(self, row: Row) -> Row:
        """The row as the table holds it: all its columns, no hidden one."""
        fields = self.schema.fields if self.schema else ()
        return {column.name: _fitted(row.get(column.name), column.type) for column in fields}


def apply_steps(state: State, plan: LoadPlan, pieces: Sequence[Piece]) -> Draft:
    """The next state of the store, ledger not yet written."""
    chosen = {(piece.into, piece.split): piece for piece in pieces}
    incoming = [row for (into, _), piece in sorted(chosen.items()) if into == "target" for row in rows_of(piece)]
    refused = [row for (into, _), piece in sorted(chosen.items()) if into == "quarantine" for row in rows_of(piece)]
    draft = Draft(
        state,
        state.schemas.get(plan.target),
        [dict(row) for row in state.tables.get(plan.target, ())],
        incoming,
        plan.order_column,
    )
    for step in plan.steps:
        _carry_out(step, draft, plan)
    if draft.schema is None:
        raise LoadError(f"table {plan.target} does not exist and the plan does not make it", fault="internal")
    draft.state = replace(
        state,
        tables={**state.tables, plan.target: tuple(draft.rows)},
        schemas={**state.schemas, plan.target: draft.schema},
        quarantine={**state.quarantine, plan.target: (*state.quarantine.get(plan.target, ()), *refused)},
        dirty={**state.dirty, **_dirty_after(state, plan, draft)},
    )
    return draft


def _fitted(value: object, spelling: str) -> object:
    if value is None:
        return None
    if spelling == "float64" and isinstance(value, int):
        return float(value)
    return json.dumps(value) if spelling == "string" and not isinstance(value, str) else value


def _carry_out(step: WriteStep, draft: Draft, plan: LoadPlan) -> None:
    if isinstance(step, CreateTable):
        _create(draft, plan)
    elif isinstance(step, AddColumns | WidenColumns):
        _change_columns(step, draft)
    elif isinstance(step, EnsureKey):
        _ensure_key(step.key, draft, plan)
    elif isinstance(step, DeleteAll):
        _delete(draft, lambda _row: True)
    elif isinstance(step, DeleteWindow):
        _delete(draft, lambda row: _is_in_window(row, step))
    elif isinstance(step, DeleteMatching):
        keys = {_key(row, step.key) for row in draft.incoming}
        _delete(draft, lambda row: _key(row, step.key) in keys)
    elif isinstance(step, Insert):
        added = [draft.visible(row) for row in draft.incoming]
        draft.rows += added
        draft.touched += added
    elif isinstance(step, Upsert):
        _upsert(step, draft)


def _create(draft: Draft, plan: LoadPlan) -> None:
    hidden = () if plan.order_column is None else (plan.order_column,)
    _delete(draft, lambda _row: True)
    draft.schema = replace(plan.schema.without(*hidden), key=())


def _change_columns(step: AddColumns | WidenColumns, draft: Draft) -> None:
    changed = {column.name: column for column in step.fields}
    fields = tuple(changed.pop(column.name, column) for column in (draft.schema.fields if draft.schema else ()))
    draft.schema = replace(draft.schema or TableSchema(()), fields=(*fields, *changed.values()))
    draft.rows = [draft.visible(row) for row in draft.rows]


def _ensure_key(key: tuple[str, ...], draft: Draft, plan: LoadPlan) -> None:
    doubles = len(draft.rows) - len({_key(row, key) for row in draft.rows})
    if doubles:
        raise LoadError(
            f"table {plan.target}: {doubles} rows repeat the key ({', '.join(key)})",
            where=str(plan.target),
            fix="remove the duplicates, or choose another write_key",
        )
    if draft.schema is not None:
        draft.schema = replace(draft.schema, key=key)


def _delete(draft: Draft, is_gone: Callable[[Row], bool]) -> None:
    draft.touched += [row for row in draft.rows if is_gone(row)]
    draft.rows = [row for row in draft.rows if not is_gone(row)]


def _upsert(step: Upsert, draft: Draft) -> None:
    last: dict[tuple[object, ...], Row] = {}
    for row in draft.incoming:
        key = _key(row, step.key)
        if any(part is None for part in key):
            raise LoadError(f"a row has no value in its key ({', '.join(step.key)})", fix="filter such rows out")
        if key not in last or _rank(row, step.order) >= _rank(last[key], step.order):
            last[key] = row
    draft.deduplicated += len(draft.incoming) - len(last)
    _delete(draft, lambda row: _key(row, step.key) in last)
    added = [draft.visible(row) for row in last.values()]
    draft.rows += added
    draft.touched += added


def _key(row: Row, key: tuple[str, ...]) -> tuple[object, ...]:
    return tuple(row.get(name) for name in key)


def _rank(row: Row, order: tuple[str, ...]) -> tuple[tuple[bool, object], ...]:
    return tuple((row.get(name) is not None, 0 if row.get(name) is None else row.get(name)) for name in order)


def _is_in_window(row: Row, step: DeleteWindow) -> bool:
    value = row.get(step.column)
    if value is None:
        return False
    low = step.lower is None or value >= step.lower.value  # type: ignore[operator]
    if step.upper is None:
        return low
    return low and (value < step.upper.value if step.upper_open else value <= step.upper.value)  # type: ignore[operator]


def _dirty_after(state: State, plan: LoadPlan, draft: Draft) -> dict[TableName, tuple[Row, ...]]:
    """Old and new values of the subscribed columns, of every row the load took away or brought."""
    after: dict[TableName, tuple[Row, ...]] = {}
    for wish in plan.subscriptions:
        seen = {tuple(row.get(column) for column in wish.columns) for row in draft.touched}
        added = [dict(zip(wish.columns, values, strict=True)) for values in sorted(seen, key=repr)]
        after[wish.dirty] = (*state.dirty.get(wish.dirty, ()), *added)
    return after
