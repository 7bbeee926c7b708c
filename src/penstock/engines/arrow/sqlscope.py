"""Which rows a SELECT must see together."""

from __future__ import annotations

from functools import lru_cache

from penstock.errors import ConfigError
from penstock.protocols import Scope


def require_select(sql: str) -> None:
    """Raises ConfigError unless the text is one SELECT that DuckDB can parse."""
    import duckdb

    fix = "write one SELECT over the table `input`"
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        text = str(error).strip().splitlines()[0]
        raise ConfigError(f"transform_sql cannot be parsed: {text}", where="transform_sql", fix=fix) from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(statement.type.name for statement in statements) or "nothing"
        raise ConfigError(f"transform_sql must be one SELECT, found {kinds}", where="transform_sql", fix=fix)


def scope_of_sql(sql: str) -> Scope:
    """`rows` where each output row is made from one input row, `table` for whatever gathers, orders or is not known."""
    import sqlglot
    from sqlglot import exp

    try:
        tree = sqlglot.parse_one(sql, read="duckdb")
    except sqlglot.errors.SqlglotError:
        return "table"
    gathering = (
        exp.AggFunc,
        exp.Window,
        exp.Distinct,
        exp.Order,
        exp.Limit,
        exp.Offset,
        exp.Fetch,
        exp.Join,
        exp.Group,
        exp.Having,
        exp.Qualify,
        exp.SetOperation,
        exp.Subquery,
        exp.With,
        exp.TableSample,
        exp.Pivot,
        exp.Lateral,
    )
    tables = list(tree.find_all(exp.Table))
    if not isinstance(tree, exp.Select) or len(tables) != 1 or tree.find(*gathering) is not None:
        return "table"
    if tree.find(exp.Exists, exp.Subquery) is not None or len(list(tree.find_all(exp.Select))) > 1:
        return "table"
    called = {name.lower() for function in tree.find_all(exp.Func) for name in _names_of(function)}
    return "table" if called & _aggregates() else "rows"


def _names_of(function: object) -> list[str]:
    from sqlglot import exp

    if isinstance(function, exp.Anonymous):
        return [str(function.name)]
    return list(function.sql_names()) if isinstance(function, exp.Func) else []


@lru_cache(maxsize=1)
def _aggregates() -> frozenset[str]:
    """DuckDB's aggregate functions, so that one sqlglot does not know is no row-wise function."""
    import duckdb

    with duckdb.connect(":memory:") as connection:
        found = connection.execute(
            "select distinct function_name from duckdb_functions() where function_type = 'aggregate'"
        ).fetchall()
    return frozenset(str(name) for (name,) in found)
