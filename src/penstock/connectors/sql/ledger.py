"""The three ledger tables beside the data: their shape, and who reads and writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from penstock.connectors.sql.dialect import Dialect
from penstock.connectors.sql.link import Connect, SqlLink, Value, linked, transaction
from penstock.errors import FencedError, LoadError
from penstock.failpoints import failpoint
from penstock.records import dataclass
from penstock.values import (
    Account,
    Boundary,
    Cursor,
    Field,
    LedgerHead,
    LedgerRow,
    LoadId,
    LoadPlan,
    Position,
    TableName,
    utc_now,
)

FORMAT = 1
_CHUNK = 500  # parameters of one statement
# The types of the columns that digests were made of lie beside them as rows of no digest that count nothing: so a
# ledger of before needs no new column, and a version of before finds nothing it would take for a row.
_TYPES = "types "
_TYPES_HEAD = len(_TYPES) + 5  # and the part's number
_TYPES_PART = 1000  # ASCII characters; an index entry of PostgreSQL ends at 2,700 bytes

_POSITION = ("cursor_value", "resume_value", "chain_end", "horizon", "source_identity")
_HEAD = ("target", "stream", "owner", "generation", "epoch", "sequence", *_POSITION)
_HEAD_TAIL = ("state", "load_id", "holder", "format", "changed_at")
_ROW = ("load_id", "target", "generation", "sequence", "epoch", "run_id", "strategy", "route", *_POSITION)
_ROW_TAIL = (
    "rows_read",
    "rows_deduplicated_in",
    "rows_deduplicated_out",
    "rows_written",
    "rows_quarantined",
    "digest",
    "committed_at",
)
HEAD_COLUMNS = (*_HEAD, *_HEAD_TAIL)
ROW_COLUMNS = (*_ROW, *_ROW_TAIL)
_NUMBERS = frozenset(
    {"generation", "epoch", "sequence", "horizon", "format", "rows", *(c for c in ROW_COLUMNS if c.startswith("rows_"))}
)
_REQUIRED = frozenset({"stream", "owner", "generation", "epoch", "sequence", "state", "format", "rows"})


def target_key(table: TableName) -> str:
    """The table as the ledger names it; parts with a dot or a quote are quoted, so that no two tables share a key."""
    parts = [p for p in (table.schema, table.name) if p is not None]
    return ".".join('"' + p.replace('"', '""') + '"' if "." in p or '"' in p else p for p in parts)


@dataclass(frozen=True, slots=True)
class LedgerTables:
    """Statements on the ledger tables of one schema, all over a link that the caller holds."""

    dialect: Dialect
    schema: str | None

    @property
    def head(self) -> TableName:
        return TableName(self.schema, "_penstock_ledger")

    @property
    def loads(self) -> TableName:
        return TableName(self.schema, "_penstock_loads")

    @property
    def edge(self) -> TableName:
        return TableName(self.schema, "_penstock_boundary")

    def exist(self, link: SqlLink) -> bool:
        """By catalogue lookup: an unreadable ledger raises, it is never taken for a missing one."""
        return self.head in self.dialect.existing(link, [self.head])

    def create(self, link: SqlLink, holder: str, wait_seconds: float) -> None:
        """Make what is missing, in a transaction of its own; two runs at once take turns."""
        if len(self.dialect.existing(link, [self.head, self.loads, self.edge])) == 3:
            return
        other = link.lock("_penstock_ledger", holder, wait_seconds)
        if other is not None:
            raise FencedError(f"the ledger is being created by {other}", where=str(self.head), retryable=True)
        try:
            with transaction(link):
                self.dialect.create_schema(link, self.schema)
                self._create_missing(link)
                link.commit()
        finally:
            link.unlock("_penstock_ledger")

    def _create_missing(self, link: SqlLink) -> None:
        shapes = {
            self.head: (HEAD_COLUMNS, ("target",)),
            self.loads: (ROW_COLUMNS, ("load_id",)),
            self.edge: (("target", "digest", "rows"), ("target", "digest")),
        }
        there = self.dialect.existing(link, list(shapes))
        for table, (columns, key) in shapes.items():
            if table in there:
                continue
            required = _REQUIRED | set(key)
            fields = [Field(c, "int64" if c in _NUMBERS else "string", c not in required) for c in columns]
            rendered = [self.dialect.column(f, None) for f in fields]
            rendered.append(f"PRIMARY KEY ({self.dialect.columns(key)})")
            link.execute(f"CREATE TABLE {self.dialect.table(table)} ({', '.join(rendered)})")

    # -- heads -------------------------------------------------------------------------------------------------------

    def heads(self, link: SqlLink, keys: Sequence[str]) -> dict[str, LedgerHead]:
        found: dict[str, LedgerHead] = {}
        for start in range(0, len(keys), _CHUNK):
            share = keys[start : start + _CHUNK]
            sql = f"{self._select(self.head, HEAD_COLUMNS)} WHERE {self.dialect.quote('target')} IN "
            for row in link.query(f"{sql}({self.dialect.marks(len(share))})", list(share)):
                found[str(row[0])] = _head_of(row)
        return found

    def take(self, link: SqlLink, key: str) -> LedgerHead | None:
        """The head, held until the transaction ends."""
        sql = f"{self._select(self.head, HEAD_COLUMNS)} WHERE {self.dialect.quote('target')} = {self.dialect.mark(1)}"
        rows = link.query(sql + self.dialect.for_update, [key])
        return _head_of(rows[0]) if rows else None

    def write_head(self, link: SqlLink, key: str, head: LedgerHead, *, exists: bool) -> None:
        values = _head_values(key, head)
        if not exists:
            self._insert(link, self.head, values)
            return
        columns = [c for c in values if c != "target"]
        pairs = ", ".join(f"{self.dialect.quote(c)} = {self.dialect.mark(i)}" for i, c in enumerate(columns, 1))
        where = f"{self.dialect.quote('target')} = {self.dialect.mark(len(columns) + 1)}"
        sql = f"UPDATE {self.dialect.table(self.head)} SET {pairs} WHERE {where}"
        if link.execute(sql, [*(values[c] for c in columns), key]) != 1:
            raise LoadError("the ledger head vanished while it was written", where=key, fault="internal")

    # -- loads -------------------------------------------------------------------------------------------------------

    def find(self, link: SqlLink, load: LoadId) -> tuple[LedgerRow, int] | None:
        """The history row, and how many of its deduplicated rows were dropped at the destination."""
        where = f"WHERE {self.dialect.quote('load_id')} = {self.dialect.mark(1)}"
        rows = link.query(f"{self._select(self.loads, ROW_COLUMNS)} {where}", [load])
        return (_row_of(rows[0]), int(rows[0][ROW_COLUMNS.index("rows_deduplicated_out")])) if rows else None

    def history(self, link: SqlLink, key: str, limit: int) -> list[LedgerRow]:
        q = self.dialect.quote
        tail = f"WHERE {q('target')} = {self.dialect.mark(1)} ORDER BY {q('sequence')} DESC LIMIT {int(limit)}"
        return [_row_of(row) for row in link.query(f"{self._select(self.loads, ROW_COLUMNS)} {tail}", [key])]

    def write_load(self, link: SqlLink, plan: LoadPlan, outcome: Outcome) -> None:
        account = outcome.account
        values: dict[str, Value] = {
            "load_id": plan.load_id,
            "target": target_key(plan.target),
            "generation": plan.generation,
            "sequence": plan.sequence,
            "epoch": outcome.epoch,
            "run_id": plan.run_id,
            "strategy": plan.strategy,
            "route": plan.route,
            **_position_values(account.position),
            "rows_read": account.read,
            "rows_deduplicated_in": account.deduplicated_in,
            "rows_deduplicated_out": outcome.deduplicated_out,
            "rows_written": outcome.written,
            "rows_quarantined": account.quarantined,
            "digest": account.digest,
            "committed_at": outcome.committed_at.isoformat(),
        }
        self._insert(link, self.loads, values)

    # -- boundary ----------------------------------------------------------------------------------------------------

    def boundary(self, link: SqlLink, key: str) -> Boundary:
        where = f"WHERE {self.dialect.quote('target')} = {self.dialect.mark(1)}"
        rows = link.query(f"{self._select(self.edge, ('digest', 'rows'))} {where}", [key])
        parts = sorted(str(text) for text, _ in rows if str(text).startswith(_TYPES))
        digests = {str(text): int(count) for text, count in rows if not str(text).startswith(_TYPES)}
        types = json.loads("".join(part[_TYPES_HEAD:] for part in parts)) if parts else {}
        return Boundary(digests, types)

    def write_boundary(self, link: SqlLink, key: str, boundary: Boundary) -> None:
        table, quoted = self.dialect.table(self.edge), self.dialect.quote("target")
        link.execute(f"DELETE FROM {table} WHERE {quoted} = {self.dialect.mark(1)}", [key])
        rows = [*boundary.rows.items(), *((part, 0) for part in _types_in_parts(boundary.types))]
        columns = self.dialect.columns(("target", "digest", "rows"))
        for start in range(0, len(rows), _CHUNK // 3):
            share = rows[start : start + _CHUNK // 3]
            marks = ", ".join(f"({self.dialect.marks(3, 1 + 3 * i)})" for i in range(len(share)))
            values = [value for digest, count in share for value in (key, digest, count)]
            link.execute(f"INSERT INTO {table} ({columns}) VALUES {marks}", values)

    def _select(self, table: TableName, columns: Sequence[str]) -> str:
        return f"SELECT {self.dialect.columns(columns)} FROM {self.dialect.table(table)}"

    def _insert(self, link: SqlLink, table: TableName, values: Mapping[str, Value]) -> None:
        sql = f"INSERT INTO {self.dialect.table(table)} ({self.dialect.columns(values)})"
        link.execute(f"{sql} VALUES ({self.dialect.marks(len(values))})", list(values.values()))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a load came to, ready for the ledger."""

    account: Account
    epoch: int
    written: int
    deduplicated_out: int
    committed_at: datetime


