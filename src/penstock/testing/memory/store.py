"""What a MemoryDestination keeps: tables, ledger and locks, published together and never in part."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from penstock.errors import FencedError
from penstock.records import dataclass
from penstock.values import Boundary, LedgerHead, LedgerRow, LoadId, TableName, TableSchema, utc_now

Row = dict[str, object]


@dataclass(frozen=True)
class State:
    """One state of the store that a reader may see; a commit replaces it by the next."""

    tables: Mapping[TableName, tuple[Row, ...]] = field(default_factory=dict)
    schemas: Mapping[TableName, TableSchema] = field(default_factory=dict)
    heads: Mapping[TableName, LedgerHead] = field(default_factory=dict)
    loads: tuple[LedgerRow, ...] = ()
    boundaries: Mapping[TableName, Boundary] = field(default_factory=dict)
    dirty: Mapping[TableName, tuple[Row, ...]] = field(default_factory=dict)
    quarantine: Mapping[TableName, tuple[Row, ...]] = field(default_factory=dict)


class MemoryStore:
    """The server, as it were: several destinations may look at one."""

    def __init__(self) -> None:
        self.state = State()
        self.holders: dict[TableName, str] = {}
        self.changed = threading.Condition()

    def rows(self, table: TableName) -> list[Row]:
        """What a reader sees now."""
        return [dict(row) for row in self.state.tables.get(table, ())]

    def dirty_rows(self, table: TableName) -> list[Row]:
        return [dict(row) for row in self.state.dirty.get(table, ())]

    def forget_dirty(self, table: TableName, seen: Sequence[Row]) -> None:
        """Delete exactly the rows a subscriber saw, each once."""
        with self.changed:
            left = list(self.state.dirty.get(table, ()))
            for row in seen:
                left.remove(row)
            self.state = replace(self.state, dirty={**self.state.dirty, table: tuple(left)})

    def lock(self, table: TableName, holder: str, wait_seconds: float) -> None:
        """Hold the target until `unlock`. Raises FencedError naming who holds it when the wait is over."""
        with self.changed:
            free = self.changed.wait_for(lambda: table not in self.holders, timeout=wait_seconds)
            if not free:
                raise FencedError(
                    f"table {table} is being loaded by {self.holders[table]!r}; waited {wait_seconds:g} s",
                    where=str(table),
                    fix="wait for that run to end, or raise lock_wait",
                )
            self.holders[table] = holder

    def unlock(self, table: TableName, holder: str) -> None:
        with self.changed:
            if self.holders.get(table) == holder:
                del self.holders[table]
                self.changed.notify_all()


class MemoryLedger:
    """The ledger of a MemoryStore."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def heads(self, tables: Sequence[TableName]) -> Mapping[TableName, LedgerHead]:
        found = self._store.state.heads
        return {table: found[table] for table in tables if table in found}

    def find(self, load: LoadId) -> LedgerRow | None:
        return next((row for row in self._store.state.loads if row.load_id == load), None)

    def history(self, table: TableName, limit: int) -> Sequence[LedgerRow]:
        rows = [row for row in self._store.state.loads if row.target == str(table)]
        return rows[::-1][:limit]

    def boundary(self, table: TableName) -> Boundary:
        return self._store.state.boundaries.get(table, Boundary())

    def set_head(self, table: TableName, head: LedgerHead, *, expected_epoch: int) -> None:
        with self._store.changed:
            state = self._store.state
            stored = state.heads[table].epoch if table in state.heads else 0
            if stored != expected_epoch:
                raise FencedError(f"the ledger of {table} is at epoch {stored}, not {expected_epoch}", where=str(table))
            written = replace(head, changed_at=utc_now())
            self._store.state = replace(state, heads={**state.heads, table: written})
