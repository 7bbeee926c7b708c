"""Strategy, table and operations in, route and steps out. Pure: `plan` prints it, `run` carries it out."""

from __future__ import annotations

from dataclasses import replace

from penstock.errors import ConfigError
from penstock.records import dataclass
from penstock.values import (
    AddColumns,
    CreateTable,
    CursorSpec,
    DeleteAll,
    DeleteMatching,
    DeleteWindow,
    EnsureKey,
    Field,
    Grade,
    Insert,
    Operation,
    ReplaceMode,
    Route,
    Strategy,
    Swap,
    Upsert,
    WidenColumns,
    WriteStep,
)

KEYED: frozenset[Strategy] = frozenset({"upsert", "merge"})


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of one load. `exists`: the target is there and stays (no full refresh into a successor)."""

    strategy: Strategy
    exists: bool
    key: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    key_is_unique: bool = False
    added: tuple[Field, ...] = ()
    widened: tuple[Field, ...] = ()
    replace_mode: ReplaceMode = "auto"
    attachments: tuple[str, ...] = ()
    refresh: bool = False
    same_columns: bool = True
    writers: int = 1
    window: DeleteWindow | None = None
    open_schema: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """The route and the steps; `notes` are for `plan` to print."""

    route: Route
    steps: tuple[WriteStep, ...]
    replace_mode: ReplaceMode = "auto"
    dedup_needed: bool = False
    notes: tuple[str, ...] = ()

    def apart(self) -> Recipe:
        """The same for rows that another process writes: they wait in a stage, where they would go straight in."""
        return replace(self, route="staged") if self.route == "direct" else self


def plan_load(wish: Wish, operations: frozenset[Operation], *, where: str) -> Recipe:
    """Raises ConfigError, before any byte moves, for what the destination cannot do."""
    _refuse_impossible(wish, operations, where)
    if wish.strategy == "replace" or wish.refresh:
        return _plan_replace(wish, operations, where)
    if not wish.exists:
        return _plan_first(wish, operations)
    if wish.strategy == "append":
        return _plan_append(wish, operations)
    if wish.strategy in KEYED:
        steps = (*_column_changes(wish), EnsureKey(wish.key), Upsert(wish.key, wish.order))
        return Recipe("staged", steps, dedup_needed=not wish.key_is_unique)
    return _plan_delete_insert(wish)


def swaps_table(wish: Wish, operations: frozenset[Operation], *, where: str) -> bool:
    """Whether the load puts a new table in the place of one that exists; asks nothing of the wish's columns."""
    if not wish.exists or not (wish.strategy == "replace" or wish.refresh):
        return False
    if wish.strategy in KEYED and not wish.key_is_unique:
        return False
    return _replace_mode(wish, operations, where)[0] == "swap"


def _refuse_impossible(wish: Wish, operations: frozenset[Operation], where: str) -> None:
    needed: dict[Strategy, tuple[Operation, ...]] = {
        "append": ("append",),
        "replace": ("create",),
        "upsert": ("upsert", "stage", "unique_key"),
        "merge": ("upsert", "stage", "unique_key"),
        "delete_insert": ("delete_matching", "stage") if wish.key else ("delete_window",),
    }
    missing = [op for op in needed[wish.strategy] if op not in operations]
    if missing:
        able = [name for name, ops in needed.items() if all(op in operations for op in ops)]
        raise ConfigError(
            f"write_strategy {wish.strategy!r} is not possible at this destination: it has no {', '.join(missing)}",
            where=where,
            fix=f"use one of: {', '.join(able)}",
        )
    if wish.added and "add_column" not in operations:
        raise ConfigError(
            f"new columns {', '.join(f.name for f in wish.added)}: this destination cannot add columns", where=where
        )
    if wish.widened and "widen_column" not in operations:
        names = ", ".join(f"{f.name} to {f.type}" for f in wish.widened)
        raise ConfigError(f"this destination cannot widen {names}", where=where, fix="run once with --full-refresh")


