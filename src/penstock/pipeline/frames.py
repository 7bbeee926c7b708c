"""`extract` and `load` for people with frames: a table's rows as a lazy result, any Arrow frame as a load."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from penstock.errors import ConfigError, PenstockError
from penstock.protocols import Chunks, Reader, ReadSession
from penstock.records import dataclass
from penstock.schema.types import from_arrow_schema, to_arrow_schema
from penstock.values import (
    Ability,
    Batch,
    Bounds,
    Cursor,
    LoadId,
    ReadRequest,
    Split,
    SplitId,
    StreamName,
    StreamSpec,
    TableSchema,
)

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow as pa

Frame = Any  # whatever has an Arrow C stream


@dataclass(slots=True)
class Extracted:
    """The rows of one table as its source holds them; nothing is read before one of these is asked for.

    Each conversion reads anew, except `relation()`, which keeps the rows in a private DuckDB that may spill. On Spark
    `df` is lazy: the source's snapshot, and a session that was made for it, last until `close()`.
    """

    open: Callable[[], ReadSession]
    reader: Reader
    spread: Callable[[Sequence[Split]], Frame] | None = None
    release: Callable[[], None] = lambda: None
    _link: duckdb.DuckDBPyConnection | None = field(default=None, init=False, repr=False)
    _session: ReadSession | None = field(default=None, init=False, repr=False)
    _frame: Frame = field(default=None, init=False, repr=False)
    _closed: bool = field(default=False, init=False, repr=False)

    @property
    def df(self) -> Frame:
        """The rows in the engine's own frame: a DuckDB relation, or a lazy Spark frame whose partitions are the splits.

        Raises ConfigError once it is closed.
        """
        if self._closed:
            raise ConfigError("these rows are closed", fix="call extract() again, and close() when their frame is done")
        return self.relation() if self.spread is None else self._lazy_frame(self.spread)

    def close(self) -> None:
        """Let go of the source and of a Spark session that was made here: frames cannot be computed any more.

        Safe to repeat.
        """
        session, self._session, self._frame, self._closed = self._session, None, None, True
        try:
            if session is not None:
                session.__exit__(None, None, None)
        finally:
            self.release()

    def __enter__(self) -> Extracted:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _lazy_frame(self, spread: Callable[[Sequence[Split]], Frame]) -> Frame:
        if self._frame is None:
            with ExitStack() as stack:
                session = stack.enter_context(self.open())
                self._frame = spread(session.splits)
                self._session = session
                stack.pop_all()
        return self._frame

    def relation(self) -> duckdb.DuckDBPyRelation:
        import duckdb

        if self._link is None:
            self._link = duckdb.connect(":memory:")
            with self._arrow_reader() as arrived:
                self._link.register("arrived", arrived)
                self._link.execute("CREATE TABLE extracted AS SELECT * FROM arrived")
                self._link.unregister("arrived")
        return self._link.table("extracted")

    def to_arrow(self) -> pa.Table:
        with self._arrow_reader() as arrived:
            return arrived.read_all()

    def to_polars(self) -> pl.DataFrame:
        import polars as pl

        frame = pl.from_arrow(self.to_arrow())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def to_pandas(self) -> pd.DataFrame:
        return self.to_arrow().to_pandas()

    @contextmanager
    def _arrow_reader(self) -> Iterator[pa.RecordBatchReader]:
        import pyarrow as pa

        with self.open() as session:
            schema = to_arrow_schema(session.splits[0].schema)
            batches = (b.rows.cast(schema) for split in session.splits for b in self.reader.read(split))
            yield pa.RecordBatchReader.from_batches(schema, batches)


class FrameSource:
    """A frame as a source of one stream, read once."""

    abilities: frozenset[Ability] = frozenset({"static_schema"})
    identity = "frame"

    def __init__(self, frame: Frame, stream: StreamName) -> None:
        self._stream = stream
        self._rows = _as_reader(frame)
        self._schema = from_arrow_schema(self._rows.schema)

    def check(self) -> None:
        """A frame in memory is always there."""

    def streams(self, like: Sequence[str] | None = None) -> list[StreamSpec]:
        return [StreamSpec(self._stream, self._schema)] if like is None or self._stream in like else []

    def probe(self, requests: Sequence[ReadRequest]) -> list[Bounds]:
        return [Bounds() for _ in requests]

    def open(self, requests: Sequence[ReadRequest]) -> _FrameSession:
        if any(request.stream != self._stream for request in requests):
            raise PenstockError(f"this frame is {self._stream!r}", where=str([r.stream for r in requests]))
        types = requests[0].types if requests else {}
        fields = tuple(replace(f, type=types.get(f.name, f.type)) for f in self._schema.fields)
        return _FrameSession(self._stream, replace(self._schema, fields=fields))

    def reader(self) -> FrameSource:
        return self

    def read(self, split: Split) -> Iterator[Batch]:
        for rows in self._rows:
            if rows.num_rows:
                yield Batch(split.stream, rows)

    def relay(self, split: Split) -> Chunks:
        raise PenstockError(f"a frame has no undecoded bytes: {split.id}")


@dataclass(frozen=True, slots=True)
class _FrameSession:
    stream: StreamName
    schema: TableSchema

    @property
    def bounds(self) -> Mapping[StreamName, Bounds]:
        return {self.stream: Bounds()}

    @property
    def splits(self) -> Sequence[Split]:
        return [Split(SplitId("frame"), self.stream, self.schema, {})]

    def acknowledge(self, upto: Mapping[StreamName, Cursor]) -> None:
        """Nobody waits for it."""

    def __enter__(self) -> _FrameSession:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing is open."""


def _as_reader(frame: Frame) -> pa.RecordBatchReader:
    import pyarrow as pa

    if hasattr(frame, "collect") and not hasattr(frame, "__arrow_c_stream__"):
        frame = frame.collect()  # a Polars LazyFrame
    if not hasattr(frame, "__arrow_c_stream__"):
        raise ConfigError(
            f"a {type(frame).__name__} is not a frame with an Arrow stream",
            fix="pass a DuckDB relation, a Polars or pandas frame, a pyarrow Table or RecordBatchReader",
        )
    return pa.RecordBatchReader.from_stream(frame)


def named_load_id(target: str, name: str) -> LoadId:
    """The id of a load that its caller names: the same name is taken in once."""
    return LoadId(hashlib.sha256(f"named\x1f{target}\x1f{name}".encode()).hexdigest()[:32])
