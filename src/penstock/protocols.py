"""The contracts between parts: what a plugin author reads, with values.py, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from penstock.records import dataclass
from penstock.values import (
    Ability,
    Account,
    Batch,
    Boundary,
    Bounds,
    CommitReceipt,
    Connection,
    Cursor,
    Encoding,
    Into,
    LedgerHead,
    LedgerRow,
    Limits,
    LoadId,
    LoadPlan,
    Operation,
    Piece,
    ReadRequest,
    RowIo,
    RunId,
    Shape,
    Split,
    SplitId,
    StreamName,
    StreamSpec,
    TableName,
    TableSchema,
    Tally,
    WriteTicket,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from datetime import datetime

    import pyarrow as pa

    from penstock.errors import PenstockError
    from penstock.values import RunRecord, TableRecord

Scope = Literal["rows", "keys", "table"]
Frame = Any  # whatever the transform's annotation asks for: a relation, a frame, a table, a batch


class Chunks(Protocol):
    """Undecoded bytes from one source. Iterate with `for` from any thread, or `async for` on the shared event loop."""

    @property
    def encoding(self) -> Encoding: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Reader(Protocol):
    """Reads splits, in any process."""

    def read(self, split: Split) -> Iterator[Batch]:
        """Yield the split's rows. Closing the iterator stops the read. Raises SourceChangedError on another shape."""
        ...

    def relay(self, split: Split) -> Chunks:
        """The split's rows as the source encodes them; only where the source has the ability `relay`."""
        ...


class ReadSession(Protocol):
    """What must stay open while loads read: a snapshot, a listing. Keeps its own link alive."""

    @property
    def bounds(self) -> Mapping[StreamName, Bounds]: ...
    @property
    def splits(self) -> Sequence[Split]: ...
    def acknowledge(self, upto: Mapping[StreamName, Cursor]) -> None:
        """Called after EVERY destination committed, with what the slowest of them holds; may do nothing."""
        ...

    def __enter__(self) -> ReadSession: ...
    def __exit__(self, *exc: object) -> None: ...


@runtime_checkable
class Source(Protocol):
    """The read side of a connector."""

    @property
    def abilities(self) -> frozenset[Ability]: ...
    @property
    def identity(self) -> str:
        """Names the system without a secret: goes into the stream identity of the ledger."""
        ...

    def check(self) -> None:
        """Connect and prove that reading is possible; raises ExtractionError with what failed and why."""
        ...

    def streams(self, like: Sequence[str] | None = None) -> Iterable[StreamSpec]:
        """Describe the named streams (a name that does not exist is left out), or list all when None."""
        ...

    def probe(self, requests: Sequence[ReadRequest]) -> Sequence[Bounds]:
        """The extent each request would have now, in as few round trips as possible; nothing stays open."""
        ...

    def open(self, requests: Sequence[ReadRequest]) -> ReadSession:
        """Fix the bounds and cut the splits; several requests share one snapshot where the source has them."""
        ...

    def reader(self) -> Reader: ...


class Writer(Protocol):
    """Takes rows of one load. The first committed attempt of a split wins; later ones return its piece."""

    def write(self, split_id: SplitId, attempt: int, batches: Iterator[Batch], *, into: Into = "target") -> Piece: ...
    def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece: ...


class LoadSession(Writer, Protocol):
    """One load under way: holds the lock and the epoch."""

    @property
    def ticket(self) -> WriteTicket | None:
        """None on the direct route: write() uses the commit's own connection, one call at a time."""
        ...

    def commit(self, pieces: Sequence[Piece], account: Account) -> CommitReceipt:
        """Publish the load and its ledger rows together.

        Raises FencedError when overtaken, CommitUnknownError when the outcome could not be resolved. Safe to repeat:
        a load that is in returns its first receipt.
        """
        ...

    def abort(self) -> None:
        """Leave nothing behind; safe at any time, also after commit and after a failure."""
        ...