@dataclass(frozen=True, slots=True)
class SqlLedger:
    """The ledger of one SQL destination. `look` opens a link that need not be able to write."""

    tables: LedgerTables
    connect: Connect
    look: Connect

    def heads(self, tables: Sequence[TableName]) -> Mapping[TableName, LedgerHead]:
        with linked(self.look) as link:
            if not tables or not self.tables.exist(link):
                return {}
            found = self.tables.heads(link, [target_key(t) for t in tables])
        return {table: found[target_key(table)] for table in tables if target_key(table) in found}

    def find(self, load: LoadId) -> LedgerRow | None:
        with linked(self.look) as link:
            found = self.tables.find(link, load) if self.tables.exist(link) else None
        return found[0] if found else None

    def history(self, table: TableName, limit: int) -> Sequence[LedgerRow]:
        with linked(self.look) as link:
            return self.tables.history(link, target_key(table), limit) if self.tables.exist(link) else []

    def boundary(self, table: TableName) -> Boundary:
        with linked(self.look) as link:
            return self.tables.boundary(link, target_key(table)) if self.tables.exist(link) else Boundary()

    def set_head(self, table: TableName, head: LedgerHead, *, expected_epoch: int) -> None:
        key = target_key(table)
        with linked(self.connect) as link:
            self.tables.create(link, head.holder, 60.0)
            with transaction(link):
                stored = self.tables.take(link, key)
                epoch = stored.epoch if stored else 0
                if epoch != expected_epoch:
                    raise FencedError(
                        f"the ledger of {key} is at epoch {epoch}, not {expected_epoch}: another run was there",
                        where=key,
                        retryable=True,
                    )
                self.tables.write_head(link, key, head, exists=stored is not None)
                failpoint("commit.ledger_written")
                link.commit()
            failpoint("commit.committed")


