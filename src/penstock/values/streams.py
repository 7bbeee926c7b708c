"""What is read: schemas, cursors, positions, requests, bounds, splits and batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from penstock.records import dataclass
from penstock.values.names import CursorType, CursorValue, Encoding, Into, Json, NullCursors, SplitId, StreamName

if TYPE_CHECKING:
    import pyarrow as pa


@dataclasses.dataclass(frozen=True, slots=True)  # made by the thousand
class Field:
    """One column. `type` is the house spelling (schema/types.py), `native` the system's own, modifier included."""

    name: str
    type: str
    nullable: bool = True
    native: str | None = None
    comment: str | None = None
    has_default: bool = False


@dataclass(frozen=True, slots=True)
class TableSchema:
    """Columns in order; `key` is a declared unique, non-null key; `system` owns the native spellings."""

    fields: tuple[Field, ...]
    key: tuple[str, ...] = ()
    system: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.fields)

    def field(self, name: str) -> Field:
        """The column of that name; KeyError names the columns there are."""
        for candidate in self.fields:
            if candidate.name == name:
                return candidate
        raise KeyError(f"no column {name!r}; columns: {', '.join(self.names)}")

    def without(self, *names: str) -> TableSchema:
        return replace(self, fields=tuple(f for f in self.fields if f.name not in names))


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What a source says of one stream before anything is read."""

    name: StreamName
    schema: TableSchema | None
    ordinary_table: bool = True
    rows_estimate: int | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """A typed position in a stream."""

    type: CursorType
    value: CursorValue

    def to_json(self) -> dict[str, Json]:
        value = self.value
        if isinstance(value, datetime | date):
            return {"type": self.type, "value": value.isoformat()}
        if isinstance(value, Decimal):
            return {"type": self.type, "value": str(value)}
        return {"type": self.type, "value": value}

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Cursor:
        """Raises ValueError where the stored form is not one `to_json` writes."""
        kind, value = data["type"], data["value"]
        if kind == "int" and isinstance(value, int):
            return cls("int", value)
        if kind == "decimal" and isinstance(value, str):
            return cls("decimal", Decimal(value))
        if kind == "date" and isinstance(value, str):
            return cls("date", date.fromisoformat(value))
        if kind == "datetime" and isinstance(value, str):
            return cls("datetime", datetime.fromisoformat(value))
        if kind == "string" and isinstance(value, str):
            return cls("string", value)
        raise ValueError(f"not a stored cursor: type {kind!r}")

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a stream has come: what the next run resumes from.

    `cursor` is the highest value delivered, `resume` the lowest one the next read must look at again (never above
    `cursor`), `horizon` and `identity` belong to sources that deliver by transaction. `chain_end` is set while a first
    load in several loads is under way: the bound its last load will reach.
    """

    cursor: Cursor | None = None
    resume: Cursor | None = None
    horizon: int | None = None
    identity: str | None = None
    chain_end: Cursor | None = None

    def to_json(self) -> dict[str, Json]:
        return {
            "cursor": self.cursor.to_json() if self.cursor else None,
            "resume": self.resume.to_json() if self.resume else None,
            "horizon": self.horizon,
            "identity": self.identity,
            "chain_end": self.chain_end.to_json() if self.chain_end else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Position:
        """Raises ValueError where the stored form is not one `to_json` writes."""

        def cursor(name: str) -> Cursor | None:
            value = data.get(name)
            return Cursor.from_json(value) if isinstance(value, dict) else None

        horizon, identity = data.get("horizon"), data.get("identity")
        return cls(
            cursor("cursor"),
            cursor("resume"),
            int(horizon) if isinstance(horizon, int) else None,
            str(identity) if identity is not None else None,
            cursor("chain_end"),
        )


START = Position()


@dataclass(frozen=True, slots=True)
class CursorSpec:
    """What orders a stream: columns (the greatest of them counts), or one SQL expression."""

    columns: tuple[str, ...] = ()
    expression: str | None = None
    type: CursorType | None = None
    nulls: NullCursors | None = None  # None: the survey settles it by what the source can tell
    lookback: float | Literal["all"] | None = None  # seconds, days for dates, or units; None: the source's default

    @property
    def label(self) -> str:
        return self.expression or ", ".join(self.columns)


@dataclass(frozen=True, slots=True)
class Window:
    """A static share of a stream: lower <= cursor < upper."""

    lower: Cursor | None = None
    upper: Cursor | None = None


@dataclass(frozen=True, slots=True)
class SplitWish:
    """How a read should be cut; None leaves it to the source.

    `by_cursor`: by ranges of the cursor where no column is named, never by where rows lie.
    """

    count: int | None = None
    column: str | None = None
    type: Literal["int", "datetime"] | None = None
    lower: str | None = None
    upper: str | None = None
    bounds_filtered: bool = False
    by_cursor: bool = False


@dataclasses.dataclass(frozen=True, slots=True)  # made by the thousand
class ReadRequest:
    """One stream, wanted from `after` on.

    `late_commits` says which row versions a source with a horizon must hand out: "once" each exactly once (append),
    "all" everything visible since the last horizon (keyed strategies), "window" all rows from the resume point on
    (delete_insert by window). `upto` (inclusive) asks for the very range of a load that was prepared and not finished:
    only destinations without transactions need it. `batch_rows` and `batch_bytes` are upper limits of one batch.
    `types` is what the user wants columns read as. `expected` is what they are at the target: a source that would guess
    takes a guess only where it widens that without loss. With `set_aside`, a source that reads text hands out the rows
    with a cell that is no value of its column as batches into quarantine, in place of an error.
    """

    stream: StreamName
    cursor: CursorSpec | None = None
    after: Position | None = None
    window: Window | None = None
    query: str | None = None
    late_commits: Literal["once", "all", "window"] = "once"
    splits: SplitWish = field(default_factory=SplitWish)
    types: Mapping[str, str] = field(default_factory=dict)
    expected: Mapping[str, str] = field(default_factory=dict)
    set_aside: bool = False
    batch_rows: int = 100_000
    batch_bytes: int = 4 << 20
    limit: int | None = None
    chain_rows: int | None = None
    relay: Encoding | None = None
    accept_source_change: bool = False
    upto: Cursor | None = None


@dataclasses.dataclass(frozen=True, slots=True)  # made by the thousand
class Bounds:
    """The frozen extent of one read. `position` is what the ledger will say once it is delivered.

    `idle` is True only when the source proved that nothing is to be delivered; None where that shows while reading.
    `upper` is inclusive. `rows` is an exact count in the same snapshot, `rows_estimate` a guess for progress bars.
    """

    lower: Cursor | None = None
    upper: Cursor | None = None
    position: Position | None = None
    idle: bool | None = None
    rows: int | None = None
    rows_estimate: int | None = None
    snapshot: str | None = None
    chained: bool = False
    notes: tuple[str, ...] = ()
    lag_seconds: float = 0.0  # how long an old transaction has held the horizon back
    lag_blocker: str | None = None  # its session, where it can be seen


@dataclass(frozen=True, slots=True)
class Split:
    """A share of one read that any process can take; `work` is the source's own JSON."""

    id: SplitId
    stream: StreamName
    schema: TableSchema
    work: Mapping[str, Json]
    rows_estimate: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows in motion. `cursors` holds each row's cursor value (same length), where the stream has one.

    Those into quarantine have the columns of schema/quarantine.py, and no others.
    """

    stream: StreamName
    rows: pa.RecordBatch
    cursors: pa.Array | None = None
    reached: Cursor | None = None
    into: Into = "target"