class LedgerStore(Protocol):
    """The ledger of one destination."""

    def heads(self, tables: Sequence[TableName]) -> Mapping[TableName, LedgerHead]:
        """The heads that exist, in one round trip."""
        ...

    def find(self, load: LoadId) -> LedgerRow | None: ...
    def history(self, table: TableName, limit: int) -> Sequence[LedgerRow]:
        """Newest first."""
        ...

    def boundary(self, table: TableName) -> Boundary:
        """Digests of the rows at the edge of the last read, and the types of the columns they were made of."""
        ...

    def set_head(self, table: TableName, head: LedgerHead, *, expected_epoch: int) -> None:
        """Write a head by hand (adopt); raises FencedError unless the stored epoch is the expected one."""
        ...


@runtime_checkable
class RelaySource(Protocol):
    """A source with the ability `relay`."""

    @property
    def relay_encoding(self) -> Encoding: ...
    def relay_splits(self, splits: Sequence[Split], target: TableSchema) -> Sequence[Split] | None:
        """The splits told to hand out bytes that fit `target` column by column, or None where only decoding is safe."""
        ...


@runtime_checkable
class AbsenceAware(Protocol):
    """A source that says in its own words that it has no such stream: where it looked, and what may be meant."""

    def absent(self, stream: StreamName) -> PenstockError: ...


@runtime_checkable
class RowAware(Protocol):
    """A destination that can say at once whether a table of it, which exists, holds any row."""

    def has_rows(self, table: TableName) -> bool: ...


@runtime_checkable
class Attached(Protocol):
    """A destination that can say what hangs on its tables."""

    def attachments(self, table: TableName) -> Sequence[str]:
        """Views, foreign keys, triggers and the like that a swap of the table would lose or break."""
        ...


@runtime_checkable
class KeptOpen(Protocol):
    """A destination that is dear to open: it may stay open between the looks of one command."""

    def kept_open(self) -> AbstractContextManager[None]: ...


@runtime_checkable
class Remarking(Protocol):
    """A destination whose column types have a way of their own with some values."""

    def remarks(self, incoming: TableSchema, written: TableSchema) -> Sequence[str]:
        """What `plan` must tell: `incoming` has the source's types, `written` the target's, both the target's names."""
        ...


@runtime_checkable
class Destination(Protocol):
    """The write side of a connector."""

    @property
    def operations(self) -> frozenset[Operation]: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def identity(self) -> str: ...
    def check(self) -> None: ...
    def describe(self, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema | None]:
        """The tables' columns; an absent table is None, and a failure raises: it is never read as absent."""
        ...

    def ledger(self) -> LedgerStore: ...
    def begin(self, plan: LoadPlan) -> LoadSession:
        """Take the target's lock, raise its epoch, clear litter of older epochs.

        Raises FencedError (naming the holder) after `lock_wait_seconds`, or at once, retryable, when the head has moved
        past the plan.
        """
        ...

    def writer(self, ticket: WriteTicket) -> Writer: ...


class Transform(Protocol):
    """A pure function on frames: the engine may cut its input anywhere `scope` allows."""

    @property
    def scope(self) -> Scope: ...
    def output_schema(self, *inputs: TableSchema) -> TableSchema: ...
    def apply(self, *inputs: Frame) -> Frame: ...


class Backend(Protocol):
    """Run history. Losing it loses history and nothing else."""

    def start_run(self, run: RunRecord) -> None: ...
    def finish_run(self, run: RunRecord) -> None: ...
    def record_table(self, record: TableRecord) -> None:
        """Insert or replace the record of (run, pipeline, target)."""
        ...

    def runs(self, limit: int, *, before: datetime | None = None) -> Sequence[RunRecord]:
        """Newest first."""
        ...

    def run(self, run_id: RunId) -> tuple[RunRecord, Sequence[TableRecord]] | None: ...


