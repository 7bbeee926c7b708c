"""Rows at the edge of the last read: read again, recognised by content, and left out."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from itertools import compress
from typing import TYPE_CHECKING

from penstock.errors import ConfigError, ExtractionError, counted
from penstock.loading.digest import row_digests
from penstock.loading.recall import Recall
from penstock.values import Batch, Boundary, BoundaryRule, Cursor

if TYPE_CHECKING:
    import pyarrow as pa

_FLOAT_ERROR = Decimal("1e-6")  # relative, of a float32


class BoundaryFilter:
    """Drops rows delivered before and collects the digests of the rows at the new edge; shared by a move's readers."""

    def __init__(self, rule: BoundaryRule) -> None:
        self._rule = rule
        self._left = Counter(rule.known.rows)
        self._recall = Recall(rule.known.types, rule.types)
        self._in_doubt: set[str] = set()
        self._stand_ins: dict[str, str] = {}
        self._mistaken: set[str] = set()
        self._kept: Counter[str] = Counter()
        self._without_cursor: Counter[str] = Counter()
        self._highest: pa.Scalar | None = None
        self._guard = threading.Lock()

    def collected(self) -> Boundary:
        """The new edge: what the ledger keeps for the next read."""
        return Boundary(dict(self._kept + self._without_cursor), self._rule.types)

    def unrecognised(self) -> tuple[str, ...]:
        """Once all is read: changed columns that leave in doubt whether rows given on are such that were delivered.

        Where every delivered row was found again, none of the others can be one.
        """
        in_doubt = self._in_doubt if self._left.total() else set()
        return tuple(sorted(in_doubt | self._mistaken))

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
        import pyarrow as pa
        import pyarrow.compute as pc

        known = self._candidates(cursors) if self._left else None
        edge = self._edge(cursors)
        wanted = edge if known is None else pc.or_(edge, known)
        numbers = pc.indices_nonzero(wanted)
        if not len(numbers):
            return None
        looked_at = rows.take(numbers)
        digests = row_digests(looked_at)
        self._collect(digests, edge.take(numbers).to_pylist(), cursors.take(numbers).is_null().to_pylist())
        if known is None:
            return None
        candidates = known.take(numbers)
        delivered = self._find_known(looked_at.filter(candidates), list(compress(digests, candidates.to_pylist())))
        return _all_but(rows.num_rows, numbers.filter(candidates).filter(pa.array(delivered, pa.bool_())))

    def _candidates(self, cursors: pa.Array) -> pa.BooleanArray:
        """Rows that may be known. Once a column changed, the lower bound is the source's affair: the cursor itself may
        be of another type now; above the last cursor none is known.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self._recall.is_needed:
            return self._at_or_above(cursors, self._rule.lower)
        reached = self._rule.reached
        if reached is None or pa.types.is_floating(cursors.type):
            return pc.or_(cursors.is_null(), cursors.is_valid())
        if isinstance(reached.value, Decimal):  # it may have been a float, which is a little less or more
            reached = replace(reached, value=reached.value + abs(reached.value) * _FLOAT_ERROR)
        below = pc.less_equal(cursors, _scalar_for(reached, cursors.type))
        return pc.fill_null(below, pa.scalar(value=True))

    def _collect(self, digests: list[str], at_edge: list[bool], without_cursor: list[bool]) -> None:
        for digest, edge, missing in zip(digests, at_edge, without_cursor, strict=True):
            if missing:
                self._without_cursor[digest] += 1
            elif edge:
                self._kept[digest] += 1
        if len(self._kept) + len(self._without_cursor) > self._rule.limit:
            raise ConfigError(
                f"more than {counted(self._rule.limit, 'row')} lie at the boundary of this read",
                fix="give the table a write_key, a finer iterate_column, a smaller lookback, or raise boundary_limit",
            )

    def _find_known(self, rows: pa.RecordBatch, digests: list[str]) -> list[bool]:
        """Which rows were delivered before, each as often as it was."""
        if not self._recall.is_needed:
            return [self._strike_off(digest) for digest in digests]
        then = self._recall.recall(rows)
        delivered = [digest is not None and self._strike_off(digest) for digest in then.digests]
        for found, digest, now, doubt, added in zip(
            delivered, then.digests, digests, then.doubts, then.added, strict=True
        ):
            if found and added:
                self._stand_ins[str(digest)] = now
            elif not found:
                self._in_doubt |= doubt
                self._note_mistake(digest, now)
        return delivered

    def _strike_off(self, digest: str) -> bool:
        if self._left[digest] <= 0:
            return False
        self._left[digest] -= 1
        return True

    def _note_mistake(self, digest: str | None, now: str) -> None:
        """A row with a value in a new column was taken for a delivered one, and here is another that may be it."""
        if self._stand_ins.get(digest or "", now) != now:
            self._mistaken.update(self._recall.added)

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


def _all_but(rows: int, numbers: pa.Array) -> pa.BooleanArray | None:
    import numpy as np
    import pyarrow as pa

    if not len(numbers):
        return None
    keep = np.ones(rows, np.bool_)
    keep[numbers.to_numpy()] = False
    return pa.array(keep)


def _scalar_for(bound: Cursor, kind: pa.DataType) -> pa.Scalar:
    """The bound in the type the source counts in; comparing decimals of unequal scale needs none.

    Arrow compares floats and decimals by a product that is off in the last digit: a float is made of the bound first.
    """
    import pyarrow as pa

    if pa.types.is_floating(kind) and isinstance(bound.value, int | Decimal):
        return pa.scalar(float(bound.value), pa.float64())
    if pa.types.is_decimal(kind):
        return pa.scalar(bound.value)
    if pa.types.is_timestamp(kind) and bound.type == "date":
        return pa.scalar(bound.value).cast(kind)
    try:
        return pa.scalar(bound.value, kind)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the cursor is of type {kind} now, and the stored position is of type {bound.type}",
            fix="name the column's type under columns:, or run once with --full-refresh",
        ) from error
