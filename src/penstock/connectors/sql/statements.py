"""The statements that bring a stage into its table; pure text over quoted names, values as parameters."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.connectors.sql.dialect import Dialect
from penstock.connectors.sql.link import Stamp, Value
from penstock.records import dataclass
from penstock.values import DeleteWindow, Field, TableName


@dataclass(frozen=True, slots=True)
class Statement:
    sql: str
    params: tuple[Value, ...] = ()


def insert_from(
    dialect: Dialect, target: TableName, stage: TableName, columns: Sequence[str], stamp: Stamp | None
) -> Statement:
    """INSERT .. SELECT of every row."""
    into, select, params = _into_and_select(dialect, columns, stamp)
    sql = f"INSERT INTO {dialect.table(target)} ({into}) SELECT {select} FROM {dialect.table(stage)}"
    return Statement(sql, params)


@dataclass(frozen=True, slots=True)
class Winners:
    """Which of several rows of one key counts: the last by `order`, then by position."""

    key: tuple[str, ...]
    order: tuple[str, ...] = ()
    needed: bool = True


def winning_rows(dialect: Dialect, stage: TableName, winners: Winners) -> str:
    """A FROM item with the winning rows of the stage."""
    if not winners.needed:
        return f"{dialect.table(stage)}{dialect.upsert_select_end}"
    order = [f"{dialect.position} DESC"]
    if winners.order:
        greatest = dialect.greatest([dialect.quote(name) for name in winners.order])
        order.insert(0, f"{greatest} DESC NULLS LAST")
    window = f"PARTITION BY {dialect.columns(winners.key)} ORDER BY {', '.join(order)}"
    rank = dialect.quote("_penstock_rank")
    if not dialect.subqueries_keep_names:
        ranked = f"SELECT {dialect.position}, ROW_NUMBER() OVER ({window}) AS {rank} FROM {dialect.table(stage)}"
        winning = f"SELECT {dialect.position} FROM ({ranked}) AS numbered WHERE {rank} = 1"
        return f"{dialect.table(stage)} WHERE {dialect.position} IN ({winning})"
    inner = f"SELECT *, ROW_NUMBER() OVER ({window}) AS {rank} FROM {dialect.table(stage)}"
    return f"(SELECT * FROM ({inner}) AS numbered WHERE {rank} = 1) AS winners"


def upsert_from(
    dialect: Dialect, target: TableName, source: str, columns: Sequence[str], key: Sequence[str], stamp: Stamp | None
) -> Statement:
    """INSERT .. SELECT .. ON CONFLICT; a table that is all key leaves its rows as they are."""
    into, select, params = _into_and_select(dialect, columns, stamp)
    rest = [name for name in (*columns, *([stamp.column] if stamp else ())) if name not in key]
    action = "DO NOTHING"
    if rest:
        pairs = ", ".join(f"{dialect.quote(name)} = excluded.{dialect.quote(name)}" for name in rest)
        action = f"DO UPDATE SET {pairs}"
    sql = (
        f"INSERT INTO {dialect.table(target)} ({into}) SELECT {select} FROM {source}"
        f" ON CONFLICT ({dialect.columns(key)}) {action}"
    )
    return Statement(sql, params)


def _into_and_select(
    dialect: Dialect, columns: Sequence[str], stamp: Stamp | None
) -> tuple[str, str, tuple[Value, ...]]:
    names = dialect.columns(columns)
    if stamp is None:
        return names, names, ()
    return f"{names}, {dialect.quote(stamp.column)}", f"{names}, {dialect.stamp_mark(1)}", (stamp.value,)


def delete_matching(dialect: Dialect, target: TableName, stage: TableName, key: Sequence[str]) -> str:
    """IN over a row of columns: one hashed pass, where a correlated EXISTS would scan the stage per row."""
    names = dialect.columns(key)
    left = names if len(key) == 1 else f"({names})"
    return f"DELETE FROM {dialect.table(target)} WHERE {left} IN (SELECT {names} FROM {dialect.table(stage)})"


def delete_window(dialect: Dialect, target: TableName, step: DeleteWindow, field: Field) -> Statement:
    column = dialect.quote(step.column)
    conditions: list[str] = []
    params: list[Value] = []
    for bound, sign in ((step.lower, ">="), (step.upper, "<" if step.upper_open else "<=")):
        if bound is not None:
            params.append(dialect.bound_value(bound, field))
            conditions.append(f"{column} {sign} {dialect.mark(len(params))}")
    # Unbounded on both sides is the whole table, rows without a cursor too: the read that follows brings them again.
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return Statement(f"DELETE FROM {dialect.table(target)}{where}", tuple(params))


def count_null_keys(dialect: Dialect, table: TableName, key: Sequence[str]) -> str:
    missing = " OR ".join(f"{dialect.quote(name)} IS NULL" for name in key)
    return f"SELECT count(*) FROM {dialect.table(table)} WHERE {missing}"


def count_repeated_keys(dialect: Dialect, table: TableName, key: Sequence[str]) -> str:
    names = dialect.columns(key)
    grouped = f"SELECT 1 FROM {dialect.table(table)} GROUP BY {names} HAVING count(*) > 1"
    return f"SELECT count(*) FROM ({grouped}) AS repeated"


def newest_rows(dialect: Dialect, table: TableName, columns: Sequence[str], key: str, newest_by: str) -> str:
    """The SELECT of `latest_view`: of every key the row that came in last."""
    names, rank = dialect.columns(columns), dialect.quote("_penstock_rank")
    window = f"PARTITION BY {dialect.quote(key)} ORDER BY {dialect.quote(newest_by)} DESC"
    inner = f"SELECT {names}, ROW_NUMBER() OVER ({window}) AS {rank} FROM {dialect.table(table)}"
    return f"SELECT {names} FROM ({inner}) AS numbered WHERE {rank} = 1"
