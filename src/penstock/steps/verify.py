"""Verify: does the table hold what the ledger says and, with a key, what the source holds up to its bounds?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from penstock.errors import counted
from penstock.loading.verification import combine_digests
from penstock.protocols import Destination, Move, Source
from penstock.records import dataclass
from penstock.steps.comparison import STAMP, Book, Page
from penstock.steps.replicate import Parties, bound_transform, prepare
from penstock.steps.shaping import make_shape, own_columns, schema_signature
from penstock.steps.survey import Surveyed
from penstock.values import (
    START,
    Field,
    LedgerRow,
    ReadRequest,
    Shape,
    StreamName,
    TableSchema,
    Tally,
)

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
    book = Book(shape.schema.names, key)
    try:
        tally = _read_into(book, "target", _target_request(table), target_source, parties, shape.plain)
        ledger = _check_ledger(table, parties.destination, tally, shape)
        if not key:
            return _without_source(ledger)
        return _compare_with_source(table, parties, target_source, book, shape, ledger)
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
    if not source_key or table.step.transform is not None:
        return ()
    if writing.strategy == "delete_insert" and set(source_key) <= set(writing.key):
        return tuple(writing.key)
    return source_key if writing.strategy == "replace" else ()


def _without_source(ledger: Findings) -> Findings:
    """No key names one row of either side: what the ledger counts is all that can be said."""
    if ledger.rows_ledger is not None:
        note = "keyless: checked against the ledger only, not against the source"
        return replace(ledger, notes=(*ledger.notes, note))
    note = "nothing to compare it with: no key names one row, and the ledger does not count rows that were replaced"
    return Findings("unchecked", ledger.rows_target, notes=(note,))


def _target_request(table: Surveyed) -> ReadRequest:
    return ReadRequest(StreamName(str(table.step.writing.target)))


def _read_into(book: Book, side: str, request: ReadRequest, source: Source, parties: Parties, shape: Shape) -> Tally:
    with source.open([request]) as session:
        splits = tuple(session.splits)
        job = Move(source.reader(), splits, lambda: Page(book, side), shape, eager=True, stop=parties.stop)
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
        text = f"the ledger says {counted(written, 'row')}, the table has {tally.written}"
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


def _compare_with_source(
    table: Surveyed, parties: Parties, target_source: Source, book: Book, shape: _Shapes, ledger: Findings
) -> Findings:
    request = table.request
    if request is None:
        raise AssertionError("surveyed without a request")
    everything = replace(request, after=None, chain_rows=None, late_commits="all")
    source = _read_moved(book, "source", everything, table, parties, shape)
    if request.after is not None and request.after != START:
        _read_moved(book, "pending", request, table, parties, shape)
    book.join()
    if table.step.reading.method == "incremental" and book.has_extra():
        _tell_deleted_from_foreign(book, table, parties, target_source, shape)
    found = book.result()
    wrong = found.missing + found.extra + found.different
    return Findings(
        state="different" if wrong or ledger.state == "different" else "equal",
        rows_target=ledger.rows_target,
        rows_ledger=ledger.rows_ledger,
        rows_source=source.written,
        changed_since=found.changed,
        missing=found.missing,
        extra=max(found.extra, ledger.extra),
        different=found.different,
        sample=found.sample,
        notes=ledger.notes,
    )


def _tell_deleted_from_foreign(
    book: Book, table: Surveyed, parties: Parties, target_source: Source, shape: _Shapes
) -> None:
    """A row without our stamp came from somebody else; one with it was deleted at the source since."""
    stamp = table.step.adding.ingested_at_column
    if table.table is None or stamp not in table.table.names:
        return
    keys = tuple(f for f in shape.schema.fields if f.name in book.key)
    stamped = TableSchema((*keys, Field(STAMP, "timestamptz")))
    request = _target_request(table)
    _read_into(book, "stamps", request, target_source, parties, Shape(stamped, renames={stamp: STAMP}, digest=False))
    book.forgive_deleted("stamps")


def _read_moved(
    book: Book, side: str, request: ReadRequest, table: Surveyed, parties: Parties, shape: _Shapes
) -> Tally:
    with parties.source.open([request]) as session:
        job = Move(
            parties.source.reader(),
            tuple(session.splits),
            lambda: Page(book, side),
            shape.full,
            transform=bound_transform(table.step, parties),
            eager=True,
            stop=parties.stop,
        )
        return parties.engine.move(job).tally
