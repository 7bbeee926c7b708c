"""A subscriber that keeps totals per group: it needs the keys a load touched, in the load's own transaction."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import field

from penstock.records import dataclass
from penstock.testing.memory.store import MemoryStore
from penstock.values import Subscription, TableName


@dataclass
class GroupTotals:
    """Totals of `value` by `group` in `table`. Only groups whose rows changed are computed again."""

    store: MemoryStore
    table: TableName
    group: str
    value: str
    totals: dict[object, float] = field(default_factory=dict)
    computed: list[object] = field(default_factory=list)

    @property
    def subscription(self) -> Subscription:
        return Subscription("totals", (self.group,), TableName(self.table.schema, "_dirty_totals"))

    def catch_up(self) -> None:
        """Compute the dirty groups and forget exactly the dirty rows seen, together."""
        with self.store.changed:
            dirty = self.store.dirty_rows(self.subscription.dirty)
            fresh: dict[object, float] = defaultdict(float)
            for row in self.store.rows(self.table):
                fresh[row[self.group]] += float(str(row[self.value]))
            for group in {row[self.group]: None for row in dirty}:
                self.computed.append(group)
                self.totals.pop(group, None)
                if group in fresh:
                    self.totals[group] = fresh[group]
            self.store.forget_dirty(self.subscription.dirty, dirty)