def _types_in_parts(types: Mapping[str, str]) -> list[str]:
    text = json.dumps(types, separators=(",", ":")) if types else ""
    starts = range(0, len(text), _TYPES_PART)
    return [f"{_TYPES}{i:04d} {text[start : start + _TYPES_PART]}" for i, start in enumerate(starts)]


def _position_values(position: Position) -> dict[str, Value]:
    def text(cursor: Cursor | None) -> str | None:
        return json.dumps(cursor.to_json(), ensure_ascii=False) if cursor else None

    return {
        "cursor_value": text(position.cursor),
        "resume_value": text(position.resume),
        "chain_end": text(position.chain_end),
        "horizon": position.horizon,
        "source_identity": position.identity,
    }


def _position_of(values: Mapping[str, Any]) -> Position:
    def cursor(name: str) -> Cursor | None:
        if values[name] is None:
            return None
        try:
            return Cursor.from_json(json.loads(values[name]))
        except (ValueError, KeyError, TypeError, ArithmeticError):
            raise LoadError(
                f"{name} in the ledger is not what Penstock writes there",
                where=f"_penstock_ledger, {values.get('target', 'a position')}",
                fix="restore the row from a backup, or drop the table and delete its row there, and run again",
            ) from None

    horizon = values["horizon"]
    return Position(
        cursor("cursor_value"),
        cursor("resume_value"),
        None if horizon is None else int(horizon),
        values["source_identity"],
        cursor("chain_end"),
    )


