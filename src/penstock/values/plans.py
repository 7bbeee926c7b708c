"""Write plans: what a destination must do, in order. load/ makes them, destinations carry them out."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Literal, TypeAlias

from penstock.records import dataclass
from penstock.values.names import Encoding, LoadId, ReplaceMode, Route, RunId, Strategy, TableName
from penstock.values.streams import Bounds, Cursor, Field, TableSchema


@dataclass(frozen=True, slots=True)
class CreateTable:
    """Make the target (or, on the shadow and swap routes, its successor) with the plan's schema."""

    verb: Literal["create table"] = "create table"


@dataclass(frozen=True, slots=True)
class AddColumns:
    fields: tuple[Field, ...]
    verb: Literal["add columns"] = "add columns"


@dataclass(frozen=True, slots=True)
class WidenColumns:
    fields: tuple[Field, ...]
    verb: Literal["widen columns"] = "widen columns"


@dataclass(frozen=True, slots=True)
class EnsureKey:
    """Create the unique index of `key` where it is missing; existing duplicates are an error, counted."""

    key: tuple[str, ...]
    verb: Literal["ensure unique key"] = "ensure unique key"


@dataclass(frozen=True, slots=True)
class DeleteAll:
    verb: Literal["delete all rows"] = "delete all rows"


@dataclass(frozen=True, slots=True)
class Insert:
    """Bring the rows in: bulk load on the direct and shadow routes, INSERT .. SELECT from the stage when staged."""

    verb: Literal["insert"] = "insert"


@dataclass(frozen=True, slots=True)
class Upsert:
    """Insert by key, update on match. Of several rows of a key the last by cursor, then by position, wins; counted."""

    key: tuple[str, ...]
    order: tuple[str, ...] = ()
    verb: Literal["upsert"] = "upsert"


@dataclass(frozen=True, slots=True)
class DeleteMatching:
    key: tuple[str, ...]
    verb: Literal["delete matching keys"] = "delete matching keys"


@dataclass(frozen=True, slots=True)
class DeleteWindow:
    """Delete target rows with lower <= column <= upper (`upper_open`: < upper); None is unbounded."""

    column: str
    lower: Cursor | None
    upper: Cursor | None
    upper_open: bool = False
    verb: Literal["delete window"] = "delete window"


@dataclass(frozen=True, slots=True)
class Swap:
    """Put the loaded successor in the target's place, keeping grants, owner, comments and indices."""

    verb: Literal["swap"] = "swap"


WriteStep: TypeAlias = (
    CreateTable
    | AddColumns
    | WidenColumns
    | EnsureKey
    | DeleteAll
    | Insert
    | Upsert
    | DeleteMatching
    | DeleteWindow
    | Swap
)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who wants to know which keys a load touched: old and new values of `columns`, deletes too, into `dirty`."""

    subscriber: str
    columns: tuple[str, ...]
    dirty: TableName


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """One delivery to one table, fixed before data is read.

    `schema` is what the writer is given (hidden columns included: `order_column` is dropped on the way into the
    target); `table` is the target before the load, None when it does not exist. `ingested_at` is filled in by the
    destination where it has the operation, else it is a column of the stream already. `partition_by` names the columns
    a destination of files lays its folders out by.
    """

    load_id: LoadId
    run_id: RunId
    target: TableName
    stream: str
    owner: str
    generation: int
    sequence: int
    strategy: Strategy
    route: Route
    steps: tuple[WriteStep, ...]
    schema: TableSchema
    table: TableSchema | None
    started_at: datetime
    ingested_at_column: str | None = None
    order_column: str | None = None
    relay: Encoding | None = None
    splits: int = 1
    writers: int = 1
    batch_rows: int = 10_000
    lock_wait_seconds: float = 60.0
    replace_mode: ReplaceMode = "auto"
    bounds: Bounds = field(default_factory=Bounds)
    key: tuple[str, ...] = ()
    latest_view: str | None = None
    view_key: str | None = None
    dedup_needed: bool = True
    holder: str = ""
    partition_by: tuple[str, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
