"""One compiled table of a pipeline: what `replicate` needs to know of it, and nothing of YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Literal

from penstock.errors import PenstockError
from penstock.protocols import Transform
from penstock.records import dataclass
from penstock.schema.evolution import EvolutionPolicy
from penstock.schema.names import NameCase
from penstock.values import CursorSpec, LoadId, ReplaceMode, RowIo, SplitWish, Strategy, StreamName, TableName, Window


@dataclass(frozen=True, slots=True)
class Reading:
    """How the stream is read."""

    stream: StreamName
    method: Literal["full", "incremental"] = "full"
    cursor: CursorSpec | None = None
    window: Window | None = None
    query: str | None = None
    splits: SplitWish = field(default_factory=SplitWish)
    types: Mapping[str, str] = field(default_factory=dict)
    batch_rows: int = 100_000
    chain_rows: int = 10_000_000
    limit: int | None = None
    io: RowIo = "native"
    accept_source_change: bool = False
    timezone: str = "UTC"
    horizon_warn_seconds: float = 900.0


@dataclass(frozen=True, slots=True)
class Writing:
    """How the table is written."""

    target: TableName
    strategy: Strategy
    key: tuple[str, ...] = ()
    replace_mode: ReplaceMode = "auto"
    evolution: EvolutionPolicy = "evolve"
    on_existing: Literal["refuse", "append"] = "refuse"
    shared: bool = False
    allow_empty: bool = False
    writers: int | None = None
    batch_rows: int = 10_000
    io: RowIo = "native"
    boundary_limit: int = 100_000
    partition_by: tuple[str, ...] = ()
    latest_view: str | None = None
    on_bad_value: Literal["fail", "quarantine"] = "fail"
    lock_wait_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Adding:
    """Columns and names given on the way."""

    dedup_columns: tuple[str, ...] = ()
    id_column: str = "mkpipe_id"
    ingested_at_column: str = "_ingested_at"
    case: NameCase = "as_is"


@dataclass(frozen=True, slots=True)
class ReplicateStep:
    """`source` and `destination` are connection names; `where` is the table's file:line for errors."""

    pipeline: str
    owner: str
    source: str
    source_variant: str
    destination: str
    reading: Reading
    writing: Writing
    adding: Adding = field(default_factory=Adding)
    transform: Transform | None = None
    pass_on_error: bool = False
    full_refresh: bool = False
    where: str = ""
    error: PenstockError | None = None  # why it cannot run, known before anything is looked at
    load_id: LoadId | None = None  # named by the caller of `load`; else a function of the ledger head

    @property
    def stream_identity(self) -> str:
        """System kind and object: survives a new host name or another path; a changed cluster shows in the position."""
        return f"{self.source_variant}:{self.reading.stream}"

    def locate(self, error: PenstockError) -> None:
        """An error of this table says where in the project file it is written, unless it says so already."""
        told = error.where or ""
        if self.where and self.where.rpartition(":")[0].rpartition(":")[0] not in told:
            error.locate(f"{self.where}, {told}" if told else self.where)

    @property
    def starts_anew(self) -> bool:
        """Nothing of the table stays, neither rows nor types: a full refresh, or a sample."""
        return self.full_refresh or self.reading.limit is not None

    @property
    def is_backfill(self) -> bool:
        return self.reading.window is not None


def sample_step(step: ReplicateStep, limit: int) -> ReplicateStep:
    """The step that `--limit` runs: some rows into `<target>__sample`, touching nothing else."""
    target = TableName(step.writing.target.schema, f"{step.writing.target.name}__sample")
    reading = replace(step.reading, method="full", cursor=None, window=None, limit=limit)
    writing = replace(
        step.writing,
        target=target,
        strategy="replace",
        key=(),
        allow_empty=True,
        on_existing="append",
        latest_view=None,
    )
    return replace(step, reading=reading, writing=writing, full_refresh=False)
