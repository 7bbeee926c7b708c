"""Custom queries and views: by cursor, with the lower end inside and the upper end fixed."""

from __future__ import annotations

import pytest

from penstock.connectors.postgres.targets import clean_query
from penstock.errors import ConfigError
from penstock.values import Cursor, CursorSpec, SplitWish

from .conftest import Database

pytestmark = pytest.mark.postgres

TABLES = (
    "CREATE TABLE orders (id int, customer int, at timestamp); CREATE TABLE customers (id int, name text);"
    "INSERT INTO customers VALUES (1, 'ann');"
    "INSERT INTO orders SELECT i, 1, '2024-01-01'::timestamp + i * interval '1 h' FROM generate_series(1, 10) i"
)
JOIN = "SELECT o.id, o.at, c.name FROM orders o JOIN customers c ON c.id = o.customer"
FAILS = CursorSpec(("at",))


@pytest.mark.parametrize(
    "query",
    [
        f"{JOIN} {{query_filter}}",
        f"({JOIN} {{query_filter}}) alias",
        f"({JOIN} {{query_filter}}) AS q ;",
        JOIN,
        f"{JOIN} -- a remark",
        f"WITH x AS ({JOIN}) SELECT * FROM x {{query_filter}}",
        f"({JOIN} WHERE o.id < 5) UNION ALL ({JOIN} WHERE o.id >= 5)",
    ],
)
def test_a_query_is_read_from_its_cursor_on_with_the_boundary_inside(database: Database, query: str) -> None:
    database.execute(TABLES)
    ids, position = database.load("joined", "at", query=query, cursor=FAILS)
    assert ids == list(range(1, 11))
    assert position.horizon is None
    database.execute("INSERT INTO orders VALUES (11, 1, '2024-01-02')")
    ids, position = database.load("joined", "at", position, query=query, cursor=FAILS)
    assert ids == [10, 11]


def test_a_query_keeps_types_and_numeric_modifiers(database: Database) -> None:
    query = "SELECT 1::int2 AS a, 2.5::numeric(8,3) AS b, 'x'::text AS c, now()::date AS d, 1.5::numeric AS e"
    with database.source.open([database.request("q", query=query)]) as session:
        (split,) = session.splits
        assert [f.type for f in split.schema.fields] == ["int16", "decimal(8,3)", "string", "date", "numeric"]
        (batch,) = database.source.reader().read(split)
    assert str(batch.rows.column(1)[0].as_py()) == "2.500"


def test_a_full_query_without_cursor_gets_a_filter_that_is_true(database: Database) -> None:
    database.execute(TABLES)
    rows, bounds = database.read(database.request("q", query="SELECT id FROM orders {query_filter} AND id < 3"))
    assert sorted(r["id"] for r in rows) == [1, 2]
    assert bounds.rows is None


def test_a_view_says_what_it_assumes_and_uses_the_lookback_given(database: Database) -> None:
    database.execute(f"{TABLES}; CREATE VIEW v AS SELECT * FROM orders")
    cursor = CursorSpec(("at",), lookback=7200)
    rows, bounds = database.read(database.request("v", cursor=cursor))
    assert len(rows) == 10
    assert "read by cursor alone" in bounds.notes[0]
    assert not any("assumes" in note for note in bounds.notes)
    assert bounds.position is not None
    assert database.load("v", "at", bounds.position, cursor=cursor)[0] == [8, 9, 10]


def test_a_view_that_lost_its_last_rows_is_idle(database: Database) -> None:
    database.execute(f"{TABLES}; CREATE VIEW v AS SELECT * FROM orders")
    _, position = database.load("v", "at", cursor=FAILS)
    database.execute("DELETE FROM orders WHERE id = 10")
    assert database.source.probe([database.request("v", cursor=FAILS, after=position)])[0].idle is True


def test_null_cursors_of_a_view_are_refused_for_append(database: Database) -> None:
    database.execute(f"{TABLES}; CREATE VIEW v AS SELECT * FROM orders")
    with pytest.raises(ConfigError, match="would append the rows without cursor again"):
        database.load("v", "at")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT nope FROM orders", "cannot be run"),
        ("SELECT id, id FROM orders", "two columns named 'id'"),
        ("  ; ", "the query is empty"),
        ("(SELECT 1", "nothing closes"),
        ("DELETE FROM orders", "cannot be run"),
    ],
)
def test_queries_that_cannot_be_read_say_why(database: Database, query: str, words: str) -> None:
    database.execute(TABLES)
    with pytest.raises(ConfigError, match=words):
        database.read(database.request("q", query=query))
    assert database.main.query("SELECT count(*) FROM orders") == [(10,)]


def test_values_of_cursors_are_bound_and_never_run(database: Database) -> None:
    evil = "'; DROP TABLE s; -- $1 \\ {query_filter} %s"
    database.execute("CREATE TABLE s (id serial, k text)")
    database.main.execute("INSERT INTO s (k) VALUES ($1)", evil)
    cursor = CursorSpec(("k",))
    ids, position = database.load("v", "k", query="SELECT * FROM s {query_filter}", cursor=cursor)
    assert (ids, position.cursor) == ([1], Cursor("string", evil))
    assert database.load("v", "k", position, query="SELECT * FROM s {query_filter}", cursor=cursor)[0] == [1]


def test_parentheses_are_taken_off_only_where_they_hold_the_whole_query() -> None:
    assert clean_query("(SELECT 1) t", "q") == "SELECT 1"
    assert clean_query("(SELECT ')' AS \"(\") t;", "q") == "SELECT ')' AS \"(\""
    assert clean_query("(SELECT 1) UNION (SELECT 2)", "q") == "(SELECT 1) UNION (SELECT 2)"


def test_an_expression_may_split_a_query(database: Database) -> None:
    database.execute(TABLES)
    wish = SplitWish(3, "id % 4 as share")
    with database.source.open([database.request("q", query=JOIN, splits=wish)]) as session:
        shares = [
            sorted(v for b in database.source.reader().read(s) for v in b.rows.column(0).to_pylist())
            for s in session.splits
        ]
    assert len(shares) == 3
    assert sorted(v for share in shares for v in share) == list(range(1, 11))
    assert all(shares)
