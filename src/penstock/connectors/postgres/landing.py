"""Where Spark's JDBC writer puts the rows of one load: plain columns, which the server casts into the load's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from penstock.connectors.postgres.connect import address_of
from penstock.connectors.postgres.dialect import PostgresDialect, TargetColumn, own_wire, target_columns
from penstock.connectors.postgres.encode import EncodedColumn, checked_wire, takes
from penstock.connectors.postgres.identifiers import quote
from penstock.connectors.postgres.jdbc import login_properties, refuse_columns
from penstock.connectors.postgres.link import PostgresLink
from penstock.connectors.postgres.names import quote_table
from penstock.connectors.postgres.plain import Plain, plain_form
from penstock.connectors.sql.link import Connect, SqlLink, linked, transaction
from penstock.connectors.sql.writer import PieceTable, WriterTables
from penstock.errors import LoadError, counted
from penstock.failpoints import failpoint
from penstock.protocols import Landed
from penstock.records import dataclass
from penstock.schema.types import list_item
from penstock.values import Connection, Field, TableName, TableSchema, WriteTicket

if TYPE_CHECKING:
    import pyarrow as pa

_ABOUT = ("task", "attempt", "piece", "report")
_CHOSEN = "unnest($1::int8[], $2::int8[]) AS chosen (task, attempt)"


@dataclass(frozen=True, slots=True)
class PostgresJdbcDestination:
    """Loads whose rows come through the JVM's driver."""

    connection: Connection

    def require_writable(self, schema: TableSchema) -> None:
        refuse_columns([f for f in schema.fields if f.type == "interval" or list_item(f.type)])

    def landing(self, ticket: WriteTicket) -> PostgresLanding:
        tables = WriterTables.from_json(ticket.work)
        connect = partial(PostgresLink, self.connection, application="load")
        with linked(connect) as link:
            there = target_columns(link, tables.rows)
        where = f"{address_of(self.connection)}, {tables.rows}"
        return PostgresLanding(self.connection, tables, _columns(tables.schema, there, where), where)


@dataclass(frozen=True, slots=True)
class LandedColumn:
    """A column of the load's table, `target`, and the plain form of its values in the landing."""

    encoded: EncodedColumn
    plain: Plain
    target: TargetColumn


