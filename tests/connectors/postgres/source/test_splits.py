"""One read in several shares: each row in exactly one of them, whatever happens meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.connectors.postgres.splits import ctid_shares, range_shares
from penstock.errors import ConfigError
from penstock.protocols import ReadSession
from penstock.values import CursorSpec, SplitWish

from .conftest import Database


def read_shares(database: Database, session: ReadSession, column: str = "id") -> list[list[Any]]:
    reader = database.source.reader()
    return [[v for b in reader.read(s) for v in b.rows.column(column).to_pylist()] for s in session.splits]


@pytest.mark.postgres
@pytest.mark.feature("M6")
def test_ctid_shares_of_one_snapshot_lose_nothing_to_concurrent_updates(database: Database) -> None:
    database.execute("CREATE TABLE t AS SELECT i AS id, repeat('x', 200) AS pad FROM generate_series(1, 20000) i")
    with database.source.open([database.request("t", splits=SplitWish(4))]) as session:
        assert len(session.splits) == 4
        database.execute("UPDATE t SET pad = pad || 'y' WHERE id % 100 = 0; DELETE FROM t WHERE id % 100 = 1")
        database.execute("INSERT INTO t SELECT i, 'new' FROM generate_series(20001, 30000) i")
        shares = read_shares(database, session)
    assert all(shares)
    assert sorted(v for share in shares for v in share) == list(range(1, 20001))


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("wish", "lows"),
    [
        (SplitWish(3, "id"), [None, "34", "67"]),
        (SplitWish(2, "id", "int", "0", "10"), [None, "5"]),
        (SplitWish(2, "id * 2 as doubled"), [None, "101"]),
        (SplitWish(2, "at", "datetime", "2024-01-01", "2024-01-03"), None),
        (SplitWish(3, "maybe"), None),
    ],
)
def test_ranges_of_a_column_hold_each_row_once(database: Database, wish: SplitWish, lows: list[str] | None) -> None:
    database.execute(
        "CREATE TABLE t AS SELECT i AS id, '2024-01-01'::timestamptz + i * interval '1 h' AS at,"
        "nullif(i % 7, 0) AS maybe FROM generate_series(1, 100) i"
    )
    with database.source.open([database.request("t", splits=wish)]) as session:
        shares = read_shares(database, session)
        assert len(shares) == wish.count
    assert sorted(v for share in shares for v in share) == list(range(1, 101))
    assert all(shares)


@pytest.mark.postgres
def test_a_view_is_cut_by_its_cursor_and_a_partitioned_table_not_by_ctid(database: Database) -> None:
    database.execute(
        "CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (50);"
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (50) TO (200); INSERT INTO p SELECT generate_series(1, 100);"
        "CREATE VIEW v AS SELECT * FROM p"
    )
    for name in ("p", "v"):
        request = database.request(name, cursor=CursorSpec(("id",)), splits=SplitWish(2))
        with database.source.open([request]) as session:
            shares = read_shares(database, session)
        assert len(shares) == 2
        assert sorted(v for share in shares for v in share) == list(range(1, 101))
    with database.source.open([database.request("p", splits=SplitWish(2))]) as session:
        assert len(session.splits) == 1


@pytest.mark.postgres
def test_several_requests_share_one_snapshot(database: Database) -> None:
    database.execute(
        "CREATE TABLE a (id int); CREATE TABLE b (id int); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)"
    )
    with database.source.open([database.request("a"), database.request("b")]) as session:
        database.execute("INSERT INTO a VALUES (2); INSERT INTO b VALUES (2)")
        assert read_shares(database, session) == [[1], [1]]
        assert {b.snapshot for b in session.bounds.values()} == {session.bounds[session.splits[0].stream].snapshot}


@pytest.mark.postgres
def test_a_limit_is_one_split_and_closing_a_read_leaves_no_session(database: Database) -> None:
    database.execute("CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 300000) i")
    with database.source.open([database.request("t", limit=10, splits=SplitWish(4))]) as session:
        assert [len(share) for share in read_shares(database, session)] == [10]
    with database.source.open([database.request("t", batch_rows=100)]) as session:
        batches = database.source.reader().read(session.splits[0])
        next(batches)
        batches.close()  # type: ignore[attr-defined]
    left = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'penstock %' AND pid <> pg_backend_pid()"
    database.main.query("SELECT pg_sleep(0.2)")
    assert database.main.query(f"{left} AND application_name <> 'penstock tests'") == [(0,)]


@pytest.mark.postgres
def test_bounds_that_are_no_numbers_and_columns_that_are_not_there_are_refused(database: Database) -> None:
    database.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
    with pytest.raises(ConfigError, match="bounds of the splits"):
        database.read(database.request("t", splits=SplitWish(2, "id", "int", "a", "b")))
    with pytest.raises(ConfigError, match="no column 'nope' to cut"):
        database.read(database.request("t", splits=SplitWish(2, "nope")))


@given(pages=st.integers(0, 10_000), count=st.integers(1, 20))
def test_ctid_ranges_meet_and_the_last_is_open(pages: int, count: int) -> None:
    shares = ctid_shares(pages * 8192, count)
    if len(shares) == 1:
        assert shares == [None]
        return
    cuts = [s for s in shares if s is not None]
    assert cuts[0].low is None
    assert cuts[-1].high is None
    assert [s.high for s in cuts[:-1]] == [s.low for s in cuts[1:]]


@given(low=st.integers(-(1 << 63), 1 << 63), width=st.integers(0, 1000), count=st.integers(1, 9), at=st.data())
def test_each_value_lies_in_exactly_one_range(low: int, width: int, count: int, at: st.DataObject) -> None:
    shares = range_shares("c", "int", (str(low), str(low + width)), count)
    value = at.draw(st.integers(low - 5, low + width + 5))
    holding = [s for s in shares if (s.low is None or value >= int(s.low)) and (s.high is None or value < int(s.high))]
    assert len(holding) == 1
    assert [s.nulls for s in shares].count(True) == 1
