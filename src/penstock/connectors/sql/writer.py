"""Writers of one load in sessions of their own: a split's rows and its entry in the piece table commit together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from penstock.connectors.sql.dialect import Dialect
from penstock.connectors.sql.link import Connect, SqlLink, Stamp, Value, linked, transaction
from penstock.errors import LoadError, counted
from penstock.failpoints import failpoint
from penstock.protocols import Chunks
from penstock.records import dataclass
from penstock.values import Batch, Field, Into, Json, Piece, SplitId, TableName, TableSchema, WriteTicket

if TYPE_CHECKING:
    import pyarrow as pa

_PIECE_FIELDS = (
    Field("split_id", "string", nullable=False),
    Field("attempt", "int64", nullable=False),
    Field("rows", "int64", nullable=False),
    Field("size_bytes", "int64", nullable=False),
)
PIECE_COLUMNS = tuple(f.name for f in _PIECE_FIELDS)


@dataclass(slots=True)
class Feed:
    """The batches of one write as the link wants them: projected to the columns, measured on the way."""

    batches: Iterator[Batch]
    columns: Sequence[str]
    rows: int = 0
    size_bytes: int = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self.batches:
            rows = batch.rows
            if rows.schema.names != list(self.columns):
                rows = rows.select(list(self.columns))
            yield rows
            self.rows += rows.num_rows
            self.size_bytes += rows.nbytes
            failpoint("load.batch_written")


def copy_checked(link: SqlLink, table: TableName, schema: TableSchema, feed: Feed, stamp: Stamp | None = None) -> int:
    """Bulk load; the server's count must be ours."""
    count = link.copy_in(table, schema, cast("Iterable[pa.RecordBatch]", feed), stamp)
    if count != feed.rows:
        raise LoadError(
            f"the server took {counted(count, 'row')} of {feed.rows} sent", where=str(table), fault="internal"
        )
    return count


@dataclass(frozen=True, slots=True)
class PieceTable:
    """Which splits of a load are in; the first committed attempt of a split wins."""

    dialect: Dialect
    table: TableName

    def create(self, link: SqlLink) -> None:
        columns = [self.dialect.column(f, None) for f in _PIECE_FIELDS]
        columns.append(f"PRIMARY KEY ({self.dialect.quote('split_id')})")
        link.execute(f"CREATE TABLE {self.dialect.table(self.table)} ({', '.join(columns)})")

    def find(self, link: SqlLink, split: SplitId) -> Piece:
        """The committed piece of the split. Raises LoadError when it is gone: the load was overtaken."""
        columns, where = (
            self.dialect.columns(PIECE_COLUMNS),
            f"{self.dialect.quote('split_id')} = {self.dialect.mark(1)}",
        )
        rows = link.query(f"SELECT {columns} FROM {self.dialect.table(self.table)} WHERE {where}", [split])
        if not rows:
            raise LoadError("a piece was there and is gone: the load was overtaken", fault="transient")
        name, attempt, count, size_bytes = rows[0]
        return Piece(SplitId(name), int(attempt), int(count), int(size_bytes))

    def claim(self, link: SqlLink, split: SplitId, attempt: int) -> bool:
        """False when another attempt's piece is there; waits for one that is about to commit."""
        sql = f"INSERT INTO {self.dialect.table(self.table)} ({self.dialect.columns(PIECE_COLUMNS)})"
        return (
            link.execute(f"{sql} VALUES ({self.dialect.marks(4)}) ON CONFLICT DO NOTHING", [split, attempt, 0, 0]) == 1
        )

    def fill(self, link: SqlLink, piece: Piece) -> None:
        q, mark = self.dialect.quote, self.dialect.mark
        sets = f"{q('rows')} = {mark(1)}, {q('size_bytes')} = {mark(2)}"
        values: list[Value] = [piece.rows, piece.size_bytes, piece.split]
        sql = f"UPDATE {self.dialect.table(self.table)} SET {sets} WHERE {q('split_id')} = {mark(3)}"
        link.execute(sql, values)

    def counts(self, link: SqlLink) -> dict[str, int]:
        """Rows by split."""
        names = self.dialect.columns(("split_id", "rows"))
        rows = link.query(f"SELECT {names} FROM {self.dialect.table(self.table)}")
        return {str(split): int(count) for split, count in rows}


@dataclass(frozen=True, slots=True)
class WriterTables:
    """What a writer elsewhere needs to know of a load; travels in the ticket.

    `spare` is a private name that this load has no use for, and clears away like its others.
    """

    rows: TableName
    pieces: TableName
    spare: TableName
    schema: TableSchema

    def to_json(self) -> dict[str, Json]:
        fields: list[Json] = [[f.name, f.type, f.native] for f in self.schema.fields]
        return {
            "rows": [self.rows.schema, self.rows.name],
            "pieces": [self.pieces.schema, self.pieces.name],
            "spare": [self.spare.schema, self.spare.name],
            "fields": fields,
            "system": self.schema.system,
        }

    @classmethod
    def from_json(cls, work: Mapping[str, Json]) -> WriterTables:
        """Raises KeyError or TypeError for a ticket of another connector."""
        plain = cast("dict[str, Any]", dict(work))
        fields = tuple(Field(name, kind, native=native) for name, kind, native in plain["fields"])
        schema = TableSchema(fields, system=plain["system"])
        rows, pieces, spare = (TableName(*plain[role]) for role in ("rows", "pieces", "spare"))
        return cls(rows, pieces, spare, schema)


@dataclass(frozen=True, slots=True)
class SqlWriter:
    """A Writer for tables that a load made before and committed."""

    dialect: Dialect
    connect: Connect
    tables: WriterTables

    @classmethod
    def from_ticket(cls, dialect: Dialect, connect: Connect, ticket: WriteTicket) -> SqlWriter:
        return cls(dialect, connect, WriterTables.from_json(ticket.work))

    def write(self, split_id: SplitId, attempt: int, batches: Iterator[Batch], *, into: Into = "target") -> Piece:
        """Only rows for the target: rejected rows go through the load's own session."""
        if into != "target":
            raise LoadError("rejected rows are written by the load's session", fault="internal")
        pieces = PieceTable(self.dialect, self.tables.pieces)
        with linked(self.connect) as link, transaction(link):
            if not pieces.claim(link, split_id, attempt):
                link.rollback()
                return pieces.find(link, split_id)
            feed = Feed(batches, self.tables.schema.names)
            self.fill(link, feed)
            piece = Piece(split_id, attempt, feed.rows, feed.size_bytes)
            pieces.fill(link, piece)
            failpoint("load.piece_written")
            link.commit()
            failpoint("load.piece_committed")
            return piece

    def fill(self, link: SqlLink, feed: Feed) -> None:
        copy_checked(link, self.tables.rows, self.tables.schema, feed)

    def relay(self, split_id: SplitId, attempt: int, chunks: Chunks) -> Piece:
        raise LoadError(
            f"{self.dialect.system} takes no undecoded bytes: {chunks.encoding} of split {split_id}, try {attempt}",
            where=str(self.tables.rows),
            fault="internal",
        )
