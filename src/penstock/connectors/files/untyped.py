"""Rows of a file on their way to types: all, or those without a cell that is no value of its column."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from penstock.connectors.files.fit import fit_column
from penstock.connectors.files.listing import FileRef
from penstock.connectors.files.read_jsonl import BadRowError, Lines, dump, to_column
from penstock.errors import ExtractionError
from penstock.records import dataclass
from penstock.schema.quarantine import QUARANTINE_SCHEMA
from penstock.schema.texts import BadCellError, bad_cells, from_text, to_json
from penstock.schema.types import to_arrow_schema, to_arrow_type
from penstock.values import Field, TableSchema

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """How one stream's files become rows. `inferred` columns, of types nobody named, take no cell they would change.

    With `set_aside`, rows with a cell that is no value of its column are set aside; the columns of `placing` say which
    rows are wanted, and must be readable all the same.
    """

    root: Path
    schema: TableSchema
    inferred: frozenset[str] = frozenset()
    batch_rows: int = 100_000
    batch_bytes: int = 4 << 20
    set_aside: bool = False
    placing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Aside:
    """Rows set aside, as quarantine takes them, and the columns that place them."""

    rows: pa.RecordBatch
    placing: pa.RecordBatch


class Untyped(Protocol):
    """Some rows of a file as they were found."""

    def __len__(self) -> int: ...
    def column(self, item: Field, *, strict: bool, start: int, size: int) -> pa.Array:
        """Some cells of a column, typed. Raises BadCellError for the first that is no such value."""
        ...

    def take(self, rows: Sequence[int]) -> Untyped: ...
    def place(self, row: int) -> int:
        """The line of a row, or its number where the file has no lines. Asked for in order."""
        ...

    def text(self, row: int) -> str:
        """The row as JSON."""
        ...


@dataclass(frozen=True, slots=True)
class UntypedBatch:
    """Cells by column: CSV as text, Parquet as its own types. `number` tells the place of a row of the batch."""

    ref: FileRef
    batch: pa.RecordBatch
    number: Callable[[int], int]

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def column(self, item: Field, *, strict: bool, start: int, size: int) -> pa.Array:
        import pyarrow as pa

        if item.name not in self.batch.schema.names:
            return pa.nulls(size, to_arrow_type(item.type))
        cells = self.batch.column(item.name).slice(start, size)
        return fit_column(cells, item.type, strict=strict, own=self.ref.own)

    def take(self, rows: Sequence[int]) -> UntypedBatch:
        import pyarrow as pa

        taken = self.batch.take(pa.array(rows, pa.int64()))
        return UntypedBatch(self.ref, taken, lambda row: self.number(rows[row]))

    def place(self, row: int) -> int:
        return self.number(row)

    def text(self, row: int) -> str:
        return to_json(self.batch.slice(row, 1).to_pylist()[0])


@dataclass(frozen=True, slots=True)
class UntypedLines:
    """JSON objects as they were parsed."""

    ref: FileRef
    lines: Lines

    def __len__(self) -> int:
        return len(self.lines.rows)

    def column(self, item: Field, *, strict: bool, start: int, size: int) -> pa.Array:
        values = [row.get(item.name) for row in self.lines.rows[start : start + size]]
        return to_column(values, item.type, strict=strict, own=self.ref.own)

    def take(self, rows: Sequence[int]) -> UntypedLines:
        lines = self.lines
        return UntypedLines(self.ref, Lines([lines.rows[i] for i in rows], [lines.numbers[i] for i in rows]))

    def place(self, row: int) -> int:
        return self.lines.numbers[row]

    def text(self, row: int) -> str:
        return dump(self.lines.rows[row])


def fit_rows(plan: ReadPlan, ref: FileRef, found: Untyped) -> Iterator[pa.RecordBatch | Aside]:
    """The rows in the plan's schema, then those set aside. Raises ExtractionError naming file, line and column."""
    try:
        fitted = _fit(plan, ref, found)
    except BadRowError as error:
        if not plan.set_aside:
            raise _misfit(plan, ref, found, error.index, error.column) from error
    else:
        yield fitted
        return
    wrong = _find_wrong(plan, ref, found)
    unplaced = next((row for row, item in wrong.items() if item.name in plan.placing), None)
    if unplaced is not None:
        raise _misfit(plan, ref, found, unplaced, wrong[unplaced])
    yield _fit(plan, ref, found.take([row for row in range(len(found)) if row not in wrong]))
    yield _set_aside(plan, ref, found, wrong)


def _fit(plan: ReadPlan, ref: FileRef, found: Untyped) -> pa.RecordBatch:
    import pyarrow as pa

    columns = []
    for item in plan.schema.fields:
        if item.name in ref.partition:
            columns.append(_constant(ref, item, len(found)))
            continue
        try:
            columns.append(found.column(item, strict=item.name in plan.inferred, start=0, size=len(found)))
        except BadCellError as error:
            raise BadRowError(error.index, item) from error
    return pa.RecordBatch.from_arrays(columns, names=list(plan.schema.names))


def _constant(ref: FileRef, item: Field, rows: int) -> pa.Array:
    import pyarrow as pa

    try:
        value = from_text(pa.array([ref.partition[item.name]], pa.string()), item.type)
    except BadCellError as error:
        raise ExtractionError(
            f"{ref.path}, its folder, column {item.name!r}: a value that is no {item.type}",
            where=ref.path,
            fix=f"rename the folder, or name a type that holds every value: columns: {{{item.name}: string}}",
        ) from error
    return pa.repeat(value[0], rows)


def _find_wrong(plan: ReadPlan, ref: FileRef, found: Untyped) -> Mapping[int, Field]:
    """Row -> its first column with a cell that is no such value; of those that place rows before all others."""
    wrong: dict[int, Field] = {}
    for item in sorted(plan.schema.without(*ref.partition).fields, key=lambda f: f.name not in plan.placing):

        def check(start: int, size: int, item: Field = item) -> object:
            return found.column(item, strict=item.name in plan.inferred, start=start, size=size)

        for row in bad_cells(len(found), check):
            wrong.setdefault(row, item)
    return dict(sorted(wrong.items()))


def _set_aside(plan: ReadPlan, ref: FileRef, found: Untyped, wrong: Mapping[int, Field]) -> Aside:
    import pyarrow as pa

    placed = replace(plan, schema=replace(plan.schema, fields=tuple(map(plan.schema.field, plan.placing))))
    bad = found.take(list(wrong))
    rules, places, texts = [], [], []
    for number, item in enumerate(wrong.values()):
        place = bad.place(number)
        rules.append(f"{item.name}: no {item.type} ({ref.path}, {_unit(ref)} {place})")
        places.append(place)
        texts.append(bad.text(number))
    arrow = to_arrow_schema(QUARANTINE_SCHEMA)
    return Aside(
        pa.RecordBatch.from_arrays([pa.array(rules), pa.array(places), pa.array(texts)], schema=arrow),
        _fit(placed, ref, bad),
    )


def _unit(ref: FileRef) -> str:
    return "row" if ref.format == "parquet" else "line"


def _misfit(plan: ReadPlan, ref: FileRef, found: Untyped, row: int, item: Field) -> ExtractionError:
    way_out = "correct it" if item.name in plan.placing else "correct it, set on_bad_value: quarantine"
    unit, place = _unit(ref), found.place(row)
    return ExtractionError(
        f"{ref.path}, {unit} {place}, column {item.name!r}: a value that is no {item.type}",
        where=f"{ref.path}:{place}" if unit == "line" else ref.path,
        fix=f"{way_out}, or name a type that holds every value: columns: {{{item.name}: string}}",
    )
