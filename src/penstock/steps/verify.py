"""Verify: does the table hold what the ledger says and, with a key, what the source holds up to its bounds?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from penstock.errors import LoadError, PenstockError
from penstock.loading.verification import combine_digests
from penstock.protocols import Chunks, Destination, Move, Source
from penstock.steps.replicate import Parties, bound_transform, prepare
from penstock.steps.shaping import make_shape, own_columns, schema_signature
from penstock.steps.survey import Surveyed
from penstock.values import (
    START,
    Account,
    Batch,
    CommitReceipt,
    Into,
    LedgerRow,
    Piece,
    ReadRequest,
    Shape,
    SplitId,
    StreamName,
    TableSchema,
    Tally,
    WriteTicket,
)

if TYPE_CHECKING:
    import duckdb

SAMPLE_ROWS = 10
_COUNTED = frozenset({"append", "replace"})


@dataclass(frozen=True, slots=True)
class Findings:
    """What a comparison found. `state` is unchecked where there is nothing to compare yet."""

    state: Literal["equal", "different", "unchecked"]
    rows_target: int = 0
    rows_ledger: int | None = None
    rows_source: int | None = None
    changed_since: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    sample: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def verify_table(table: Surveyed, parties: Parties, target_source: Source) -> Findings:
    """Read the target, and the source where a key allows it. `target_source` is the read side of the destination."""
    if table.head is None or table.table is None or table.head.load_id is None:
        return Findings("unchecked", notes=("never loaded: nothing to verify",))
    shape = _shape_of(table, parties)
    key = _comparable_key(table, shape.source_key)
    book = _Book(shape.schema.names, key)
    try:
        tally = _read_into(book, "target", _target_request(table), target_source, parties, shape.plain)
        ledger = _check_ledger(table, parties.destination, tally, shape)
        if not key:
            note = "keyless: checked against the ledger only, not against the source"
            return replace(ledger, notes=(*ledger.notes, note))
        return _compare_with_source(table, parties, book, shape, ledger)
    finally:
        book.close()


@dataclass(frozen=True, slots=True)
class _Shapes:
    """The rows of both sides in one form: `plain` takes the target's own columns, `full` what the source hands out."""

    schema: TableSchema
    plain: Shape
    full: Shape
    source_key: tuple[str, ...]


def _shape_of(table: Surveyed, parties: Parties) -> _Shapes:
    if table.request is None:
        raise AssertionError("surveyed without a request")
    with parties.source.open([replace(table.request, after=None, chain_rows=None)]) as session:
        prepared = prepare(table, parties, session)
    shape = make_shape(table.step, prepared.shaping, parties.started_at, None)
    schema = own_columns(table.step, prepared.shaping)
    full = replace(shape, schema=schema, ingested_at=None, order_column=None)
    key = tuple(prepared.shaping.renames.get(c, c) for c in prepared.source_schema.key)
    return _Shapes(schema, Shape(schema=schema), full, key)


def _comparable_key(table: Surveyed, source_key: tuple[str, ...]) -> tuple[str, ...]:
    """What names one row on both sides; append keeps every version of a row, so nothing does."""
    writing = table.step.writing
    if writing.strategy in ("upsert", "merge"):
        return tuple(writing.key)
    return source_key if writing.strategy == "replace" and table.step.transform is None else ()


def _target_request(table: Surveyed) -> ReadRequest:
    return ReadRequest(StreamName(str(table.step.writing.target)))


def _read_into(book: _Book, side: str, request: ReadRequest, source: Source, parties: Parties, shape: Shape) -> Tally:
    with source.open([request]) as session:
        splits = tuple(session.splits)
        job = Move(source.reader(), splits, lambda: _Page(book, side), shape, eager=True, stop=parties.stop)
        return parties.engine.move(job).tally


def _check_ledger(table: Surveyed, destination: Destination, tally: Tally, shape: _Shapes) -> Findings:
    head = table.head
    if head is None:
        raise AssertionError("checked without a head")
    history = destination.ledger().history(table.step.writing.target, head.sequence)
    rows = [r for r in history if r.generation == head.generation]
    if not rows or any(r.strategy not in _COUNTED for r in rows):
        return Findings("equal", tally.written, notes=("a keyed table: the ledger knows loads, not rows",))
    if rows[0].strategy == "replace":
        rows = rows[:1]
    written = sum(r.rows_written for r in rows)
    if written != tally.written:
        text = f"the ledger says {written} rows, the table has {tally.written}"
        return Findings("different", tally.written, written, extra=max(0, tally.written - written), notes=(text,))
    return _check_digest(rows, tally, Findings("equal", tally.written, written), shape)


