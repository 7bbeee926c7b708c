"""A change log that wants acknowledgements: it hands out whole transactions and forgets what was acknowledged."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from penstock.errors import ExtractionError
from penstock.protocols import Chunks
from penstock.records import dataclass
from penstock.schema.types import from_arrow_schema
from penstock.values import (
    Ability,
    Batch,
    Bounds,
    Cursor,
    Position,
    ReadRequest,
    Split,
    SplitId,
    StreamName,
    StreamSpec,
)

if TYPE_CHECKING:
    import pyarrow as pa


CHANGES = StreamName("changes")


@dataclass
class ChangeLog:
    """The server's side: entries by position, and how far the one reader has acknowledged."""

    schema: pa.Schema
    entries: list[tuple[int, list[dict[str, object]]]] = field(default_factory=list)
    position: int = 0
    acknowledged: int = 0

    def transact(self, *rows: dict[str, object]) -> int:
        """One transaction of the source; its position."""
        self.position += 1
        self.entries.append((self.position, list(rows)))
        return self.position

    def acknowledge(self, position: int) -> None:
        """What was acknowledged is gone for good."""
        self.acknowledged = max(self.acknowledged, position)
        self.entries = [entry for entry in self.entries if entry[0] > self.acknowledged]


@dataclass
class ChangeLogSource:
    """One stream of changes. The upper bound shows only while reading; a load takes `most` transactions at a time."""

    log: ChangeLog
    stream: StreamName = CHANGES
    most: int = 100
    identity: str = "log"
    abilities: frozenset[Ability] = frozenset({"change_log", "static_schema"})

    def check(self) -> None:
        """The log is in memory."""

    def streams(self, like: Sequence[str] | None = None) -> Iterable[StreamSpec]:
        wanted = like is None or self.stream in like
        return [StreamSpec(self.stream, from_arrow_schema(self.log.schema), ordinary_table=False)] if wanted else []

    def probe(self, requests: Sequence[ReadRequest]) -> Sequence[Bounds]:
        return [Bounds(lower=_resume(request)) for request in requests]

    def open(self, requests: Sequence[ReadRequest]) -> ChangeLogSession:
        request = requests[0]
        lower = _resume(request)
        start = int(str(lower.value)) if lower else 0
        if start < self.log.acknowledged:
            raise ExtractionError(
                f"the log has forgotten changes {start + 1} to {self.log.acknowledged}, which were not delivered",
                where=self.stream,
                fix="load the table anew with --full-refresh",
            )
        entries = [entry for entry in self.log.entries if entry[0] > start][: self.most]
        return ChangeLogSession(self, {self.stream: Bounds(lower=lower)}, (self._split(entries),))

    def _split(self, entries: list[tuple[int, list[dict[str, object]]]]) -> Split:
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.log.schema) as writer:
            for _, rows in entries:
                writer.write_batch(pa.RecordBatch.from_pylist(rows, self.log.schema))
        work = {"positions": [position for position, _ in entries], "log": base64.b64encode(sink.getvalue()).decode()}
        return Split(SplitId("log"), self.stream, from_arrow_schema(self.log.schema), work)  # type: ignore[arg-type]

    def reader(self) -> ChangeLogReader:
        return ChangeLogReader()


@dataclass
class ChangeLogSession:
    """Acknowledges to the log and to nothing else."""

    source: ChangeLogSource
    bounds: Mapping[StreamName, Bounds]
    splits: tuple[Split, ...]

    def acknowledge(self, upto: Mapping[StreamName, Cursor]) -> None:
        self.source.log.acknowledge(int(str(upto[self.source.stream].value)))

    def __enter__(self) -> ChangeLogSession:
        return self

    def __exit__(self, *exc: object) -> None:
        return None


@dataclass(frozen=True)
class ChangeLogReader:
    """One batch per transaction, so that no load ends inside of one."""

    def read(self, split: Split) -> Iterator[Batch]:
        import pyarrow as pa

        positions = split.work["positions"]
        if not isinstance(positions, list):
            raise ExtractionError("the split holds no positions", where=split.stream, fault="internal")
        batches = pa.ipc.open_stream(base64.b64decode(str(split.work["log"])))
        for position, rows in zip(positions, batches, strict=True):
            cursors = pa.array([position] * rows.num_rows, pa.int64())
            yield Batch(split.stream, rows, cursors, Cursor("int", int(str(position))))

    def relay(self, split: Split) -> Chunks:
        raise ExtractionError(f"{split.stream}: a change log has no encoding to relay")


def _resume(request: ReadRequest) -> Cursor | None:
    after = request.after or Position()
    return after.cursor
