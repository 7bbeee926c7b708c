"""The steps of a plan as one system carries them out, inside the load's transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from penstock.connectors.sql.dialect import Dialect
from penstock.connectors.sql.link import SqlLink, Stamp
from penstock.connectors.sql.statements import (
    Winners,
    count_null_keys,
    count_repeated_keys,
    delete_matching,
    delete_window,
    insert_from,
    newest_rows,
    upsert_from,
    winning_rows,
)
from penstock.errors import LoadError, counted
from penstock.failpoints import failpoint
from penstock.records import dataclass
from penstock.values import (
    AddColumns,
    CreateTable,
    DeleteAll,
    DeleteMatching,
    DeleteWindow,
    EnsureKey,
    Field,
    Insert,
    LoadPlan,
    Swap,
    TableName,
    TableSchema,
    Upsert,
    WidenColumns,
    WriteStep,
)


@dataclass(frozen=True, slots=True)
class LoadTables:
    """The private tables of one load."""

    stage: TableName
    successor: TableName
    pieces: TableName

    @property
    def all(self) -> tuple[TableName, ...]:
        return (self.stage, self.successor, self.pieces)


@dataclass(frozen=True, slots=True)
class Count:
    """Rows that the load put into the target, and rows of the stage that lost to another of their key."""

    written: int
    deduplicated: int = 0


class StepRunner:
    """Carries out one plan over one link."""

    def __init__(self, dialect: Dialect, link: SqlLink, plan: LoadPlan, tables: LoadTables) -> None:
        self._dialect, self._link, self._plan, self._tables = dialect, link, plan, tables
        self._swaps = any(isinstance(s, Swap) for s in plan.steps)
        self._quarantine: set[str] | None = None
        self._schema = plan.schema.without(plan.order_column) if plan.order_column else plan.schema

    @property
    def stamp(self) -> Stamp | None:
        """The ingestion time, where the stream does not carry it already."""
        name = self._plan.ingested_at_column
        return None if name is None or name in self._plan.schema.names else Stamp(name, self._plan.started_at)

    @property
    def written_schema(self) -> TableSchema:
        """What a writer puts down: a stage keeps the hidden order column, a target never has it."""
        return self._plan.schema if self._plan.route == "staged" else self._schema

    @property
    def filled_table(self) -> TableName:
        return self._tables.successor if self._swaps else self._plan.target

    def create(self, table: TableName) -> None:
        schema = self._schema
        if self.stamp:
            schema = replace(schema, fields=(*schema.fields, Field(self.stamp.column, "timestamptz")))
        self._dialect.create_target(self._link, self._plan, table, schema)

    def before_rows(self) -> None:
        """The steps before Insert, on the direct route."""
        for step in self._plan.steps:
            if isinstance(step, Insert):
                break
            self._carry_out(step)
        self._ensure_stamp_column()
        if self.stamp:
            self._dialect.prepare_stamp(self._link, self._plan, self.filled_table)
        failpoint("load.target_created")

    def after_rows(self, given: int) -> Count:
        """The rest, and the rows themselves where they wait in a stage. `given` rows were written before."""
        count = Count(given)
        direct = self._plan.route == "direct"
        steps = list(self._plan.steps)
        if direct:
            steps = steps[next((i + 1 for i, s in enumerate(steps) if isinstance(s, Insert)), len(steps)) :]
        for step in self._ordered(steps):
            if isinstance(step, Insert):
                count = self._insert(given)
            elif isinstance(step, Upsert):
                count = self._upsert(step, given)
            elif not (isinstance(step, CreateTable) and self._plan.route == "shadow"):
                self._carry_out(step)
        self._make_latest_view()
        return count

    def _ordered(self, steps: Sequence[WriteStep]) -> list[WriteStep]:
        """Where an index hinders renaming, the key is made after the swap, in the same transaction."""
        if self._dialect.index_before_swap or not self._swaps:
            return list(steps)
        return [s for s in steps if not isinstance(s, EnsureKey)] + [s for s in steps if isinstance(s, EnsureKey)]

    def _carry_out(self, step: WriteStep) -> None:
        dialect, link, target = self._dialect, self._link, self._plan.target
        if isinstance(step, CreateTable):
            self.create(self.filled_table)
        elif isinstance(step, AddColumns):
            for field in step.fields:
                link.execute(dialect.add_column(target, field, self._plan.schema.system))
            failpoint("commit.schema_changed")
        elif isinstance(step, WidenColumns):
            for field in step.fields:
                dialect.widen_column(link, target, field, self._plan.schema.system)
            failpoint("commit.schema_changed")
        elif isinstance(step, EnsureKey):
            self._ensure_key(step)
        elif isinstance(step, Swap):
            self._swap()
        else:
            self._delete(step)

    def _delete(self, step: WriteStep) -> None:
        dialect, link, target = self._dialect, self._link, self._plan.target
        if isinstance(step, DeleteAll):
            wanted = [frozenset(s.key) for s in self._plan.steps if isinstance(s, EnsureKey)]
            there = dialect.unique_keys(link, target) if wanted else ()
            dialect.delete_all(link, target, before_index=any(key not in there for key in wanted))
        elif isinstance(step, DeleteMatching):
            self._refuse_null_keys(self._tables.stage, step.key)
            link.execute(delete_matching(dialect, target, self._tables.stage, step.key))
        elif isinstance(step, DeleteWindow):
            statement = delete_window(dialect, target, step, self._plan.schema.field(step.column))
            link.execute(statement.sql, statement.params)
        else:
            raise LoadError(f"{dialect.system} has no step {step.verb!r}", where=str(target), fault="internal")

    # -- rows --------------------------------------------------------------------------------------------------------

    def _insert(self, given: int) -> Count:
        if self._plan.route != "staged":
            return Count(given)
        self._ensure_stamp_column()
        statement = insert_from(self._dialect, self._plan.target, self._tables.stage, self._schema.names, self.stamp)
        written = self._link.execute(statement.sql, statement.params)
        self._expect(written, given)
        return Count(written)

    def _upsert(self, step: Upsert, given: int) -> Count:
        dialect, link, plan, stage = self._dialect, self._link, self._plan, self._tables.stage
        self._ensure_stamp_column()
        self._refuse_null_keys(stage, step.key)
        order = (plan.order_column,) if plan.order_column else tuple(n for n in step.order if n in plan.schema.names)
        source = winning_rows(dialect, stage, Winners(step.key, order, plan.dedup_needed))
        winners = int(link.query(f"SELECT count(*) FROM {source}")[0][0]) if plan.dedup_needed else given
        statement = upsert_from(dialect, plan.target, source, self._schema.names, step.key, self.stamp)
        reply = link.execute(statement.sql, statement.params)
        if not statement.sql.endswith("DO NOTHING"):
            self._expect(reply, winners)
        return Count(winners, given - winners)

    def _expect(self, written: int, given: int) -> None:
        if written != given:
            raise LoadError(
                f"the server wrote {counted(written, 'row')} into {self._plan.target} where {given} were staged",
                where=str(self._plan.target),
                fault="internal",
            )

    def _refuse_null_keys(self, table: TableName, key: Sequence[str]) -> None:
        if not any(self._schema.field(name).nullable for name in key):
            return  # the target's own NOT NULL refuses them
        missing = int(self._link.query(count_null_keys(self._dialect, table, key))[0][0])
        if missing:
            raise LoadError(
                f"{counted(missing, 'row')} without a value in the key ({', '.join(key)})",
                where=str(self._plan.target),
                fix="choose a write_key that is never NULL, or drop those rows in a transform",
            )

    # -- shape -------------------------------------------------------------------------------------------------------

    def _ensure_stamp_column(self) -> None:
        """A table made by somebody else gets the ingestion column when it is first loaded."""
        stamp, target = self.stamp, self._plan.target
        if stamp is None or self._swaps or self._plan.table is None or stamp.column in self._plan.table.names:
            return
        there = self._dialect.describe(self._link, [target])[target]
        if there is not None and stamp.column not in there.names:
            self._link.execute(self._dialect.add_column(target, Field(stamp.column, "timestamptz"), None))

    def _ensure_key(self, step: EnsureKey) -> None:
        dialect, link = self._dialect, self._link
        table = self.filled_table if dialect.index_before_swap else self._plan.target
        if frozenset(step.key) in dialect.unique_keys(link, table):
            return
        self._refuse_null_keys(table, step.key)
        repeated = int(link.query(count_repeated_keys(dialect, table, step.key))[0][0])
        if repeated:
            raise LoadError(
                f"{repeated} values of the key ({', '.join(step.key)}) occur more than once in {self._plan.target}",
                where=str(self._plan.target),
                fix="choose a write_key that is unique, remove the duplicates, or load anew with --full-refresh",
            )
        link.execute(dialect.create_unique_index(table, key_index_name(self._plan.load_id, step.key), step.key))
        failpoint("commit.schema_changed")

    def _swap(self) -> None:
        dialect, link, plan = self._dialect, self._link, self._plan
        if plan.target not in dialect.existing(link, [plan.target]):
            link.execute(dialect.rename(self._tables.successor, plan.target.name))
            return
        attached = [a for a in dialect.attachments(link, plan.target) if a != f"view {plan.latest_view}"]
        if attached and plan.replace_mode != "swap":
            self._refill(attached)
            return
        indices = dialect.indices(link, plan.target)
        if plan.latest_view:
            link.execute(f"DROP VIEW IF EXISTS {dialect.table(self._view(plan.latest_view))}")
        dialect.drop_target(link, plan)
        failpoint("commit.swapped_out")
        link.execute(dialect.rename(self._tables.successor, plan.target.name))
        failpoint("commit.swapped_in")
        for sql in indices:
            link.execute(sql)

    def _refill(self, attached: Sequence[str]) -> None:
        """In place of a swap, because of what hangs on the table."""
        dialect, link, target, successor = self._dialect, self._link, self._plan.target, self._tables.successor
        shapes = dialect.describe(link, [target, successor])
        old, new = shapes[target], shapes[successor]
        if old is None or new is None or set(old.names) != set(new.names):
            raise LoadError(
                f"the columns of {target} change, and these hang on it: {', '.join(attached)}",
                where=str(target),
                fix="drop them first, or set replace_mode: swap to replace the table regardless",
            )
        link.execute(f"DELETE FROM {dialect.table(target)}")
        statement = insert_from(dialect, target, successor, new.names, None)
        link.execute(statement.sql)
        link.execute(dialect.drop_table(successor))

    def _view(self, name: str) -> TableName:
        return TableName(self._plan.target.schema, name)

    def _make_latest_view(self) -> None:
        plan = self._plan
        if not (plan.latest_view and plan.view_key and plan.ingested_at_column):
            return
        shape = self._dialect.describe(self._link, [plan.target])[plan.target]
        if shape is None:
            raise LoadError(f"table {plan.target} vanished before its view was made", where=str(plan.target))
        select = newest_rows(self._dialect, plan.target, shape.names, plan.view_key, plan.ingested_at_column)
        self._dialect.create_view(self._link, self._view(plan.latest_view), select)

    def quarantine(self, schema: TableSchema) -> TableName:
        """`<target>__quarantine`, made or widened by columns so that it takes rows of that shape."""
        target = self._plan.target
        table = TableName(target.schema, quarantine_name(target.name))
        if self._quarantine is None:
            there = self._dialect.describe(self._link, [table])[table]
            loose = replace(schema, fields=tuple(replace(f, nullable=True) for f in schema.fields), key=())
            if there is None:
                self._link.execute(self._dialect.create_table(table, loose))
            self._quarantine = set(there.names if there else schema.names)
        for field in schema.fields:
            if field.name not in self._quarantine:
                self._link.execute(self._dialect.add_column(table, field, schema.system))
                self._quarantine.add(field.name)
        return table


def quarantine_name(target: str) -> str:
    """`<target>__quarantine`; where 63 bytes do not hold that, a digest stands for the end of the name."""
    name = f"{target}__quarantine"
    if len(name.encode()) <= 63:
        return name
    digest = hashlib.sha256(target.encode()).hexdigest()[:12]
    return f"{target.encode()[:37].decode(errors='ignore')}_{digest}__quarantine"


def key_index_name(load_id: str, key: Sequence[str]) -> str:
    """Of this load alone: a table that somebody renamed keeps its index, and the index its name."""
    digest = hashlib.sha256("\x1f".join((load_id, *key)).encode()).hexdigest()[:12]
    return f"penstock_key_{digest}"
