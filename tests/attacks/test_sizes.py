"""Sizes at the edge: as many columns as a system has room for, cells of 100 MB, 100,000 rows at one cursor value."""

from __future__ import annotations

import pytest

from tests.attacks.conftest import MakeLab
from tests.attacks.lab import Lab
from tests.attacks.test_values import stream_of

CELL_BYTES = 100_000_000
TIES = 100_000


def wide_lab(make_lab: MakeLab, source: str, destination: str, columns: int) -> tuple[Lab, dict[str, object]]:
    lab = make_lab(source, destination)
    names = [f"c{number}" for number in range(columns)]
    lab.here.execute(
        f"CREATE TABLE t ({', '.join(f'{name} smallint' for name in names)})",
        f"INSERT INTO t VALUES ({', '.join('7' for _ in names)})",
    )
    return lab, {"name": stream_of(lab, "t"), "target_name": "t_copy"}


@pytest.mark.parametrize(
    ("source", "destination", "most"),
    [("duckdb", "postgres", 1_600), ("postgres", "postgres", 1_600), ("duckdb", "sqlite", 2_000)],
)
def test_a_column_more_than_the_destination_has_room_for_is_refused_before_it_is_touched(
    make_lab: MakeLab, source: str, destination: str, most: int
) -> None:
    lab, table = wide_lab(make_lab, source, destination, most)
    said = lab.refused(table)
    assert f"{most} columns and 1 of Penstock's own, the destination takes at most {most}" in said
    assert "fix:" in said
    assert lab.there.tables() - {"t"} == set()


@pytest.mark.parametrize(("source", "destination"), [("duckdb", "postgres"), ("postgres", "sqlite")])
def test_as_many_columns_as_the_destination_has_room_for_arrive(
    make_lab: MakeLab, source: str, destination: str
) -> None:
    lab, table = wide_lab(make_lab, source, destination, 1_599)
    lab.moved(table)
    assert lab.there.query("SELECT c0, c799, c1598 FROM t_copy") == [(7, 7, 7)]
    assert len(lab.columns("t_copy")) == 1_599


@pytest.mark.faults
@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("postgres", "postgres"),
        ("postgres", "duckdb"),
        ("postgres", "sqlite"),
        ("sqlite", "postgres"),
        ("sqlite", "duckdb"),
        ("duckdb", "postgres"),
        ("duckdb", "sqlite"),
    ],
)
def test_a_cell_of_100_mb_arrives_whole(make_lab: MakeLab, source: str, destination: str) -> None:
    lab = make_lab(source, destination)
    big = f"printf('%.{CELL_BYTES}c', 'x')" if source == "sqlite" else f"repeat('x', {CELL_BYTES})"
    lab.here.execute("CREATE TABLE t (id int, note text)", f"INSERT INTO t VALUES (1, {big}), (2, 'small')")
    lab.moved({"name": stream_of(lab, "t"), "target_name": "t_copy"})
    assert lab.rows("t_copy", "id, length(note), length(replace(note, 'x', ''))") == [(1, CELL_BYTES, 0), (2, 5, 5)]


@pytest.mark.faults
@pytest.mark.parametrize("source", ["sqlite", "duckdb"])
def test_a_hundred_thousand_rows_at_one_cursor_value_arrive_once_and_one_more_is_refused(
    make_lab: MakeLab, source: str
) -> None:
    lab = make_lab(source, "sqlite")
    numbers = f"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {TIES}) SELECT n FROM c"
    if source == "duckdb":
        numbers = f"SELECT n FROM range({TIES}) r(n)"
    lab.here.execute(f"CREATE TABLE t AS SELECT n AS id, 7 AS moment FROM ({numbers}) q")
    table = {
        "name": "t",
        "target_name": "t_copy",
        "replication_method": "incremental",
        "iterate_column": "moment",
        "iterate_column_type": "int",
    }
    lab.moved(table)
    assert lab.moved(table).tables[0].state == "idle"
    lab.here.execute("INSERT INTO t VALUES (-1, 7)")
    assert "more than 100,000 rows lie at the boundary" in lab.refused(table)
    assert lab.there.query("SELECT count(*), count(DISTINCT id) FROM t_copy") == [(TIES, TIES)]