def _check_digest(rows: Sequence[LedgerRow], tally: Tally, found: Findings, shape: _Shapes) -> Findings:
    digests = [r.digest for r in rows]
    if tally.digest is None or any(d is None for d in digests):
        return replace(found, notes=("counts agree; bytes were relayed undecoded, so there is no digest",))
    signature = schema_signature(shape.schema)
    plain = [d.partition("|") for d in digests if d]
    if any(sign != signature for sign, _, _ in plain):
        return replace(found, notes=("counts agree; the columns changed since, so digests cannot be compared",))
    combined = combine_digests([digest for _, _, digest in plain])
    if combined is None or combined.partition(":")[0] != tally.digest.partition(":")[0]:
        return replace(found, notes=("counts agree; the digests are of another version and cannot be compared",))
    if combined != tally.digest:
        return replace(found, state="different", notes=("counts agree, the digest of the values does not",))
    return found


def _compare_with_source(table: Surveyed, parties: Parties, book: _Book, shape: _Shapes, ledger: Findings) -> Findings:
    request = table.request
    if request is None:
        raise AssertionError("surveyed without a request")
    everything = replace(request, after=None, chain_rows=None, late_commits="all")
    source = _read_moved(book, "source", everything, table, parties, shape)
    if request.after is not None and request.after != START:
        _read_moved(book, "pending", request, table, parties, shape)
    found = book.compare(incremental=table.step.reading.method == "incremental")
    wrong = found.missing + found.extra + found.different
    state: Literal["equal", "different"] = "different" if wrong or ledger.state == "different" else "equal"
    return replace(
        found,
        state=state,
        rows_target=ledger.rows_target,
        rows_ledger=ledger.rows_ledger,
        rows_source=source.written,
        extra=max(found.extra, ledger.extra),
        notes=ledger.notes,
    )


def _read_moved(
    book: _Book, side: str, request: ReadRequest, table: Surveyed, parties: Parties, shape: _Shapes
) -> Tally:
    with parties.source.open([request]) as session:
        job = Move(
            parties.source.reader(),
            tuple(session.splits),
            lambda: _Page(book, side),
            shape.full,
            transform=bound_transform(table.step, parties),
            eager=True,
            stop=parties.stop,
        )
        return parties.engine.move(job).tally


@dataclass(slots=True)
class _Book:
    """Keys and row hashes of each side, in DuckDB, which spills: memory does not grow with the table."""

    names: tuple[str, ...]
    key: tuple[str, ...]
    _link: duckdb.DuckDBPyConnection = field(init=False)
    _sides: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        import duckdb

        self._link = duckdb.connect(":memory:")

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
        self._link.register("arrived", _as_table(batch))
        select = f"SELECT {keys}, hash({columns}) AS _penstock_hash FROM arrived"
        verb = f"INSERT INTO {_quote(side)}" if side in self._sides else f"CREATE TABLE {_quote(side)} AS"
        self._link.execute(f"{verb} {select}")
        self._link.unregister("arrived")
        self._sides.add(side)

    def compare(self, *, incremental: bool) -> Findings:
        """Rows by key; keys in `pending` have changed since the ledger's bounds and count as that."""
        for side in ("target", "source", "pending"):
            if side not in self._sides:
                self._create_empty(side)
        on = " AND ".join(f"t.{_quote(c)} IS NOT DISTINCT FROM s.{_quote(c)}" for c in self.key)
        pend = " AND ".join(
            f"p.{_quote(c)} IS NOT DISTINCT FROM coalesce(t.{_quote(c)}, s.{_quote(c)})" for c in self.key
        )
        keys = ", ".join(f"coalesce(t.{_quote(c)}, s.{_quote(c)})::VARCHAR" for c in self.key)
        gone = "'changed'" if incremental else "'extra'"
        self._link.execute(
            f"""CREATE TABLE verdicts AS SELECT concat_ws(', ', {keys}) AS key, CASE
                WHEN EXISTS (SELECT 1 FROM pending p WHERE {pend}) THEN 'changed'
                WHEN s._penstock_hash IS NULL THEN {gone}
                WHEN t._penstock_hash IS NULL THEN 'missing'
                ELSE 'different' END AS verdict
            FROM target t FULL OUTER JOIN source s ON {on}
            WHERE t._penstock_hash IS DISTINCT FROM s._penstock_hash"""
        )
        counts = dict(self._link.execute("SELECT verdict, count(*) FROM verdicts GROUP BY verdict").fetchall())
        sample = self._link.execute(
            "SELECT verdict, key FROM verdicts WHERE verdict <> 'changed' ORDER BY verdict, key LIMIT ?", [SAMPLE_ROWS]
        ).fetchall()
        return Findings(
            "equal",
            changed_since=counts.get("changed", 0),
            missing=counts.get("missing", 0),
            extra=counts.get("extra", 0),
            different=counts.get("different", 0),
            sample=tuple(f"{verdict}: ({', '.join(self.key)}) = ({key})" for verdict, key in sample),
        )

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


def _as_table(batch: Batch) -> object:
    import pyarrow as pa

    return pa.Table.from_batches([batch.rows])


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(slots=True)
class _Page:
    """A load session that only notes what would be written: reading for verification takes the load's own path."""

    book: _Book
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
