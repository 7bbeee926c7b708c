"""Reading DuckDB files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from penstock.connectors.duckdb import CONNECTOR, configure
from penstock.connectors.duckdb.destination import open_destination
from penstock.errors import ConfigError, ExtractionError, FencedError
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
    return tmp_path / "source.duckdb"


@pytest.fixture
def make(path: Path) -> Make:
    def filled(script: str) -> Source:
        with duckdb.connect(str(path)) as connection:
            connection.execute(script)
        assert CONNECTOR.open_source
        return CONNECTOR.open_source(Connection("lake", "duckdb", database=str(path)))

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
CREATE TABLE items (id BIGINT, name VARCHAR, changed TIMESTAMPTZ, price DECIMAL(10,2), day DATE);
INSERT INTO items VALUES (1, 'a', '2024-01-01 00:00:00+00', 9.5, '2024-01-01'),
  (2, '', '2024-01-02 00:00:00+00', 10.25, '2024-01-02'), (3, NULL, '2024-01-02 00:00:00+00', 100.10, '2024-01-03');
"""


def test_every_type_arrives_with_its_value(make: Make) -> None:
    source = make(
        """CREATE TABLE t AS SELECT true b, 1::TINYINT i1, 2::UBIGINT u8, 170141183460469231731687::HUGEINT h,
             1.5::DECIMAL(10,3) d, 'nan'::DOUBLE f, 0.5::FLOAT f4, 'x' s, '\\x00\\xFF'::BLOB x,
             DATE '2024-02-29' AS day,
             TIME '10:00:00.5' tm, TIMESTAMP '2024-01-01 01:02:03.5' ts, TIMESTAMPTZ '2024-01-01 00:00:00+02' tz,
             INTERVAL 3 DAY iv, 'c0ffee00-0000-0000-0000-000000000000'::UUID u, '{"a": [1]}'::JSON j,
             'b'::ENUM('a', 'b') e, [1, 2] l, {'a': 1, 'b': 'x'} st, MAP {'k': 1} m, [uuid] lu
           FROM (SELECT 'c0ffee00-0000-0000-0000-000000000000'::UUID uuid)"""
    )
    _, rows = read(source, "t")
    row = rows[0]
    assert row.pop("f") != 0
    assert tuple(row.pop("iv")) == (0, 3, 0)
    assert row == {
        "b": True,
        "i1": 1,
        "u8": 2,
        "h": Decimal("170141183460469231731687"),
        "d": Decimal("1.500"),
        "f4": 0.5,
        "s": "x",
        "x": b"\x00\xff",
        "day": date(2024, 2, 29),
        "tm": time(10, 0, 0, 500000),
        "ts": datetime.fromisoformat("2024-01-01 01:02:03.5"),
        "tz": datetime(2023, 12, 31, 22, tzinfo=UTC),
        "u": "c0ffee00-0000-0000-0000-000000000000",
        "j": '{"a": [1]}',
        "e": "b",
        "l": [1, 2],
        "st": {"a": 1, "b": "x"},
        "m": '{"k":1}',
        "lu": ["c0ffee00-0000-0000-0000-000000000000"],
    }
    types = {f.name: f.type for spec in source.streams(["t"]) if spec.schema for f in spec.schema.fields}
    assert types["h"] == "decimal(38,0)"
    assert (types["l"], types["st"], types["tz"]) == ("list<int32>", "struct<a: int32, b: string>", "timestamptz")


def test_nanoseconds_are_not_cut(make: Make) -> None:
    source = make("CREATE TABLE t AS SELECT TIMESTAMP_NS '2024-01-01 00:00:00.000000001' ts")
    with pytest.raises(ExtractionError, match="would change"):
        read(source, "t")
    _, rows = read(source, "t", types={"ts": "string"})
    assert rows == [{"ts": "2024-01-01 00:00:00.000000001"}]


@pytest.mark.parametrize(
    ("column", "upper", "later"),
    [
        ("id", Cursor("int", 3), Cursor("int", 2)),
        ("price", Cursor("decimal", Decimal("100.10")), Cursor("decimal", Decimal("10.25"))),
        ("day", Cursor("date", date(2024, 1, 3)), Cursor("date", date(2024, 1, 2))),
        (
            "changed",
            Cursor("datetime", datetime(2024, 1, 2, tzinfo=UTC)),
            Cursor("datetime", datetime(2024, 1, 2, tzinfo=UTC)),
        ),
    ],
)
def test_cursors_keep_their_type_and_start_the_next_read(make: Make, column: str, upper: Cursor, later: Cursor) -> None:
    source = make(ITEMS)
    bounds, _ = read(source, "items", cursor=CursorSpec((column,)))
    assert bounds.upper == upper
    assert bounds.position is not None
    assert Position.from_json(bounds.position.to_json()) == bounds.position
    second, rows = read(source, "items", cursor=CursorSpec((column,)), after=at(later))
    assert (ids(rows), second.rows) == ([2, 3], 2)


