"""The plainest engine there can be: one thread, one split after another. For tests of sources and destinations."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import field
from itertools import chain

from penstock.errors import ConfigError, TransformError
from penstock.protocols import LoadSession, Move, Moved, Transform
from penstock.records import dataclass
from penstock.schema.types import to_arrow_schema
from penstock.values import Batch, Boundary, BoundaryRule, Cursor, Piece, Shape, Tally


@dataclass
class Counts:
    """What went by, and the digests of the rows at the edge."""

    read: int = 0
    deduplicated: int = 0
    written: int = 0
    reached: Cursor | None = None
    seen: Counter[str] = field(default_factory=Counter)
    edge: Counter[str] = field(default_factory=Counter)

    def reach(self, cursor: Cursor | None) -> None:
        if cursor is not None and (self.reached is None or cursor.value > self.reached.value):  # type: ignore[operator]
            self.reached = cursor
            self.edge.clear()

    def tally(self, shape: Shape) -> Tally:
        given = self.read - self.deduplicated
        boundary = Boundary(dict(self.edge), shape.boundary.types) if shape.boundary else None
        return Tally(self.read, self.deduplicated, given, given, self.written, reached=self.reached, boundary=boundary)


class SerialEngine:
    """Shapes rows (boundary, names, added columns, casts) and runs no transforms."""

    def move(self, job: Move) -> Moved:
        load: LoadSession | None = job.begin() if job.eager else None
        counts, pieces = Counts(), []
        try:
            for split in job.splits:
                batches = shaped(job.reader.read(split), job.shape, counts)
                first = next(batches, None)
                if first is None:
                    continue
                load = load or job.begin()
                pieces.append(load.write(split.id, 1, chain([first], batches)))
        except BaseException:
            if load is not None:
                load.abort()
            raise
        return Moved(load, tuple(pieces), counts.tally(job.shape))

    def relay(self, job: Move) -> Moved:
        load = job.begin()
        pieces = [load.relay(split.id, 1, job.reader.relay(split)) for split in job.splits]
        return Moved(load, tuple(pieces), tally_of(pieces))

    def load_transform(self, reference: str, base_dir: str, *, default_frame: str | None = None) -> Transform:
        raise TransformError(f"the serial engine runs no transforms: {reference} in {base_dir} ({default_frame})")

    def sql_transform(self, sql: str) -> Transform:
        raise TransformError(f"the serial engine runs no transforms: {sql[:40]}")


def tally_of(pieces: list[Piece]) -> Tally:
    rows = sum(piece.rows for piece in pieces)
    return Tally(rows, 0, rows, rows, rows)


def shaped(batches: Iterator[Batch], shape: Shape, counts: Counts) -> Iterator[Batch]:
    """The batches as the writer wants them; empty ones are left out."""
    import pyarrow as pa

    for batch in batches:
        counts.read += batch.rows.num_rows
        counts.reach(batch.reached)
        kept = batch if shape.boundary is None else without_known(batch, shape.boundary, counts)
        if kept.rows.num_rows == 0:
            continue
        rows = pa.Table.from_batches([kept.rows])
        rows = rows.rename_columns([shape.renames.get(name, name) for name in rows.schema.names])
        if shape.ingested_at is not None:
            name, moment = shape.ingested_at
            rows = rows.append_column(name, pa.array([moment] * rows.num_rows, pa.timestamp("us", "UTC")))
        if shape.order_column is not None and kept.cursors is not None:
            rows = rows.append_column(shape.order_column, kept.cursors)
        if shape.schema.fields:
            rows = rows.select(list(shape.schema.names)).cast(to_arrow_schema(shape.schema))
        counts.written += rows.num_rows
        yield Batch(batch.stream, rows.combine_chunks().to_batches()[0], kept.cursors, batch.reached)


def without_known(batch: Batch, rule: BoundaryRule, counts: Counts) -> Batch:
    """The batch without the rows delivered before; remembers those at the new edge."""
    import pyarrow as pa

    if batch.cursors is None:
        raise ConfigError(f"{batch.stream}: a boundary needs the rows' cursors, and the source gives none")
    kept = []
    for index, (row, cursor) in enumerate(zip(batch.rows.to_pylist(), batch.cursors.to_pylist(), strict=True)):
        digest = hashlib.blake2b(repr(sorted(row.items())).encode(), digest_size=16).hexdigest()
        at_edge = counts.reached is not None and cursor == counts.reached.value
        counts.edge[digest] += at_edge
        counts.seen[digest] += 1
        if counts.seen[digest] <= rule.known.rows.get(digest, 0):
            counts.deduplicated += 1
        else:
            kept.append(index)
    chosen = pa.array(kept, pa.int64())
    return Batch(batch.stream, batch.rows.take(chosen), batch.cursors.take(chosen), batch.reached)


def read_all(reader_batches: Iterator[Batch]) -> list[dict[str, object]]:
    """The rows of a read as dictionaries."""
    return [row for batch in reader_batches for row in batch.rows.to_pylist()]
