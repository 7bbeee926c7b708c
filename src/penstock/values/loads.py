"""What a load leaves: tickets, pieces, accounts, receipts and ledger rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Literal

from penstock.records import dataclass
from penstock.values.names import Into, Json, LoadId, Route, RunId, SplitId, Strategy
from penstock.values.plans import LoadPlan
from penstock.values.streams import Position, TableSchema


@dataclass(frozen=True, slots=True)
class WriteTicket:
    """What a writer in another process needs; JSON."""

    load_id: LoadId
    work: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Piece:
    """What one split wrote, unseen by readers until the load commits. `work` is the destination's own JSON.

    `schema` is what its rows looked like, where the load's schema is open.
    """

    split: SplitId
    attempt: int
    rows: int
    size_bytes: int = 0
    into: Into = "target"
    work: Mapping[str, Json] = field(default_factory=dict)
    schema: TableSchema | None = None


@dataclass(frozen=True, slots=True)
class Boundary:
    """The rows at the edge of a read, by digest (32 hex) with how often each was delivered; and, by column, the house
    types they were read as (none where a ledger does not say: taken for those of the next read).
    """

    rows: Mapping[str, int] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Account:
    """What a load is about to claim. `expected` is the number of rows handed to the writers for the target.

    `final` is the plan made again once the pieces' schemas were known (open schemas): the same load, of which schema
    and steps take the place of those it began with.
    """

    position: Position
    read: int = 0
    deduplicated_in: int = 0
    given: int = 0
    returned: int = 0
    expected: int | None = None
    quarantined: int = 0
    size_bytes: int = 0
    digest: str | None = None
    boundary: Boundary | None = None  # None: keep what is stored
    unfinished: bool = False  # a chain of loads goes on
    final: LoadPlan | None = None


@dataclass(frozen=True, slots=True)
class CommitReceipt:
    """What the ledger says of a load; a repeated commit returns the first one, with `repeated` set."""

    load_id: LoadId
    generation: int
    sequence: int
    written: int
    deduplicated_out: int
    position: Position
    committed_at: datetime
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """The one row per target that says where it stands."""

    target: str
    stream: str
    owner: str
    generation: int
    epoch: int
    sequence: int
    position: Position
    state: Literal["open", "prepared", "done"]
    load_id: LoadId | None
    holder: str = ""
    format: int = 1
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """The history row of one load."""

    load_id: LoadId
    target: str
    generation: int
    sequence: int
    epoch: int
    run_id: RunId
    strategy: Strategy
    route: Route
    position: Position
    rows_read: int
    rows_deduplicated: int
    rows_written: int
    rows_quarantined: int
    digest: str | None
    committed_at: datetime
