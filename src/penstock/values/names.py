"""Names, closed choices and what identifies a system; nothing here holds data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Literal, NewType, TypeAlias

from penstock.records import dataclass

StreamName = NewType("StreamName", str)
LoadId = NewType("LoadId", str)
SplitId = NewType("SplitId", str)
RunId = NewType("RunId", str)
Encoding = NewType("Encoding", str)

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

Ability = Literal[
    "shared_snapshot",  # splits of one session read one state of the source
    "travelling_snapshot",  # and so they do in any other process, however often
    "splits",  # one read can be cut into shares
    "cut_by_column",  # where shares begin and end can be asked for: partitions_column, _count and _bounds
    "horizon",  # delivers by transaction horizon: late commits are never missed
    "change_log",  # wants acknowledgements
    "open_schema",  # batches carry their own schema
    "relay",  # hands out undecoded bytes
    "static_schema",  # streams() knows columns before reading
]
Operation = Literal[
    "transaction",  # data and ledger commit together
    "create",  # make a table in the load's transaction
    "append",
    "delete_all",
    "swap",  # replace a table by renaming a loaded one
    "stage",  # a private table that readers never see
    "upsert",
    "delete_matching",
    "delete_window",
    "add_column",
    "widen_column",
    "unique_key",  # create and check a unique index
    "view",  # latest_view
    "folders",  # lays rows out by partition_by
    "ingested_at",  # fills the ingestion timestamp itself, no column in the stream needed
    "remote_pieces",  # writers open in any process
    "relay",
    "nested",  # keeps lists and structs
    "dirty_keys",  # the commit writes the keys a load touched where its subscribers look
]
Strategy = Literal["append", "replace", "upsert", "merge", "delete_insert"]
Route = Literal["direct", "shadow", "staged"]
ReplaceMode = Literal["auto", "swap", "in_place"]
RowIo = Literal["native", "jdbc"]
Into = Literal["target", "quarantine"]
Grade = Literal["exactly once", "keyed convergence", "at least once", "refused"]
CursorType = Literal["int", "decimal", "date", "datetime", "string"]
CursorValue: TypeAlias = int | Decimal | date | datetime | str
NullCursors = Literal["include", "fail", "skip"]


_observers: list[Callable[[str], None]] = []


def observe_secrets(observer: Callable[[str], None]) -> None:
    """Have `observer` told each secret as it is revealed, so that logs can leave it out."""
    if observer not in _observers:
        _observers.append(observer)


class Secret:
    """A secret known by its reference; the value is fetched by `reveal()` and shown by nothing else.

    `elsewhere` fetches it in another process, and holds no part of it.
    """

    __slots__ = ("_elsewhere", "_fetch", "reference")

    def __init__(self, reference: str, fetch: Callable[[], str], elsewhere: Callable[[], str] | None = None) -> None:
        self.reference = reference
        self._fetch = fetch
        self._elsewhere = elsewhere

    def unresolved(self) -> Secret | None:
        """The same, fetched in whatever process reveals it; None where only the value itself could go there."""
        return Secret(self.reference, self._elsewhere) if self._elsewhere is not None else None

    def reveal(self) -> str:
        """The secret itself, fetched anew at each call so that a rotated one is found."""
        value = self._fetch()
        for observe in _observers:
            observe(value)
        return value

    def __repr__(self) -> str:
        return f"Secret({self.reference})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)


@dataclass(frozen=True, slots=True)
class Connection:
    """One entry of `connections:`, checked and with every path made absolute."""

    name: str
    variant: str
    host: str | None = None
    port: int | None = None
    database: str | None = None
    user: str | None = None
    password: Secret | None = None
    schema: str | None = None
    ledger_schema: str | None = None
    max_connections: int = 8
    base_dir: str = "."
    extra: Mapping[str, str | int | float | bool | Secret | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """A table at a destination; `schema` is None where the system has none."""

    schema: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclass(frozen=True, slots=True)
class Jar:
    """A file of a Maven repository, and what it must hold. `coordinates` are `group:artifact:version`."""

    coordinates: str
    sha256: str

    @property
    def file_name(self) -> str:
        _, artifact, version = self.coordinates.split(":")
        return f"{artifact}-{version}.jar"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a destination can take."""

    identifier_bytes: int = 63
    fold: Literal["none", "lower"] = "none"
    columns: int = 1600
    loads: int = 8  # loads at once into one destination
    writers: int = 8  # writers at once into one load
    cell_bytes: int = 1 << 30
    digits: int | None = None  # exact numbers of more digits, and of any number of them, lie there as text


def load_id_of(target: str, stream: str, generation: int, sequence: int) -> LoadId:
    """The id of a load: a function of the ledger head alone, so a repeat is recognised."""
    text = "\x1f".join((target, stream, str(generation), str(sequence)))
    return LoadId(hashlib.sha256(text.encode()).hexdigest()[:32])


def private_name(*parts: str) -> str:
    """A table name of ours, the same for the same parts: `_penstock_<12 hex>`."""
    return "_penstock_" + hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:12]


def utc_now() -> datetime:
    """The wall clock, for stamps people read; never for detecting changes."""
    return datetime.now(UTC)