class Progress(Protocol):
    """Told how a move goes on; called from any thread, must be quick."""

    def advance(self, rows: int, size_bytes: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Move:
    """One load's worth of moving.

    `begin` is called once, from the calling thread, when the first row that must be written turns up; with `eager` at
    once. `shape` and `transform` are ignored by a relay. `stop`, once set, makes the engine raise Interrupted; the
    number is its attribute `signal_number`, else SIGINT's. `ordered` keeps the splits in order where one call writes
    several of them; without it they are read and written as they come. `open_writer` is the destination's
    `writer`, for engines whose splits run in other processes; there it and `reader` must survive pickling.
    """

    reader: Reader
    splits: Sequence[Split]
    begin: Callable[[], LoadSession]
    shape: Shape
    transform: Transform | None = None
    eager: bool = False
    writers: int = 1
    progress: Progress | None = None
    stop: threading.Event | None = None
    open_writer: Callable[[WriteTicket], Writer] | None = None
    ordered: bool = True


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move left. `load` is None when there was nothing to deliver: nothing was begun."""

    load: LoadSession | None
    pieces: tuple[Piece, ...]
    tally: Tally


class Jdbc(Protocol):
    """A system as Spark's JDBC source reaches it. It survives pickling."""

    @property
    def driver(self) -> str:
        """The class of the driver."""
        ...

    def options(self, split: Split) -> Mapping[str, str]:
        """What Spark's reader is told, `query` included. Secrets are properties of the driver, never in its URL."""
        ...

    def read(self, split: Split, batches: Iterator[pa.RecordBatch]) -> Iterator[Batch]:
        """The rows that came of these options, as the stream's own."""
        ...

    def require_readable(self, schema: TableSchema) -> None:
        """Raises ConfigError, with the way out, for columns that JDBC cannot carry."""
        ...


class Landing(Protocol):
    """A private table of one load, of plain columns, that Spark's JDBC writer appends to. It survives pickling.

    Spark may write an attempt's rows twice, and may fail after its commit: each row names its task and attempt, and an
    attempt's report is a row among them, so that rows and report are there together or not at all.
    """

    @property
    def schema(self) -> pa.Schema:
        """The columns as Spark is given them: `task`, `attempt`, `piece`, `report`, and those of the rows."""
        ...

    def options(self, batch_rows: int) -> Mapping[str, str]:
        """What Spark's writer is told. Secrets are properties of the driver, never in its URL."""
        ...

    def encode(self, rows: pa.RecordBatch) -> Sequence[pa.Array]:
        """The rows' own columns. Raises LoadError for a value that the target cannot hold."""
        ...

    def create(self) -> None: ...
    def reports(self) -> Sequence[tuple[int, int, str]]:
        """Task, attempt and report of every attempt that is in."""
        ...

    def adopt(self, chosen: Sequence[Landed]) -> None:
        """Make the rows of these attempts the load's pieces, and no others. Raises LoadError where any are missing."""
        ...


class JdbcDestination(Protocol):
    """A system as Spark's JDBC writer reaches it. It survives pickling."""

    def require_writable(self, schema: TableSchema) -> None:
        """Raises ConfigError, with the way out, for columns that JDBC cannot carry."""
        ...

    def landing(self, ticket: WriteTicket) -> Landing:
        """The landing of the load that gave the ticket; it is gone with the load."""
        ...


@dataclass(frozen=True, slots=True)
class Landed:
    """An attempt that is kept, of those that landed: its pieces by their number."""

    task: int
    attempt: int
    pieces: tuple[Piece, ...]


@runtime_checkable
class RemoteEngine(Protocol):
    """An engine whose splits run in other processes: it needs ends that travel.

    The last two raise ConfigError where those processes cannot reach what the connection names.
    """

    @property
    def place(self) -> str:
        """Where splits run, for people."""
        ...

    def gathers(self, transform: Transform) -> bool:
        """Whether the transform's rows come together in this process, whatever the splits."""
        ...

    def reader(self, source: Connection, io: RowIo = "native") -> Reader: ...
    def open_writer(
        self, destination: Connection, io: RowIo = "native", *, batch_rows: int = 10_000
    ) -> Callable[[WriteTicket], Writer]:
        """`batch_rows` is what one statement of JDBC writes."""
        ...


class Engine(Protocol):
    """Moves batches and runs transforms. It never commits: steps do."""

    def move(self, job: Move) -> Moved:
        """Read the splits, shape the rows, write the pieces. After an error the load begun here is aborted here."""
        ...

    def relay(self, job: Move) -> Moved:
        """Move undecoded bytes; rows are counted by the two servers."""
        ...

    def load_transform(self, reference: str, base_dir: str, *, default_frame: str | None = None) -> Transform:
        """`path.py::function` as a Transform by its annotation. Raises ConfigError or TransformError with file:line."""
        ...

    def sql_transform(self, sql: str) -> Transform:
        """`transform_sql`: a SELECT over the table `input`."""
        ...
