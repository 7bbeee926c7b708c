"""Documents without a schema: each batch looks like its documents, and the load's columns are known at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import reduce

from penstock.errors import ExtractionError
from penstock.protocols import Chunks
from penstock.records import dataclass
from penstock.values import (
    Ability,
    AddColumns,
    Batch,
    Bounds,
    CreateTable,
    Cursor,
    Field,
    Insert,
    Json,
    LoadPlan,
    Piece,
    ReadRequest,
    Split,
    SplitId,
    StreamName,
    StreamSpec,
    TableSchema,
    WidenColumns,
    WriteStep,
)

DOCUMENTS = StreamName("documents")
WIDER = {
    frozenset({"int64", "float64"}): "float64",
    frozenset({"date32", "timestamp"}): "timestamp",
}


@dataclass
class DocumentSource:
    """`documents` in splits of `split_size`; a batch holds one document, typed by itself."""

    documents: list[dict[str, object]] = field(default_factory=list)
    stream: StreamName = DOCUMENTS
    split_size: int = 2
    identity: str = "documents"
    abilities: frozenset[Ability] = frozenset({"open_schema", "splits"})

    def check(self) -> None:
        """The documents are in memory."""

    def streams(self, like: Sequence[str] | None = None) -> Iterable[StreamSpec]:
        return [StreamSpec(self.stream, None, ordinary_table=False)] if like is None or self.stream in like else []

    def probe(self, requests: Sequence[ReadRequest]) -> Sequence[Bounds]:
        return [Bounds(rows=len(self.documents)) for _ in requests]

    def open(self, requests: Sequence[ReadRequest]) -> DocumentSession:
        shares = range(0, len(self.documents), self.split_size)
        splits = tuple(self._split(start) for start in shares)
        return DocumentSession({request.stream: Bounds(rows=len(self.documents)) for request in requests}, splits)

    def _split(self, start: int) -> Split:
        share: list[Json] = [dict(d) for d in self.documents[start : start + self.split_size]]  # type: ignore[arg-type]
        return Split(SplitId(f"from-{start}"), self.stream, TableSchema(()), {"documents": share})

    def reader(self) -> DocumentReader:
        return DocumentReader()


@dataclass
class DocumentSession:
    """Nothing stays open, nothing is acknowledged."""

    bounds: Mapping[StreamName, Bounds]
    splits: tuple[Split, ...]

    def acknowledge(self, upto: Mapping[StreamName, Cursor]) -> None:
        """Documents are not consumed."""

    def __enter__(self) -> DocumentSession:
        return self

    def __exit__(self, *exc: object) -> None:
        return None


@dataclass(frozen=True)
class DocumentReader:
    """Types each document by itself."""

    def read(self, split: Split) -> Iterator[Batch]:
        import pyarrow as pa

        documents = split.work["documents"]
        for document in documents if isinstance(documents, list) else ():
            yield Batch(split.stream, pa.RecordBatch.from_pylist([document]))

    def relay(self, split: Split) -> Chunks:
        raise ExtractionError(f"{split.stream}: documents have no encoding to relay")


def unify(schemas: Iterable[TableSchema]) -> TableSchema:
    """The narrowest columns that hold all of them; what cannot be widened becomes text."""
    return reduce(_unify_two, schemas, TableSchema(()))


def _unify_two(left: TableSchema, right: TableSchema) -> TableSchema:
    columns = {column.name: column for column in left.fields}
    for column in right.fields:
        known = columns.get(column.name, column)
        columns[column.name] = replace(known, type=_wider(known.type, column.type))
    return replace(left, fields=tuple(columns.values()))


def _wider(one: str, other: str) -> str:
    if other in (one, "null"):
        return one
    if one == "null":
        return other
    return WIDER.get(frozenset({one, other}), "string")


def final_plan(plan: LoadPlan, pieces: Sequence[Piece]) -> LoadPlan:
    """The plan made again at the end of reading: the same load, with the columns its pieces turned out to have."""
    incoming = unify(piece.schema for piece in pieces if piece.schema is not None)
    if plan.table is None:
        return replace(plan, schema=incoming, steps=(CreateTable(), Insert()))
    wanted = unify([plan.table, incoming])
    return replace(plan, schema=incoming, steps=(*_changes(plan.table, wanted), Insert()))


def _changes(table: TableSchema, wanted: TableSchema) -> list[WriteStep]:
    added = tuple(column for column in wanted.fields if column.name not in table.names)
    widened = tuple(column for column in wanted.fields if _is_wider(column, table))
    steps: list[WriteStep] = [AddColumns(added)] if added else []
    return [*steps, WidenColumns(widened)] if widened else steps


def _is_wider(column: Field, table: TableSchema) -> bool:
    return column.name in table.names and table.field(column.name).type != column.type