def test_the_cursors_of_a_batch_compare_with_the_bound(make: Make) -> None:
    import pyarrow.compute as pc

    source = make(ITEMS)
    for column in ("id", "price", "day", "changed", "name"):
        spec = CursorSpec((column,), nulls="include")
        with source.open([ReadRequest(StreamName("items"), cursor=spec)]) as session:
            batch = next(iter(source.reader().read(session.splits[0])))
            bound = session.bounds[StreamName("items")].upper
        assert bound is not None
        assert pc.max(batch.cursors).as_py() == bound.value


def test_a_session_sees_one_state_while_the_same_file_is_written(make: Make, path: Path) -> None:
    destination = open_destination(Connection("lake", "duckdb", database=str(path)))
    source = make(ITEMS)
    target = TableName(None, "items")
    with source.open([ReadRequest(StreamName("items"))]) as session:
        split = session.splits[0]
        more = [{"id": 4, "name": "late"}]
        load_rows(destination, plan_of(destination, target, FIRST[1:], schema=split.schema), more)
        rows = [r for b in source.reader().read(split) for r in b.rows.to_pylist()]
    assert ids(rows) == [1, 2, 3]
    assert ids(read(source, "items")[1]) == [1, 2, 3, 4]


def test_a_window_a_limit_and_a_query_bound_what_is_read(make: Make) -> None:
    source = make(ITEMS)
    window = Window(Cursor("string", "2024-01-01"), Cursor("string", "2024-01-02"))
    bounds, rows = read(source, "items", cursor=CursorSpec(("day",)), window=window)
    assert (ids(rows), bounds.position) == ([1], Position())
    assert len(read(source, "items", limit=2)[1]) == 2
    query = "(SELECT id, changed FROM items {query_filter} ORDER BY id DESC) alias"
    _, rows = read(source, "items", query=query, cursor=CursorSpec(("id",)), after=at(Cursor("int", 2)))
    assert ids(rows) == [3, 2]


def test_of_several_cursor_columns_the_greatest_counts(make: Make) -> None:
    source = make(
        "CREATE TABLE t AS FROM (VALUES (1, 10, NULL), (2, 20, 90), (3, 30, 31), (4, NULL, 40)) v(id, made, c)"
    )
    bounds, rows = read(source, "t", cursor=CursorSpec(("made", "c")), after=at(Cursor("int", 35)))
    assert (bounds.upper, ids(rows)) == (Cursor("int", 90), [2, 4])


def test_rows_without_a_cursor_fail_with_their_count(make: Make) -> None:
    source = make(ITEMS)
    with pytest.raises(ExtractionError, match="1 row without a value in the cursor name"):
        read(source, "items", cursor=CursorSpec(("name",)))


def test_batches_stay_within_rows_and_bytes(make: Make) -> None:
    source = make("CREATE TABLE t AS SELECT range id, repeat('x', 100) c FROM range(30000)")
    with source.open([ReadRequest(StreamName("t"), batch_bytes=50_000)]) as session:
        batches = list(source.reader().read(session.splits[0]))
    assert sum(b.rows.num_rows for b in batches) == 30_000
    assert max(b.rows.nbytes for b in batches) < 60_000


def test_a_file_held_by_another_process_names_it(make: Make, path: Path) -> None:
    make(ITEMS)
    script = f"import duckdb; c = duckdb.connect({str(path)!r}); print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        destination = open_destination(Connection("lake", "duckdb", database=str(path)))
        from penstock.connectors.duckdb.handles import open_session

        configure(lock_wait_seconds=0.2)
        try:
            with pytest.raises(FencedError, match=f"process {other.pid}"):
                open_session(str(path), makes_file=True)
        finally:
            configure(lock_wait_seconds=60.0)
        other.communicate(b"\n")
    assert destination.describe([TableName(None, "items")])[TableName(None, "items")] is not None


def test_missing_things_are_errors(make: Make, tmp_path: Path) -> None:
    assert CONNECTOR.open_source
    missing = CONNECTOR.open_source(Connection("x", "duckdb", database=str(tmp_path / "none.duckdb")))
    with pytest.raises(ExtractionError, match="no such DuckDB file"):
        missing.check()
    source = make(ITEMS)
    with pytest.raises(ExtractionError, match="no table 'nothing'"):
        read(source, "nothing")
    with pytest.raises(ConfigError, match="no column 'nope'"):
        read(source, "items", cursor=CursorSpec(("nope",)))
    assert [spec.name for spec in source.streams(["items", "nothing"])] == ["items"]
    assert [spec.name for spec in source.streams()] == ["items"]


@pytest.mark.timeout(60)
def test_a_failed_read_whose_error_is_kept_does_not_keep_the_file(make: Make) -> None:
    """What a kept error holds of a result would let the next connect to the file wait for ever."""
    source = make("CREATE TABLE items AS SELECT i AS id, INTERVAL 1 HOUR * (i * 60) AS span FROM range(200000) t (i)")
    kept = []
    for _ in range(2):
        with pytest.raises(ExtractionError, match="292 years") as caught:
            read(source, "items", batch_rows=1000)
        kept.append(caught.value)
        assert read(source, "items", types={"span": "string"})[0].rows == 200_000
    assert all(error.fix and "columns:" in error.fix for error in kept)
