"""Reading SQLite files."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from penstock.connectors.sqlite import CONNECTOR
from penstock.connectors.sqlite.destination import open_destination
from penstock.errors import ConfigError, ExtractionError
from penstock.protocols import Source
from penstock.values import (
    Bounds,
    Connection,
    Cursor,
    CursorSpec,
    Position,
    ReadRequest,
    StreamName,
    TableName,
    Window,
)
from tests.connectors.sql.loads import FIRST, load_rows, plan_of

Make = Callable[[str], Source]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "source.db"


@pytest.fixture
def make(path: Path) -> Make:
    def filled(script: str) -> Source:
        connection = sqlite3.connect(path)
        connection.executescript(script)
        connection.close()
        assert CONNECTOR.open_source
        return CONNECTOR.open_source(Connection("shop", "sqlite", database=str(path)))

    return filled


def read(source: Source, stream: str, **wishes: Any) -> tuple[Bounds, list[dict[str, Any]]]:
    with source.open([ReadRequest(StreamName(stream), **wishes)]) as session:
        reader = source.reader()
        rows = [row for split in session.splits for batch in reader.read(split) for row in batch.rows.to_pylist()]
        return session.bounds[StreamName(stream)], rows


def ids(rows: Sequence[dict[str, Any]]) -> list[Any]:
    return [row["id"] for row in rows]


def at(cursor: Cursor) -> Position:
    return Position(cursor, cursor)


ITEMS = """
CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, changed TIMESTAMP);
INSERT INTO items VALUES (1, 'a', '2024-01-01T00:00:00'), (2, '', '2024-01-02T00:00:00'),
  (3, NULL, '2024-01-02T00:00:00');