def _plan_replace(wish: Wish, operations: frozenset[Operation], where: str) -> Recipe:
    keyed = wish.strategy in KEYED
    if not wish.exists:
        return _plan_first(wish, operations)
    if keyed and not wish.key_is_unique:
        # Duplicates must meet the stage before they meet the index.
        steps = (*_column_changes(wish), DeleteAll(), EnsureKey(wish.key), Upsert(wish.key, wish.order))
        return Recipe("staged", steps, "in_place", dedup_needed=True)
    mode, notes = _replace_mode(wish, operations, where)
    tail = (EnsureKey(wish.key),) if keyed else ()
    if mode == "in_place":
        return Recipe("direct", (*_column_changes(wish), DeleteAll(), Insert(), *tail), mode, notes=notes)
    route: Route = "shadow" if wish.writers > 1 and "remote_pieces" in operations else "direct"
    return Recipe(route, (CreateTable(), Insert(), *tail, Swap()), mode, notes=notes)


def _replace_mode(wish: Wish, operations: frozenset[Operation], where: str) -> tuple[ReplaceMode, tuple[str, ...]]:
    can_swap, can_delete = "swap" in operations, "delete_all" in operations
    if wish.replace_mode == "in_place":
        if not can_delete:
            raise ConfigError("replace_mode in_place is not possible at this destination", where=where, fix="use auto")
        return "in_place", ()
    if wish.replace_mode == "swap":
        if wish.attachments:
            raise ConfigError(
                f"replace_mode swap would break what hangs on the table: {', '.join(wish.attachments)}",
                where=where,
                fix="use replace_mode: auto, which replaces the rows in place",
            )
        return "swap", ()
    if wish.attachments and can_delete:
        return "in_place", (f"replaced in place, because these hang on the table: {', '.join(wish.attachments)}",)
    return ("swap", ()) if can_swap else ("in_place", ())


def _plan_first(wish: Wish, operations: frozenset[Operation]) -> Recipe:
    keyed = wish.strategy in KEYED
    if keyed and not wish.key_is_unique:
        steps = (CreateTable(), EnsureKey(wish.key), Upsert(wish.key, wish.order))
        return Recipe("staged", steps, dedup_needed=True)
    tail = (EnsureKey(wish.key),) if keyed else ()
    if wish.writers > 1 and {"remote_pieces", "swap"} <= operations:
        return Recipe("shadow", (CreateTable(), Insert(), *tail, Swap()))
    return Recipe("direct", (CreateTable(), Insert(), *tail))


def _plan_append(wish: Wish, operations: frozenset[Operation]) -> Recipe:
    parallel = wish.writers > 1 and {"remote_pieces", "stage"} <= operations
    route: Route = "staged" if parallel or wish.open_schema else "direct"
    return Recipe(route, (*_column_changes(wish), Insert()))


def _plan_delete_insert(wish: Wish) -> Recipe:
    if wish.key:
        return Recipe("staged", (*_column_changes(wish), DeleteMatching(wish.key), Insert()))
    if wish.window is None:
        return Recipe("direct", (*_column_changes(wish), DeleteAll(), Insert()), "in_place")
    return Recipe("direct", (*_column_changes(wish), wish.window, Insert()))


def _column_changes(wish: Wish) -> tuple[WriteStep, ...]:
    changes: list[WriteStep] = []
    if wish.added:
        changes.append(AddColumns(wish.added))
    if wish.widened:
        changes.append(WidenColumns(wish.widened))
    return tuple(changes)


def delivery_grade(operations: frozenset[Operation], strategy: Strategy) -> Grade:
    """What the destination can promise, whatever crashes."""
    if "transaction" in operations:
        return "exactly once"
    return "keyed convergence" if strategy in KEYED or strategy == "replace" else "at least once"


def describe_step(step: WriteStep) -> str:
    """One line for people."""
    if isinstance(step, AddColumns | WidenColumns):
        return f"{step.verb}: " + ", ".join(f"{f.name} {f.type}" for f in step.fields)
    if isinstance(step, EnsureKey | Upsert | DeleteMatching):
        return f"{step.verb} ({', '.join(step.key)})"
    if isinstance(step, DeleteWindow):
        end = "<" if step.upper_open else "<="
        low = "" if step.lower is None else f"{step.lower} <= "
        high = "" if step.upper is None else f" {end} {step.upper}"
        return f"{step.verb}: {low}{step.column}{high}"
    return step.verb


def order_of(cursor: CursorSpec | None) -> tuple[str, ...]:
    """What decides between rows of one key in one load, before position: the cursor."""
    return cursor.columns if cursor else ()
