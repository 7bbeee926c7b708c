"""What happens to rows between reader and writer: transform, added columns, names, casts, digest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from penstock.engines.arrow.columns import with_added
from penstock.engines.arrow.types import fit_column, fit_rows
from penstock.errors import ContractError, TransformError, counted
from penstock.loading.digest import TableDigest
from penstock.records import dataclass

if TYPE_CHECKING:
    import pyarrow as pa

    from penstock.protocols import Transform
    from penstock.values import Shape

_BATCH_BYTES = 4 << 20
_MOST_QUARANTINED_BYTES = 32 << 20


@runtime_checkable
class StreamTransform(Protocol):
    """A transform of this engine: takes and gives streams of batches, keeping memory flat where its scope allows."""

    def stream(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]: ...


@dataclass(slots=True)
class Shaper:
    """Shapes the rows of one write call; used by one thread."""

    shape: Shape
    transform: Transform | None
    returned: int = 0
    digest: TableDigest | None = None
    quarantined: list[pa.RecordBatch] = field(default_factory=list)
    _quarantined_bytes: int = 0

    def shape_rows(self, rows: pa.RecordBatch, cursors: pa.Array | None) -> Iterator[pa.RecordBatch]:
        """One batch on its own: for row-wise transforms and for none."""
        rows = self._with_order(rows, cursors)
        if self.transform is None:
            yield from self._finish(rows)
            return
        for result in stream_through(self.transform, [rows], rows.schema):
            yield from self._finish(result)

    def shape_table(self, batches: Iterable[tuple[pa.RecordBatch, pa.Array | None]]) -> Iterator[pa.RecordBatch]:
        """All batches together: for whole-table transforms."""
        assert self.transform is not None
        ordered = (self._with_order(rows, cursors) for rows, cursors in batches)
        first = next(ordered, None)
        if first is None:
            return
        for result in stream_through(self.transform, _chained(first, ordered), first.schema):
            yield from self._finish(result)

    def _finish(self, rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        position = self.returned
        self.returned += rows.num_rows
        rows = self._with_order(with_added(rows, self.shape), None)
        if not self.shape.schema.fields:
            yield from cut(rows)  # an open schema: each piece tells its own
            return
        fitted = fit_rows(
            rows, self.shape.schema, quarantine=self.shape.on_bad_value == "quarantine", position=position
        )
        if fitted.rejected is not None:
            self._keep_aside(fitted.rejected)
        if fitted.rows.num_rows and self.shape.digest:
            self._add_digest(fitted.rows)
        yield from cut(fitted.rows)

    def _with_order(self, rows: pa.RecordBatch, cursors: pa.Array | None) -> pa.RecordBatch:
        """The batch's cursors as a column; NULLs where a transform left the column out: then position decides."""
        import pyarrow as pa

        name = self.shape.order_column
        if name is None or name in rows.schema.names:
            return rows
        if cursors is None:
            cursors = pa.nulls(rows.num_rows)
        if self.shape.schema.fields:
            cursors = fit_column(cursors, self.shape.schema.field(name))
        return rows.append_column(name, cursors)

    def set_aside(self, rejected: pa.RecordBatch) -> None:
        """Rows that their source could not read: they go round the transform."""
        self.returned += rejected.num_rows
        self._keep_aside(rejected)

    def _keep_aside(self, rejected: pa.RecordBatch) -> None:
        self.quarantined.append(rejected)
        self._quarantined_bytes += rejected.nbytes
        if self._quarantined_bytes > _MOST_QUARANTINED_BYTES:
            rows = sum(batch.num_rows for batch in self.quarantined)
            raise ContractError(
                f"{counted(rows, 'row')} of the load do not fit the table: too many to set aside",
                fix="correct the column types under `columns:` or in a transform; quarantine is for exceptions",
            )

    def _add_digest(self, rows: pa.RecordBatch) -> None:
        if self.digest is None:
            self.digest = TableDigest()
        self.digest.add(_without_hidden(rows, self.shape))


def stream_through(
    transform: Transform, batches: Iterable[pa.RecordBatch], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The batches that a transform makes of these; foreign transforms are given and may return anything Arrow."""
    import pyarrow as pa

    if isinstance(transform, StreamTransform):
        yield from transform.stream(batches, schema)
        return
    result = transform.apply(pa.Table.from_batches(batches, schema))
    if not hasattr(result, "__arrow_c_stream__"):
        raise TransformError(
            f"the transform returned {type(result).__name__}", fix="return a table that has an Arrow stream"
        )
    yield from pa.RecordBatchReader.from_stream(result)


def cut(rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Slices of at most 4 MB, so that no queue item grows with what a transform returns; no empty ones."""
    if not rows.num_rows:
        return
    step = max(1, rows.num_rows * _BATCH_BYTES // max(rows.nbytes, 1))
    for start in range(0, rows.num_rows, step):
        yield rows.slice(start, step)


def _chained(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _without_hidden(rows: pa.RecordBatch, shape: Shape) -> pa.RecordBatch:
    """The digest speaks of what stays in the table: neither the order column nor the time of this load."""
    hidden = {shape.order_column, shape.ingested_at[0] if shape.ingested_at else None}
    names = [name for name in rows.schema.names if name not in hidden]
    return rows.select(names)
