"""What one split writes: data files under `_penstock/tmp`, unseen until the load commits. Runs in any process."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from penstock.connectors.files.places import PRIVATE, partition_segment, stage_file, sync_folder, to_segment
from penstock.connectors.files.sinks import Sink, Style, open_sink
from penstock.errors import ConfigError, ContractError, FencedError, LoadError, counted
from penstock.failpoints import failpoint
from penstock.protocols import Chunks
from penstock.records import dataclass
from penstock.schema.texts import is_nested, to_text
from penstock.schema.types import to_arrow_schema
from penstock.values import Batch, Field, Into, Json, LoadId, Piece, SplitId, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa

_ROW_GROUP_ROWS = 131_072  # memory of the Parquet writer grows with it; smaller groups read slower
_BUFFER_BYTES = 16 << 20  # of rows waiting for their row group, over all partitions of one split
_OPEN_FILES = 32
Key = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """All a writer must know, as JSON in a ticket."""

    folder: str
    load_id: LoadId
    epoch: int
    schema: TableSchema
    style: Style
    partition_by: tuple[str, ...] = ()
    dropped: str | None = None

    @property
    def workspace(self) -> Path:
        """This load's and this epoch's own: a writer of an older epoch cannot reach it."""
        return Path(self.folder) / PRIVATE / "tmp" / f"{self.load_id[:12]}-{self.epoch}"

    @property
    def stored(self) -> TableSchema:
        """The columns inside the files: those of the folders are not repeated."""
        return self.schema.without(*self.partition_by)

    def to_json(self) -> dict[str, Json]:
        return cast("dict[str, Json]", asdict(self))

    @classmethod
    def from_json(cls, work: Mapping[str, Any]) -> Job:
        schema = work["schema"]
        fields = tuple(Field(**f) for f in schema["fields"])
        rest = {
            "schema": TableSchema(fields, tuple(schema["key"]), schema["system"]),
            "style": Style(**work["style"]),
            "partition_by": tuple(work["partition_by"]),
        }
        return cls(**{**work, **rest})


@dataclass(frozen=True, slots=True)
class PieceWriter:
    """Writer of one load."""

    job: Job

    def write(self, split_id: SplitId, attempt: int, batches: Iterator[Batch], *, into: Into = "target") -> Piece:
        if into != "target":
            raise LoadError(
                "rows cannot be quarantined at files yet",
                where=self.job.folder,
                fix="let bad values fail the load",
                fault="config",
            )
        claimed = self._claim_path(split_id)
        if claimed.exists():
            return _read_claim(claimed)
        try:
            piece = _write_piece(self.job, split_id, attempt, batches)
            return _claim(claimed, piece)
        except OSError as error:
            raise LoadError(
                f"a data file cannot be written: {error.strerror or error}",
                where=self.job.folder,
                fix="make room or give the right to write there, then run again: nothing of this load is visible",
                fault="transient",
            ) from error

    def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece:
        raise LoadError(
            f"files take rows, not {chunks.encoding} (split {split_id}, attempt {attempt})", fault="internal"
        )

    def _claim_path(self, split_id: SplitId) -> Path:
        return self.job.workspace / f"{to_segment(split_id, limit=80)}.piece.json"


def _claim(path: Path, piece: Piece) -> Piece:
    """The first attempt to link its description wins, in whichever process; the others hand out the winner's."""
    failpoint("load.piece_written")
    described = stage_file(path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}"), json.dumps(asdict(piece)).encode())
    try:
        os.link(described, path)
    except FileExistsError:
        return _read_claim(path)
    finally:
        described.unlink()
    failpoint("load.piece_committed")
    return piece


def _read_claim(path: Path) -> Piece:
    return Piece(**json.loads(path.read_bytes()))


def _write_piece(job: Job, split_id: SplitId, attempt: int, batches: Iterator[Batch]) -> Piece:
    folder = job.workspace / f"{to_segment(split_id, limit=80)}.{attempt}.{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
    except FileNotFoundError as error:
        raise FencedError(
            f"load {job.load_id[:12]} is over: it was aborted, or another run took the table",
            where=job.folder,
            fix="run again; nothing of this load is visible",
            retryable=True,
        ) from error
    partitions = Partitions(job, folder)
    rows = 0
    try:
        for batch in batches:
            ready = _prepare_rows(job, batch.rows)
            rows += ready.num_rows
            partitions.add(ready)
            failpoint("load.batch_written")
        files = partitions.close()
    finally:
        partitions.abandon()
    sync_folder(folder)
    size_bytes = sum(file.size_bytes for file in files)
    return Piece(split_id, attempt, rows, size_bytes, work={"files": [cast("Json", asdict(f)) for f in files]})


def _prepare_rows(job: Job, rows: pa.RecordBatch) -> pa.RecordBatch:
    """The job's columns in its order. Raises ContractError for a NULL in a column that promises none."""
    target = to_arrow_schema(job.schema)
    ordered = rows.select(list(job.schema.names))
    for position, item in enumerate(job.schema.fields):
        nulls = ordered.column(position).null_count
        if nulls and not item.nullable:
            raise ContractError(
                f"column {item.name!r} is NOT NULL, and has no value in {counted(nulls, 'row')}",
                where=job.folder,
                fix="correct the rows at the source, or let the column be NULL",
            )
    return ordered.cast(target.with_metadata(None)) if ordered.schema.types != target.types else ordered


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """`path` is inside the load's workspace; `number` counts the files of one split and partition."""

    path: str
    number: int
    rows: int
    size_bytes: int
    partition: Mapping[str, str | None]