"""
BY_ID = CursorSpec(("id",))
BY_CHANGE = CursorSpec(("changed",))


def test_a_whole_table_is_read_with_an_exact_count(make: Make) -> None:
    bounds, rows = read(make(ITEMS), "items")
    assert bounds.rows == 3
    assert rows[1] == {"id": 2, "name": "", "changed": datetime.fromisoformat("2024-01-02")}
    assert rows[2]["name"] is None


def test_every_declared_type_keeps_its_values(make: Make) -> None:
    source = make(
        """CREATE TABLE t (b BOOLEAN, d DECIMAL(10,2), n NUMERIC, f REAL, x BLOB, day DATE, at DATETIME,
             z TIMESTAMPTZ, u UUID, j JSON, c VARCHAR(5), e);
           INSERT INTO t VALUES (1, 12.3, 1234567890123, 0.1, x'00ff', '2024-02-29', '2024-01-01 01:02:03.5',
             '2024-01-01T00:00:00+02:00', 'c0ffee00-0000-0000-0000-000000000000', '{"a": [1]}', 'long enough', 7);"""
    )
    _, rows = read(source, "t")
    assert rows == [
        {
            "b": True,
            "d": Decimal("12.30"),
            "n": "1234567890123",
            "f": 0.1,
            "x": b"\x00\xff",
            "day": date(2024, 2, 29),
            "at": datetime.fromisoformat("2024-01-01 01:02:03.5"),
            "z": datetime(2023, 12, 31, 22, tzinfo=UTC),
            "u": "c0ffee00-0000-0000-0000-000000000000",
            "j": '{"a": [1]}',
            "c": "long enough",
            "e": 7,
        }
    ]


@pytest.mark.parametrize(
    ("declared", "cell"),
    [
        ("INTEGER", "'abc'"),
        ("DATE", "20240101"),
        ("DATETIME", "'yesterday'"),
        ("DATETIME", "'2024-01-01T00:00:00+02:00'"),
        ("DATETIME", "'2024-01-01 00:00:00.1234567'"),
        ("BOOLEAN", "2"),
        ("DECIMAL(10,2)", "12.345"),
        ("REAL", "'much'"),
        ("TEXT", "x'ff00'"),
        ("BLOB", "'text'"),
    ],
)
def test_a_cell_that_disagrees_with_its_column_is_counted_and_says_the_way_out(
    make: Make, declared: str, cell: str
) -> None:
    source = make(f"CREATE TABLE t (id INTEGER, c {declared}); INSERT INTO t VALUES (1, NULL), (2, {cell});")
    with pytest.raises(ExtractionError, match=r"(?s)'c' is declared.*1 of 2 cells.*columns: \{c: string\}") as caught:
        read(source, "t")
    assert caught.value.fault == "data"


def test_a_column_declared_text_takes_any_cell_but_a_blob(make: Make) -> None:
    source = make("CREATE TABLE t (id INTEGER, c INTEGER); INSERT INTO t VALUES (1, 'abc'), (2, 5), (3, 0.5);")
    _, rows = read(source, "t", types={"c": "string"})
    assert [row["c"] for row in rows] == ["abc", "5", "0.5"]


def test_the_next_read_starts_at_the_last_cursor_included(make: Make) -> None:
    source = make(ITEMS)
    first, _ = read(source, "items", cursor=BY_CHANGE)
    assert first.position == at(Cursor("string", "2024-01-02T00:00:00"))
    make("INSERT INTO items VALUES (4, 'd', '2024-01-03T00:00:00')")
    second, rows = read(source, "items", cursor=BY_CHANGE, after=first.position)
    assert ids(rows) == [2, 3, 4]
    assert second.rows == 3


def test_a_position_survives_the_ledger_unchanged(make: Make) -> None:
    bounds, _ = read(make(ITEMS), "items", cursor=BY_CHANGE)
    assert bounds.position is not None
    assert Position.from_json(bounds.position.to_json()) == bounds.position


def test_a_read_behind_the_end_is_idle_and_keeps_its_position(make: Make) -> None:
    after = at(Cursor("int", 9))
    bounds, rows = read(make(ITEMS), "items", cursor=BY_ID, after=after)
    assert (bounds.idle, bounds.position, rows) == (True, after, [])


def test_lookback_reads_earlier_rows_again(make: Make) -> None:
    bounds, _ = read(make(ITEMS), "items", cursor=CursorSpec(("changed",), lookback=86_400))
    assert bounds.position is not None
    assert bounds.position.resume == Cursor("string", "2024-01-01T00:00:00")


def test_rows_without_a_cursor_fail_are_included_or_skipped_as_asked(make: Make) -> None:
    source = make(ITEMS + "INSERT INTO items VALUES (4, 'x', NULL);")
    with pytest.raises(ExtractionError, match="1 row without a value in the cursor changed"):
        read(source, "items", cursor=BY_CHANGE)
    included, rows = read(source, "items", cursor=CursorSpec(("changed",), nulls="include"))
    assert (included.rows, ids(rows)) == (4, [1, 2, 3, 4])
    skipped, rows = read(source, "items", cursor=CursorSpec(("changed",), nulls="skip"))
    assert (skipped.rows, ids(rows)) == (3, [1, 2, 3])


LISTED = """
CREATE TABLE t (id INTEGER, made INTEGER, changed INTEGER);
INSERT INTO t VALUES (1, 10, NULL), (2, 20, 90), (3, 30, 31), (4, NULL, 40);
"""


def test_of_several_cursor_columns_the_greatest_counts_and_either_selects(make: Make) -> None:
    source, spec = make(LISTED), CursorSpec(("made", "changed"))
    bounds, rows = read(source, "t", cursor=spec)
    assert bounds.upper == Cursor("int", 90)
    assert len(rows) == 4
    _, rows = read(source, "t", cursor=spec, after=at(Cursor("int", 35)))
    assert ids(rows) == [2, 4]


def test_an_expression_orders_a_stream(make: Make) -> None:
    source = make(LISTED)
    after = at(Cursor("int", 31))
    bounds, rows = read(source, "t", cursor=CursorSpec(expression="coalesce(changed, made)"), after=after)
    assert (bounds.upper, ids(rows)) == (Cursor("int", 90), [2, 3, 4])


@pytest.mark.parametrize("kind", ["DECIMAL(10,2)", "DECIMAL_TEXT(10,2)"])
def test_decimal_cursors_are_compared_as_numbers_and_kept_exact(make: Make, kind: str) -> None:
    source = make(f"CREATE TABLE t (id INTEGER, c {kind}); INSERT INTO t VALUES (1,'9.5'), (2,'10.25'), (3,'100.10');")
    bounds, _ = read(source, "t", cursor=CursorSpec(("c",)))
    assert bounds.upper == Cursor("decimal", Decimal("100.10"))
    after = at(Cursor("decimal", Decimal("10.25")))
    _, rows = read(source, "t", cursor=CursorSpec(("c",)), after=after)
    assert ids(rows) == [2, 3]


def test_a_window_is_open_at_its_end_and_never_moves_the_cursor(make: Make) -> None:
    source, after = make(ITEMS), Position(Cursor("string", "x"))
    days = [datetime.fromisoformat(f"2024-01-0{day}") for day in (1, 2)]
    window = Window(*(Cursor("datetime", day) for day in days))
    bounds, rows = read(source, "items", cursor=BY_CHANGE, window=window, after=after)
    assert (ids(rows), bounds.position, bounds.rows) == ([1], after, 1)


def test_a_window_without_rows_is_idle(make: Make) -> None:
    window = Window(Cursor("int", 100), Cursor("int", 200))
    bounds, rows = read(make(ITEMS), "items", cursor=BY_ID, window=window)
    assert (bounds.idle, rows) == (True, [])


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM items",
        "SELECT * FROM items {query_filter}",
        "(SELECT * FROM items {query_filter}) alias",
        "(SELECT * FROM items {query_filter} ORDER BY id)",
    ],
)
def test_a_custom_query_is_filtered_with_and_without_a_place_for_it(make: Make, query: str) -> None:
    source = make(ITEMS)
    bounds, rows = read(source, "items", query=query, cursor=BY_ID)
    assert (bounds.rows, ids(rows)) == (3, [1, 2, 3])
    after = at(Cursor("int", 3))
    bounds, rows = read(source, "items", query=query, cursor=BY_ID, after=after)
    assert (bounds.rows, ids(rows)) == (1, [3])


def test_a_text_cursor_is_bound_and_never_becomes_sql(make: Make) -> None:
    source = make("CREATE TABLE t (id INTEGER, c TEXT); INSERT INTO t VALUES (1, 'x'' OR 1=1 --'), (2, 'y');")
    hostile = Cursor("string", "x' OR 1=1 --")
    _, rows = read(source, "t", cursor=CursorSpec(("c",)), after=at(hostile))
    assert ids(rows) == [1, 2]
    _, rows = read(source, "t", cursor=CursorSpec(("c",)), after=at(Cursor("string", "y' OR '1'='1")))
    assert rows == []


def test_a_first_load_in_several_loads_delivers_every_row_and_keeps_its_end(make: Make) -> None:
    script = "CREATE TABLE t (id INTEGER, c INTEGER);" + "".join(
        f"INSERT INTO t VALUES ({i}, {i // 3});" for i in range(20)
    )
    source = make(script)
    after: Position | None = None
    seen: set[int] = set()
    links = 0
    while links < 20:
        bounds, rows = read(source, "t", cursor=CursorSpec(("c",)), after=after, chain_rows=5)
        seen |= set(ids(rows))
        after, links = bounds.position, links + 1
        if not bounds.chained:
            break
        assert after is not None
        assert after.chain_end == Cursor("int", 6)
    assert (seen, links > 2, after) == (set(range(20)), True, at(Cursor("int", 6)))


def test_a_session_sees_one_state_of_the_file(make: Make, path: Path) -> None:
    source = make("PRAGMA journal_mode=WAL;" + ITEMS)
    with source.open([ReadRequest(StreamName("items"), cursor=BY_ID)]) as session:
        make("INSERT INTO items VALUES (0, 'late', '2024-01-01T00:00:00')")
        rows = [r for b in source.reader().read(session.splits[0]) for r in b.rows.to_pylist()]
    assert ids(rows) == [1, 2, 3]


def test_batches_stay_within_rows_and_bytes(make: Make) -> None:
    values = ",".join(f"({i}, '{'x' * 100}')" for i in range(3000))
    source = make(f"CREATE TABLE t (id INTEGER, c TEXT); INSERT INTO t VALUES {values};")
    with source.open([ReadRequest(StreamName("t"), batch_bytes=50_000)]) as session:
        sizes = [batch.rows.nbytes for batch in source.reader().read(session.splits[0])]
    assert max(sizes) < 60_000
    with source.open([ReadRequest(StreamName("t"), batch_rows=100)]) as session:
        assert {b.rows.num_rows for b in source.reader().read(session.splits[0])} == {100}


def test_the_same_file_may_be_source_and_destination(make: Make, path: Path) -> None:
    destination = open_destination(Connection("shop", "sqlite", database=str(path)))
    source = make(ITEMS)
    target = TableName(None, "copy")
    with source.open([ReadRequest(StreamName("items"))]) as session:
        split = session.splits[0]
        rows = [r for b in source.reader().read(split) for r in b.rows.to_pylist()]
        load_rows(destination, plan_of(destination, target, FIRST, schema=split.schema), rows)
    _, copied = read(source, "copy")
    assert [{k: v for k, v in row.items() if k != "_ingested_at"} for row in copied] == rows


def test_what_a_killed_writer_left_half_done_is_not_read(make: Make, path: Path) -> None:
    source = make(ITEMS)
    script = f"""
