"""Keys and cursors that are missing, doubled, tied or backwards: refused, or delivered exactly once."""

from __future__ import annotations

import pytest

from tests.attacks.conftest import MakeLab
from tests.attacks.lab import Lab

UPSERT = {"write_strategy": "upsert", "write_key": ["id"]}
INCREMENTAL = {"replication_method": "incremental", "iterate_column": "moment", "iterate_column_type": "int"}
ENDS = [("sqlite", "duckdb"), ("duckdb", "sqlite"), ("postgres", "postgres")]


def named(
    lab: Lab, source: str, *rows: str, columns: str = "id int, moment int, note varchar(20)"
) -> dict[str, object]:
    lab.here.execute(f"CREATE TABLE t ({columns})", *(f"INSERT INTO t VALUES {row}" for row in rows))
    return {"name": "src.t" if source == "postgres" else "t", "target_name": "t_copy"}


@pytest.mark.feature("M4")
@pytest.mark.parametrize(("source", "destination"), ENDS)
@pytest.mark.parametrize("strategy", ["upsert", "merge"])
def test_a_null_key_is_refused_and_nothing_is_written(
    make_lab: MakeLab, source: str, destination: str, strategy: str
) -> None:
    lab = make_lab(source, destination)
    table = named(lab, source, "(1, 1, 'a'), (NULL, 2, 'zq7-row-canary')")
    said = lab.refused(table | {"write_strategy": strategy, "write_key": ["id"]})
    assert "NULL" in said
    assert "zq7-row-canary" not in said
    assert "t_copy" not in lab.there.tables()


@pytest.mark.feature("M4")
@pytest.mark.parametrize(("source", "destination"), ENDS)
def test_the_last_of_a_doubled_key_wins_within_a_load_and_across_splits(
    make_lab: MakeLab, source: str, destination: str
) -> None:
    lab = make_lab(source, destination)
    rows = ", ".join(f"({n % 10}, {n}, 'n{n}')" for n in range(1000))
    table = named(lab, source, rows) | UPSERT | INCREMENTAL
    table |= {"partitions_column": "moment", "partitions_count": 4}
    lab.moved(table)
    expected = [(n, 990 + n) for n in range(10)]
    assert sorted(lab.there.query("SELECT id, moment FROM t_copy")) == expected
    lab.here.execute("INSERT INTO t VALUES (3, 5000, 'new'), (3, 4000, 'old')")
    lab.moved(table)
    assert lab.there.query("SELECT moment FROM t_copy WHERE id = 3") == [(5000,)]


@pytest.mark.feature("M4")
@pytest.mark.parametrize(("source", "destination"), ENDS)
def test_duplicates_that_are_in_the_target_are_refused_with_the_way_out(
    make_lab: MakeLab, source: str, destination: str
) -> None:
    lab = make_lab(source, destination)
    table = named(lab, source, "(1, 1, 'a'), (1, 2, 'b')")
    lab.moved(table | {"write_strategy": "append"})
    said = lab.refused(table | UPSERT)
    assert "fix:" in said
    assert lab.there.query("SELECT count(*) FROM t_copy") == [(2,)]


@pytest.mark.parametrize(("source", "destination"), ENDS)
def test_a_key_or_cursor_that_is_no_column_is_an_error_that_names_it(
    make_lab: MakeLab, source: str, destination: str
) -> None:
    lab = make_lab(source, destination)
    table = named(lab, source, "(1, 1, 'a')")
    assert "'nope'" in lab.refused(table | {"write_strategy": "upsert", "write_key": ["nope"]})
    assert "'nope'" in lab.refused(table | INCREMENTAL | {"iterate_column": "nope"})


@pytest.mark.feature("M4")
@pytest.mark.parametrize(("source", "destination"), ENDS)
def test_a_table_that_is_all_key_keeps_each_row_once(make_lab: MakeLab, source: str, destination: str) -> None:
    lab = make_lab(source, destination)
    table = named(lab, source, "(1, 1, 'a'), (1, 1, 'a'), (2, 2, 'b')")
    table |= {"write_strategy": "upsert", "write_key": ["id", "moment", "note"]}
    for _ in range(2):
        lab.moved(table)
    assert sorted(lab.there.query("SELECT id, moment, note FROM t_copy")) == [(1, 1, "a"), (2, 2, "b")]


@pytest.mark.feature("M3")
@pytest.mark.parametrize(("source", "destination"), ENDS)
def test_ties_a_backward_cursor_and_true_duplicates_arrive_as_often_as_they_are(
    make_lab: MakeLab, source: str, destination: str
) -> None:
    lab = make_lab(source, destination)
    table = named(lab, source, "(1, 5, 'a'), (1, 5, 'a'), (2, 5, 'b')") | INCREMENTAL
    lab.moved(table)
    table["lookback"] = 10
    lab.moved(table)
    lab.here.execute("INSERT INTO t VALUES (1, 5, 'a'), (3, 5, 'c'), (4, 6, 'd')")
    lab.moved(table)
    lab.here.execute("INSERT INTO t VALUES (5, 4, 'late'), (1, 5, 'a')")
    lab.moved(table)
    lab.moved(table)
    assert sorted(lab.here.query("SELECT id, moment, note FROM t")) == sorted(
        lab.there.query("SELECT id, moment, note FROM t_copy")
    )


@pytest.mark.feature("M3")
@pytest.mark.parametrize(("source", "destination"), ENDS)
@pytest.mark.parametrize("nulls", ["include", "fail", "skip"])
@pytest.mark.parametrize(
    "strategy", ["append", *(pytest.param(s, marks=pytest.mark.faults) for s in ("upsert", "delete_insert"))]
)
def test_null_cursors_are_as_asked_in_every_mode(
    make_lab: MakeLab, source: str, destination: str, nulls: str, strategy: str
) -> None:
    lab = make_lab(source, destination)
    table = named(lab, source, "(1, 1, 'a'), (2, NULL, 'b')") | INCREMENTAL
    table |= {"null_cursors": nulls, "write_strategy": strategy}
    if strategy != "append":
        table["write_key"] = ["id"]
    if nulls == "fail":
        said = lab.refused(table)
        assert "null_cursors" in said
        return
    lab.moved(table)
    lab.here.execute("INSERT INTO t VALUES (3, NULL, 'c'), (4, 4, 'd')")
    lab.moved(table)
    lab.moved(table)
    expected = [(1,), (2,), (3,), (4,)] if nulls == "include" else [(1,), (4,)]
    assert sorted(lab.there.query("SELECT id FROM t_copy")) == expected


@pytest.mark.postgres
@pytest.mark.parametrize("bad", ["'NaN'", "'Infinity'"])
@pytest.mark.parametrize("kind", ["double precision", "numeric"])
def test_a_cursor_that_is_no_number_is_an_error_or_orders_as_the_server_does(
    make_lab: MakeLab, bad: str, kind: str
) -> None:
    lab = make_lab("postgres", "duckdb")
    lab.here.execute(f"CREATE TABLE t (id int, moment {kind})", f"INSERT INTO t VALUES (1, 1), (2, {bad})")
    table = {"name": "src.t", "target_name": "t_copy", "replication_method": "incremental", "iterate_column": "moment"}
    result = lab.run(table)
    if result.state == "succeeded":
        lab.here.execute("INSERT INTO t VALUES (3, 2)")
        lab.moved(table)
        assert sorted(lab.there.query("SELECT id FROM t_copy")) == [(1,), (2,), (3,)]
        return
    assert "fix:" in "\n".join(map(str, result.errors.values()))
    assert "t_copy" not in lab.there.tables()
