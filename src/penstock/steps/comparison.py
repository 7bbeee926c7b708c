"""Two sides of a table compared row by row: keys and hashes in a DuckDB that spills."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from penstock.errors import LoadError, PenstockError
from penstock.protocols import Chunks
from penstock.records import dataclass
from penstock.values import Account, Batch, CommitReceipt, Into, Piece, SplitId, WriteTicket

if TYPE_CHECKING:
    import duckdb

SAMPLE_ROWS = 10
_MEMORY = "256MB"
STAMP = "_penstock_stamp"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rows by verdict; `sample` names keys, never other values."""

    changed: int
    missing: int
    extra: int
    different: int
    sample: tuple[str, ...]


@dataclass(slots=True)
class Book:
    """Keys and row hashes of each side, in DuckDB, which spills: memory does not grow with the table."""

    names: tuple[str, ...]
    key: tuple[str, ...]
    _link: duckdb.DuckDBPyConnection = field(init=False)
    _spill: tempfile.TemporaryDirectory[str] = field(init=False)
    _sides: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        import duckdb

        self._spill = tempfile.TemporaryDirectory(prefix="penstock-verify-")
        settings = {"memory_limit": _MEMORY, "temp_directory": self._spill.name}
        self._link = duckdb.connect(":memory:", config=settings)

    def add(self, side: str, batches: Iterator[Batch]) -> int:
        """Keep key and hash of each row; without a key only the rows are counted."""
        rows = 0
        for batch in batches:
            rows += batch.rows.num_rows
            if self.key:
                self._insert(side, batch)
        return rows

    def _insert(self, side: str, batch: Batch) -> None:
        keys = ", ".join(_quote(c) for c in self.key)
        columns = ", ".join(_quote(c) for c in self.names)
        value = f"hash({columns}) AS _penstock_hash"
        if STAMP in batch.rows.schema.names:
            value = f"{_quote(STAMP)}::VARCHAR IS NOT NULL AS stamped"
        self._link.register("arrived", _as_table(batch))
        select = f"SELECT {keys}, {value} FROM arrived"
        verb = f"INSERT INTO {_quote(side)}" if side in self._sides else f"CREATE TABLE {_quote(side)} AS"
        self._link.execute(f"{verb} {select}")
        self._link.unregister("arrived")
        self._sides.add(side)

    def join(self) -> None:
        """Give each key that differs a verdict; keys in `pending` have changed since the ledger's bounds."""
        for side in ("target", "source", "pending"):
            if side not in self._sides:
                self._create_empty(side)
        either = [f"coalesce(t.{_quote(c)}, s.{_quote(c)})" for c in self.key]
        named = ", ".join(f"{e} AS {_quote(c)}" for e, c in zip(either, self.key, strict=True))
        pending = " AND ".join(f"p.{_quote(c)} IS NOT DISTINCT FROM {e}" for c, e in zip(self.key, either, strict=True))
        self._link.execute(
            f"""CREATE TABLE verdicts AS SELECT {named}, CASE
                WHEN EXISTS (SELECT 1 FROM pending p WHERE {pending}) THEN 'changed'
                WHEN s._penstock_hash IS NULL THEN 'extra'
                WHEN t._penstock_hash IS NULL THEN 'missing'
                ELSE 'different' END AS verdict
            FROM target t FULL OUTER JOIN source s ON {self._same_key("t", "s")}
            WHERE t._penstock_hash IS DISTINCT FROM s._penstock_hash"""
        )

    def has_extra(self) -> bool:
        return bool(self._link.execute("SELECT 1 FROM verdicts WHERE verdict = 'extra' LIMIT 1").fetchall())

    def forgive_deleted(self, side: str) -> None:
        """Rows that a load of ours brought, as the stamps of `side` say, and that the source lost: changed since."""
        if side in self._sides:
            self._link.execute(
                f"""UPDATE verdicts v SET verdict = 'changed' WHERE verdict = 'extra' AND EXISTS
                (SELECT 1 FROM {_quote(side)} b WHERE b.stamped AND {self._same_key("b", "v")})"""
            )

    def result(self) -> Comparison:
        counts = dict(self._link.execute("SELECT verdict, count(*) FROM verdicts GROUP BY verdict").fetchall())
        keys = ", ".join(f"{_quote(c)}::VARCHAR" for c in self.key)
        sample = self._link.execute(
            f"""SELECT verdict, concat_ws(', ', {keys}) AS key FROM verdicts
            WHERE verdict <> 'changed' ORDER BY verdict, key LIMIT ?""",
            [SAMPLE_ROWS],
        ).fetchall()
        return Comparison(
            changed=counts.get("changed", 0),
            missing=counts.get("missing", 0),
            extra=counts.get("extra", 0),
            different=counts.get("different", 0),
            sample=tuple(f"{verdict}: ({', '.join(self.key)}) = ({key})" for verdict, key in sample),
        )

    def _same_key(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{_quote(c)} IS NOT DISTINCT FROM {right}.{_quote(c)}" for c in self.key)

    def _create_empty(self, side: str) -> None:
        like = next((s for s in ("target", "source") if s in self._sides), None)
        if like is None:
            columns = ", ".join(f"{_quote(c)} VARCHAR" for c in self.key)
            self._link.execute(f"CREATE TABLE {_quote(side)} ({columns}, _penstock_hash UBIGINT)")
        else:
            self._link.execute(f"CREATE TABLE {_quote(side)} AS SELECT * FROM {_quote(like)} LIMIT 0")
        self._sides.add(side)

    def close(self) -> None:
        self._link.close()
        self._spill.cleanup()


def _as_table(batch: Batch) -> object:
    import pyarrow as pa

    return pa.Table.from_batches([batch.rows])


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(slots=True)
class Page:
    """A load session that only notes what would be written: reading for verification takes the load's own path."""

    book: Book
    side: str
    ticket: WriteTicket | None = None

    def write(self, split_id: SplitId, attempt: int, batches: Iterator[Batch], *, into: Into = "target") -> Piece:
        if into != "target":
            raise LoadError("rows that would be quarantined cannot be verified", fault="data")
        return Piece(split_id, attempt, self.book.add(self.side, batches))

    def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece:
        raise PenstockError(
            f"split {split_id}, attempt {attempt}: verification decodes rows, {chunks.encoding} is bytes"
        )

    def commit(self, pieces: Sequence[Piece], account: Account) -> CommitReceipt:
        raise PenstockError(f"a verification commits nothing: {len(pieces)} pieces up to {account.position}")

    def abort(self) -> None:
        """Nothing was begun."""