import os, signal, sqlite3
c = sqlite3.connect({str(path)!r}, isolation_level=None)
c.execute("PRAGMA cache_size = 10")
c.execute("BEGIN")
c.executemany("INSERT INTO items VALUES (?, 'half', NULL)", [(i,) for i in range(10, 50_000)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert Path(f"{path}-journal").exists()
    destination = open_destination(Connection("shop", "sqlite", database=str(path)))
    assert destination.has_rows(TableName(None, "items"))
    assert ids(read(source, "items")[1]) == [1, 2, 3]


def test_hostile_names_are_read(make: Make) -> None:
    source = make(
        'CREATE TABLE "a.b ""c"" ü" ("select" INTEGER, "rowid" TEXT); INSERT INTO "a.b ""c"" ü" VALUES (1,\'x\');'
    )
    name = 'a.b "c" ü'
    assert [spec.name for spec in source.streams()] == [name]
    _, rows = read(source, name, cursor=CursorSpec(("select",)))
    assert rows == [{"select": 1, "rowid": "x"}]


def test_named_streams_that_do_not_exist_are_left_out(make: Make) -> None:
    assert [spec.name for spec in make(ITEMS).streams(["items", "nothing"])] == ["items"]


def test_a_missing_file_and_a_missing_table_are_errors(make: Make, tmp_path: Path) -> None:
    assert CONNECTOR.open_source
    missing = CONNECTOR.open_source(Connection("x", "sqlite", database=str(tmp_path / "none.db")))
    with pytest.raises(ExtractionError, match="no such SQLite file"):
        missing.check()
    with pytest.raises(ExtractionError, match="no table 'nothing'"):
        read(make(ITEMS), "nothing")
    with pytest.raises(ConfigError, match="no column 'nope'"):
        read(make(""), "items", cursor=CursorSpec(("nope",)))