@dataclass(frozen=True, slots=True)
class PostgresLanding:
    """Implements Landing. Its table has a name that the load clears away, as it does its others."""

    connection: Connection
    tables: WriterTables
    columns: tuple[LandedColumn, ...]
    where: str

    @property
    def table(self) -> TableName:
        return self.tables.spare

    @property
    def schema(self) -> pa.Schema:
        import pyarrow as pa

        about = [(name, pa.string() if name == "report" else pa.int64()) for name in _ABOUT]
        return pa.schema([*about, *((f"c{at}", column.plain.arrow) for at, column in enumerate(self.columns))])

    def options(self, batch_rows: int) -> Mapping[str, str]:
        settings = {"timezone": "UTC", "statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
        return {
            **login_properties(self.connection, application="penstock writer", settings=settings),
            "dbtable": quote_table(self.table),
            "batchsize": str(batch_rows),
            "reWriteBatchedInserts": "true",
        }

    def encode(self, rows: pa.RecordBatch) -> Sequence[pa.Array]:
        for column in self.columns:  # what COPY would refuse is refused here
            checked_wire(column.encoded, rows, where=self.where)
        return [column.plain.encode(rows.column(column.encoded.name)) for column in self.columns]

    def create(self) -> None:
        about = ", ".join(f"{name} {'text' if name == 'report' else 'bigint'}" for name in _ABOUT)
        own = "".join(f", c{at} {column.plain.native}" for at, column in enumerate(self.columns))
        with linked(self._connect) as link:
            link.execute(
                f"CREATE UNLOGGED TABLE {quote_table(self.table)}"
                f" ({about}{own}, place bigint GENERATED ALWAYS AS IDENTITY)"
            )

    def reports(self) -> Sequence[tuple[int, int, str]]:
        sql = f"SELECT task, attempt, report FROM {quote_table(self.table)} WHERE report IS NOT NULL"
        with linked(self._connect) as link:
            return [(int(task), int(attempt), str(report)) for task, attempt, report in link.query(sql)]

    def adopt(self, chosen: Sequence[Landed]) -> None:
        pieces = PieceTable(PostgresDialect(), self.tables.pieces)
        keys: tuple[list[int], list[int]] = ([one.task for one in chosen], [one.attempt for one in chosen])
        with linked(self._connect) as link, transaction(link):
            self._refuse_uncounted(link, chosen, keys)
            self._refuse_changed(link)
            for one in chosen:
                for piece in one.pieces:
                    pieces.claim(link, piece.split, piece.attempt)
                    pieces.fill(link, piece)
            moved = self._insert(link, keys)
            expected = sum(piece.rows for one in chosen for piece in one.pieces)
            if moved != expected:
                raise LoadError(f"{expected} rows were to be adopted, {moved} were", where=self.where, fault="internal")
            failpoint("load.piece_written")
            link.commit()
            failpoint("load.piece_committed")

    @property
    def _connect(self) -> Connect:
        return partial(PostgresLink, self.connection, application="load")

    def _refuse_uncounted(self, link: SqlLink, chosen: Sequence[Landed], keys: tuple[list[int], list[int]]) -> None:
        sql = (
            f"SELECT task, piece, count(*) FROM {quote_table(self.table)} JOIN {_CHOSEN} USING (task, attempt)"
            " WHERE report IS NULL GROUP BY 1, 2"
        )
        found = {(int(task), int(piece)): int(count) for task, piece, count in _query(link, sql, keys)}
        told = {(one.task, at): piece.rows for one in chosen for at, piece in enumerate(one.pieces) if piece.rows}
        if found != told:
            raise LoadError(
                f"{counted(sum(told.values()), 'row')} were written through JDBC, {sum(found.values())} are there",
                where=self.where,
                fault="internal",
            )

    def _refuse_changed(self, link: SqlLink) -> None:
        """Texts of types that travel as text (inet, ranges, ...) must come out as they went in."""
        assert isinstance(link, PostgresLink)
        cast = {f"c{at}": column.target for at, column in enumerate(self.columns) if column.plain.is_cast}
        link.refuse_changed(self.table, cast)

    def _insert(self, link: SqlLink, keys: tuple[list[int], list[int]]) -> int:
        names = ", ".join(quote(column.encoded.name) for column in self.columns)
        values = ", ".join(
            column.plain.decoded(f"c{at}", column.target.native) for at, column in enumerate(self.columns)
        )
        sql = (
            f"INSERT INTO {quote_table(self.tables.rows)} ({names}) SELECT {values} FROM {quote_table(self.table)}"
            f" JOIN {_CHOSEN} USING (task, attempt) WHERE report IS NULL ORDER BY task, place"
        )
        assert isinstance(link, PostgresLink)
        return int(link.session.execute(sql, *keys).rpartition(" ")[2])


def _query(link: SqlLink, sql: str, keys: tuple[list[int], list[int]]) -> list[tuple[Any, ...]]:
    assert isinstance(link, PostgresLink)
    return link.session.query(sql, *keys)


def _columns(schema: TableSchema, there: Mapping[str, TargetColumn], where: str) -> tuple[LandedColumn, ...]:
    missing = [name for name in schema.names if name not in there]
    if missing:
        raise LoadError(
            f"the load's table has no column {', '.join(map(repr, missing))}", where=where, fault="transient"
        )
    return tuple(_column(field, there[field.name]) for field in schema.fields)


def _column(field: Field, target: TargetColumn) -> LandedColumn:
    if takes(field.type, target.wire):
        return LandedColumn(EncodedColumn(field.name, field.type, target.wire), plain_form(target.wire), target)
    own = own_wire(field)  # the server casts, as it does for COPY: see PostgresLink
    plain = plain_form(own)
    if not plain.is_readable:
        refuse_columns([field])
    return LandedColumn(EncodedColumn(field.name, field.type, own), plain.cast_by_server(), target)


__all__ = ["PostgresJdbcDestination", "PostgresLanding"]