def _head_values(key: str, head: LedgerHead) -> dict[str, Value]:
    return {
        "target": key,
        "stream": head.stream,
        "owner": head.owner,
        "generation": head.generation,
        "epoch": head.epoch,
        "sequence": head.sequence,
        **_position_values(head.position),
        "state": head.state,
        "load_id": head.load_id,
        "holder": head.holder,
        "format": FORMAT,
        "changed_at": (head.changed_at or utc_now()).isoformat(),
    }


def _head_of(row: Sequence[Any]) -> LedgerHead:
    values = dict(zip(HEAD_COLUMNS, row, strict=True))
    _check_format(values)
    return LedgerHead(
        target=values["target"],
        stream=values["stream"],
        owner=values["owner"],
        generation=int(values["generation"]),
        epoch=int(values["epoch"]),
        sequence=int(values["sequence"]),
        position=_position_of(values),
        state=values["state"],
        load_id=LoadId(values["load_id"]) if values["load_id"] is not None else None,
        holder=values["holder"] or "",
        format=int(values["format"]),
        changed_at=datetime.fromisoformat(values["changed_at"]) if values["changed_at"] else None,
    )


def _check_format(values: Mapping[str, Any]) -> None:
    if int(values["format"]) > FORMAT:
        raise LoadError(
            f"the ledger of {values['target']} has format {values['format']}; this version reads up to {FORMAT}",
            where=str(values["target"]),
            fix="use the version of penstock that wrote it, or a newer one",
            fault="config",
        )


def _row_of(row: Sequence[Any]) -> LedgerRow:
    values = dict(zip(ROW_COLUMNS, row, strict=True))
    return LedgerRow(
        load_id=values["load_id"],
        target=values["target"],
        generation=int(values["generation"]),
        sequence=int(values["sequence"]),
        epoch=int(values["epoch"]),
        run_id=values["run_id"],
        strategy=values["strategy"],
        route=values["route"],
        position=_position_of(values),
        rows_read=int(values["rows_read"]),
        rows_deduplicated=int(values["rows_deduplicated_in"]) + int(values["rows_deduplicated_out"]),
        rows_written=int(values["rows_written"]),
        rows_quarantined=int(values["rows_quarantined"]),
        digest=cast("str | None", values["digest"]),
        committed_at=datetime.fromisoformat(values["committed_at"]),
    )