@dataclass(slots=True)
class _Open:
    """The rows of one partition on their way into its current file."""

    key: Key
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    waiting_bytes: int = 0
    waiting_rows: int = 0
    sink: Sink | None = None
    path: Path | None = None
    rows: int = 0


@dataclass(slots=True)
class Partitions:
    """Spreads rows over partitions; bytes waiting and files open stay bounded however many partitions there are."""

    job: Job
    folder: Path
    _open: dict[Key, _Open] = field(default_factory=dict)
    _files: list[WrittenFile] = field(default_factory=list)
    _numbers: dict[Key, int] = field(default_factory=dict)
    _bytes: int = 0

    def add(self, rows: pa.RecordBatch) -> None:
        for key, share in self._cut(rows):
            part = self._open.setdefault(key, _Open(key))
            part.waiting.append(share)
            part.waiting_rows += share.num_rows
            part.waiting_bytes += share.nbytes
            self._bytes += share.nbytes
            if part.waiting_rows >= _ROW_GROUP_ROWS:
                self._flush(part)
        while self._bytes > _BUFFER_BYTES:
            self._flush(max(self._open.values(), key=lambda p: p.waiting_bytes))

    def close(self) -> list[WrittenFile]:
        for part in list(self._open.values()):
            self._flush(part)
            self._finish(part)
        return self._files

    def abandon(self) -> None:
        """Let go of the files still open; after `close` there are none."""
        for part in self._open.values():
            part.sink = None
        self._open.clear()

    def _cut(self, rows: pa.RecordBatch) -> Iterator[tuple[Key, pa.RecordBatch]]:
        if not rows.num_rows:
            return
        stored = rows.select(list(self.job.stored.names))
        if not self.job.partition_by:
            yield (), stored
            return
        for key, indices in group_rows(rows, self.job):
            yield key, stored.take(indices)

    def _flush(self, part: _Open) -> None:
        import pyarrow as pa

        if not part.waiting:
            return
        table = pa.Table.from_batches(part.waiting)
        sink = part.sink or self._start(part)
        sink.write(table)
        part.rows += table.num_rows
        self._bytes -= part.waiting_bytes
        part.waiting, part.waiting_bytes, part.waiting_rows = [], 0, 0
        if sink.size_bytes >= self.job.style.max_file_bytes:
            self._finish(part)

    def _start(self, part: _Open) -> Sink:
        self._close_one_of_many()
        number = self._numbers.get(part.key, 0)
        self._numbers[part.key] = number + 1
        part.path = self.folder / f"{len(self._files):06d}-{uuid.uuid4().hex[:8]}"
        part.sink = open_sink(part.path, self.job.stored, self.job.style)
        return part.sink

    def _close_one_of_many(self) -> None:
        busy = [p for p in self._open.values() if p.sink is not None]
        if len(busy) >= _OPEN_FILES:
            self._finish(max(busy, key=lambda p: p.rows))

    def _finish(self, part: _Open) -> None:
        """Close the partition's file; rows still waiting go into its next one."""
        if part.sink is None or part.path is None:
            return
        part.sink.close()
        values = dict(zip(self.job.partition_by, part.key, strict=True))
        path = str(part.path.relative_to(self.job.workspace))
        number = self._numbers[part.key] - 1
        self._files.append(WrittenFile(path, number, part.rows, part.path.stat().st_size, values))
        part.sink, part.path, part.rows = None, None, 0
        if not part.waiting:
            del self._open[part.key]


def group_rows(rows: pa.RecordBatch, job: Job) -> Iterator[tuple[Key, pa.Array]]:
    """The row numbers of each combination of partition values, in order."""
    import pyarrow as pa

    texts = [to_text(rows.column(name), job.schema.field(name).type) for name in job.partition_by]
    names = [f"k{i}" for i in range(len(texts))]
    table = pa.table([*texts, pa.array(range(rows.num_rows), pa.int64())], names=[*names, "row"])
    grouped = table.group_by(names, use_threads=False).aggregate([("row", "list")])
    keys = zip(*(grouped.column(n).to_pylist() for n in names), strict=True)
    lists = grouped.column("row_list").combine_chunks()
    for position, key in enumerate(keys):
        yield key, lists[position].values


def final_path(job: Job, split_id: str, file: WrittenFile) -> str:
    """The same name for the same load, split and count, whoever writes it: a repeat overwrites, never doubles."""
    number = f"-{file.number}" if file.number else ""
    name = f"part-{job.load_id[:12]}-{to_segment(split_id, limit=80)}{number}.{job.style.extension}"
    folders = [partition_segment(column, file.partition[column]) for column in job.partition_by]
    return "/".join((*folders, name))


def check_partitions(schema: TableSchema, partition_by: tuple[str, ...], where: str) -> None:
    """Raises ConfigError for columns whose values cannot name a folder."""
    for name in partition_by:
        if name not in schema.names:
            raise ConfigError(
                f"partition_by names {name!r}, which is not a column",
                where=where,
                fix=f"columns: {', '.join(schema.names)}",
            )
        kind = schema.field(name).type
        if is_nested(kind) or kind in ("binary", "float32", "float64", "interval", "json", "null"):
            raise ConfigError(
                f"partition_by {name!r}: a {kind} cannot name a folder", where=where, fix="use another column"
            )
    if partition_by and len(set(partition_by)) == len(schema.names):
        raise ConfigError("partition_by names every column: the files would be empty", where=where, fix="leave one out")
