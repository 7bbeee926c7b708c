"""Rows at the edge of the last read: read again, recognised by content, and left out."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.errors import ConfigError, ExtractionError
from penstock.loading.digest import row_digests
from penstock.values import Batch, BoundaryRule, Cursor

if TYPE_CHECKING:
    import pyarrow as pa


class BoundaryFilter:
    """Drops rows delivered before and collects the digests of the rows at the new edge; shared by a move's readers."""

    def __init__(self, rule: BoundaryRule) -> None:
        self._rule = rule
        self._left = Counter(rule.known)
        self._kept: Counter[str] = Counter()
        self._without_cursor: Counter[str] = Counter()
        self._highest: pa.Scalar | None = None
        self._guard = threading.Lock()

    def collected(self) -> dict[str, int]:
        """Digest -> rows of the new edge: what the ledger keeps for the next read."""
        return dict(self._kept + self._without_cursor)

    def filter(self, batch: Batch) -> Batch:
        """The batch without the rows that were delivered before. Raises ConfigError past the rule's limit."""
        if batch.rows.num_rows == 0:
            return batch
        if batch.cursors is None:
            raise ExtractionError(
                f"stream {batch.stream!r} is read by boundary, but its batches carry no cursors", fault="internal"
            )
        with self._guard:
            keep = self._mask(batch.rows, batch.cursors)
        if keep is None:
            return batch
        return replace(batch, rows=batch.rows.filter(keep), cursors=batch.cursors.filter(keep))

    def _mask(self, rows: pa.RecordBatch, cursors: pa.Array) -> pa.BooleanArray | None:
        """Which rows to keep; None keeps all."""
        import pyarrow.compute as pc

        known = self._at_or_above(cursors, self._rule.lower) if self._left else None
        edge = self._edge(cursors)
        wanted = edge if known is None else pc.or_(edge, known)
        numbers = pc.indices_nonzero(wanted)
        if not len(numbers):
            return None
        digests = row_digests(rows.take(numbers))
        self._collect(digests, edge.take(numbers).to_pylist(), cursors.take(numbers).is_null().to_pylist())
        if known is None:
            return None
        return self._without_known(rows.num_rows, numbers, digests, known.take(numbers).to_pylist())

    def _collect(self, digests: list[str], at_edge: list[bool], without_cursor: list[bool]) -> None:
        for digest, edge, missing in zip(digests, at_edge, without_cursor, strict=True):
            if missing:
                self._without_cursor[digest] += 1
            elif edge:
                self._kept[digest] += 1
        if len(self._kept) + len(self._without_cursor) > self._rule.limit:
            raise ConfigError(
                f"more than {self._rule.limit} rows lie at the boundary of this read",
                fix="give the table a write_key, a finer iterate_column, a smaller lookback, or raise boundary_limit",
            )

    def _without_known(
        self, rows: int, numbers: pa.Array, digests: list[str], candidates: list[bool]
    ) -> pa.BooleanArray | None:
        import numpy as np
        import pyarrow as pa

        keep = np.ones(rows, np.bool_)
        for number, digest, candidate in zip(numbers.to_pylist(), digests, candidates, strict=True):
            if candidate and self._left[digest] > 0:
                self._left[digest] -= 1
                keep[number] = False
        return None if keep.all() else pa.array(keep)

    def _edge(self, cursors: pa.Array) -> pa.BooleanArray:
        """Which rows the next read will look at again; a new highest cursor forgets those below it."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self._rule.keep_from is not None:
            return self._at_or_above(cursors, self._rule.keep_from)
        highest = pc.max(cursors)
        if highest.is_valid and (self._highest is None or pc.less(self._highest, highest).as_py()):
            self._highest = highest
            self._kept.clear()
        if self._highest is None:
            return cursors.is_null()
        return pc.or_(pc.fill_null(pc.equal(cursors, self._highest), pa.scalar(value=False)), cursors.is_null())

    @staticmethod
    def _at_or_above(cursors: pa.Array, bound: Cursor | None) -> pa.BooleanArray:
        """Rows without a cursor count as above: they are handed out by every read."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if bound is None:
            return pc.or_(cursors.is_null(), cursors.is_valid())
        limit = pa.scalar(bound.value)
        if limit.type != cursors.type:
            limit = _scalar_for(bound, cursors.type)
        return pc.fill_null(pc.greater_equal(cursors, limit), pa.scalar(value=True))


def _scalar_for(bound: Cursor, kind: pa.DataType) -> pa.Scalar:
    """The bound in the type the source counts in; comparing decimals of unequal scale needs none."""
    import pyarrow as pa

    if pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        return pa.scalar(bound.value)
    return pa.scalar(bound.value, kind)
