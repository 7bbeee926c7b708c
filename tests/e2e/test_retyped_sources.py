"""A source's columns change between two runs of an append by cursor: no row comes twice, none is lost."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

import penstock

AS_TEXT = {"transform_sql": "SELECT * REPLACE (CAST(v AS VARCHAR) AS v) FROM input"}  # fits the table, whatever v is


class Copy:
    """`t` appended by its column `moment` to a table of a DuckDB file."""

    def __init__(self, folder: Path, here: dict[str, object], **table: object) -> None:
        self.folder = folder
        described = {"name": "t", "target_name": "copy", "replication_method": "incremental"}
        tables = [{**described, "iterate_column": "moment", "write_strategy": "append", **table}]
        there = {"variant": "duckdb", "database": str(folder / "there.duckdb")}
        pipeline = {"name": "p", "source": "here", "destination": "there", "tables": tables}
        test = {"connections": {"here": here, "there": there}, "pipelines": [pipeline]}
        self.path = folder / "penstock.yaml"
        self.path.write_text(json.dumps({"version": 2, "default_environment": "test", "test": test}))

    def run(self, *, full_refresh: bool = False) -> list[int]:
        """The ids in the table after a run that must succeed."""
        penstock.run(self.path, full_refresh=full_refresh)
        return self.ids()

    def refused(self) -> str:
        """What a run said that must fail, and leave table and ledger as they were."""
        before = self.ids(), self.ledger()
        with pytest.raises(penstock.ContractError) as failure:
            penstock.run(self.path)
        assert (self.ids(), self.ledger()) == before
        return str(failure.value)

    def ids(self) -> list[int]:
        return [int(str(row[0])) for row in self.query("SELECT id FROM copy ORDER BY id")]

    def ledger(self) -> list[tuple[object, ...]]:
        return self.query("SELECT sequence, cursor_value FROM _penstock_ledger")

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with closing(duckdb.connect(str(self.folder / "there.duckdb"))) as there:
            rows: list[tuple[object, ...]] = there.execute(sql).fetchall()
            return rows


def csv_copy(tmp_path: Path, text: str, **table: object) -> Copy:
    add_csv(tmp_path, "a", text)
    return Copy(tmp_path, {"variant": "file", "extra": {"path": str(tmp_path / "here"), "format": "csv"}}, **table)


def add_csv(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "here" / "t").mkdir(parents=True, exist_ok=True)
    (tmp_path / "here" / "t" / f"{name}.csv").write_text(text)


# two cells before, and one that makes the column's type wider
WIDENED = {
    "text_of_floats": ("1.50", "2.25", "n/a"),
    "floats_of_integers": ("1", "2", "2.5"),
    "text_of_integers": ("1", "-2", "n/a"),
    "text_of_long_integers": ("1", "12345678901234567890", "n/a"),
    "numbers_of_long_integers": ("1", "12345678901234567890", "1e400"),
    "numbers_of_floats": ("0.5", "1e-3", "0.12345678901234567890123"),
    "text_of_truths": ("true", "FALSE", "2"),
    "moments_of_days": ("2024-01-01", "2024-01-02", "2024-01-03 10:00"),
    "text_of_days": ("2024-01-01", "2024-01-02", "soon"),
    "text_of_moments": ("2024-01-01 10:00", "2024-01-02T10:00:00.5", "soon"),
    "text_of_instants": ("2024-01-01T10:00+02", "2024-01-02 10:00:00Z", "soon"),
    "text_of_times": ("10:00:00", "10:00:00.5", "soon"),
    "integers_of_nothing": ("", "", "5"),
    "text_of_some": ("", "2", "n/a"),
}


@pytest.mark.feature("M3")
def test_csv_columns_that_a_new_file_makes_wider_bring_no_row_twice(tmp_path: Path) -> None:
    first, second, wider = (",".join(cells) for cells in zip(*WIDENED.values(), strict=True))
    header = ",".join(("id", "moment", *WIDENED))
    copy = csv_copy(tmp_path, f"{header}\n1,6,{first}\n2,6,{second}\n", transform_sql="SELECT id, moment FROM input")
    assert copy.run() == [1, 2]
    add_csv(tmp_path, "b", f"{header}\n3,7,{wider}\n4,6,{wider}\n5,6,{second}\n")
    assert copy.run() == [1, 2, 3, 4, 5]
    assert copy.run() == [1, 2, 3, 4, 5]
    add_csv(tmp_path, "c", f"{header}\n6,7,{wider}\n")
    assert copy.run() == [1, 2, 3, 4, 5, 6]


@pytest.mark.feature("M3")
def test_rows_that_were_equal_when_they_were_delivered_come_as_often_as_there_are_more_of_them(tmp_path: Path) -> None:
    copy = csv_copy(tmp_path, "id,moment,v\n1,6,1.5\n1,6,1.50\n", **AS_TEXT)
    copy.run()
    add_csv(tmp_path, "b", "id,moment,v\n1,6,1.500\n1,7,n/a\n")
    assert copy.run() == [1, 1, 1, 1]


def test_a_new_column_of_csv_brings_no_row_twice(tmp_path: Path) -> None:
    copy = csv_copy(tmp_path, "id,moment\n1,6\n2,6\n")
    copy.run()
    add_csv(tmp_path, "b", "id,moment,v\n3,6,x\n4,7,\n")
    assert copy.run() == [1, 2, 3, 4]


def test_a_row_that_differs_from_a_delivered_one_only_in_a_new_column_is_not_taken_for_it(tmp_path: Path) -> None:
    copy = csv_copy(tmp_path, "id,moment\n1,6\n")
    copy.run()
    (tmp_path / "here" / "t" / "0.csv").write_text("id,moment,v\n1,6,x\n")  # read before the delivered one
    assert "'v' was absent, is string" in copy.refused()


def test_json_lines_whose_column_becomes_mixed_bring_no_row_twice(tmp_path: Path) -> None:
    folder = tmp_path / "here" / "t"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text('{"id":1,"moment":6,"v":"a","w":1.50}\n{"id":2,"moment":6,"v":"5","w":2}\n')
    sql = "SELECT id, moment FROM input"
    copy = Copy(
        tmp_path, {"variant": "file", "extra": {"path": str(tmp_path / "here"), "format": "jsonl"}}, transform_sql=sql
    )
    copy.run()
    (folder / "b.jsonl").write_text('{"id":3,"moment":6,"v":5,"w":"x"}\n{"id":4,"moment":7,"v":null,"w":[1]}\n')
    assert copy.run() == [1, 2, 3, 4]


@pytest.mark.parametrize("options", [{"columns": {"v": "string"}}, {"columns": {"v": "decimal(12,3)"}}])
def test_a_column_whose_type_the_project_changes_brings_no_row_twice(
    tmp_path: Path, options: dict[str, object]
) -> None:
    csv_copy(tmp_path, "id,moment,v\n1,6,1.50\n2,6,2.25\n", **AS_TEXT).run()
    copy = csv_copy(tmp_path, "id,moment,v\n1,6,1.50\n2,6,2.25\n3,6,3.5\n", **AS_TEXT, **options)
    assert copy.run() == [1, 2, 3]


def database_copy(tmp_path: Path, system: str, created: str, *rows: str, **table: object) -> Copy:
    execute(tmp_path, system, created, *(f"INSERT INTO t VALUES {row}" for row in rows))
    return Copy(tmp_path, {"variant": system, "database": str(tmp_path / f"here.{system}")}, **table)


def execute(tmp_path: Path, system: str, *statements: str) -> None:
    path = str(tmp_path / f"here.{system}")
    connection = sqlite3.connect(path) if system == "sqlite" else duckdb.connect(path)
    with closing(connection):
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def retype(tmp_path: Path, system: str, types: Sequence[str]) -> None:
    """Columns v0, v1... of other types; SQLite has to make the table again."""
    columns = [f"v{number}" for number in range(len(types))]
    if system == "duckdb":
        changes = [f"ALTER TABLE t ALTER COLUMN {c} TYPE {kind}" for c, kind in zip(columns, types, strict=True)]
        execute(tmp_path, system, *changes)
        return
    declared = ", ".join(f"{c} {kind}" for c, kind in zip(columns, types, strict=True))
    execute(
        tmp_path,
        system,
        "ALTER TABLE t RENAME TO before",
        f"CREATE TABLE t (id INTEGER, moment INTEGER, {declared})",
        "INSERT INTO t SELECT * FROM before",
    )


# old type, new type, a value, another of the new type
RETYPED = {
    "duckdb": (
        ("DOUBLE", "VARCHAR", "2.25", "'n/a'"),
        ("BIGINT", "DOUBLE", "2", "2.5"),
        ("BIGINT", "DECIMAL(20,2)", "2", "2.5"),
        ("INTEGER", "BIGINT", "2", "3"),
        ("DECIMAL(10,2)", "DOUBLE", "2.25", "2.5"),
        ("DECIMAL(10,2)", "DECIMAL(12,4)", "2.25", "2.5"),
        ("DECIMAL(10,2)", "VARCHAR", "2.50", "'n/a'"),
        ("BOOLEAN", "VARCHAR", "true", "'n/a'"),
        ("BOOLEAN", "INTEGER", "true", "3"),
        ("DATE", "TIMESTAMP", "'2024-01-02'", "'2024-01-02 10:00'"),
        ("DATE", "VARCHAR", "'2024-01-02'", "'n/a'"),
        ("TIMESTAMP", "VARCHAR", "'2024-01-02 10:00:00.5'", "'n/a'"),
        ("TIMESTAMPTZ", "VARCHAR", "'2024-01-02 10:00:00+00'", "'n/a'"),
        ("TIME", "VARCHAR", "'10:00:00.5'", "'n/a'"),
        ("UUID", "VARCHAR", "'6ba7b810-9dad-11d1-80b4-00c04fd430c8'", "'n/a'"),
        ("VARCHAR", "BIGINT", "'2'", "3"),
        ("VARCHAR", "DATE", "'2024-01-02'", "'2024-01-03'"),
        ("VARCHAR", "JSON", "'{\"a\": [1]}'", "'[]'"),
        ("BLOB", "VARCHAR", "'abc'", "'n/a'"),
        ("INTEGER[]", "BIGINT[]", "[1, 2]", "[3]"),
    ),
    "sqlite": (
        ("REAL", "TEXT", "2.25", "'n/a'"),
        ("INTEGER", "REAL", "2", "2.5"),
        ("INTEGER", "TEXT", "2", "'n/a'"),
        ("DECIMAL(10,2)", "TEXT", "2.25", "'n/a'"),
        ("BOOLEAN", "TEXT", "1", "'n/a'"),
        ("DATE", "TEXT", "'2024-01-02'", "'n/a'"),
        ("TIMESTAMP", "TEXT", "'2024-01-02T10:00:00Z'", "'n/a'"),
        ("TEXT", "INTEGER", "'2'", "3"),
    ),
}


@pytest.mark.feature("M3")
@pytest.mark.parametrize("system", RETYPED)
def test_columns_retyped_in_a_database_bring_no_row_twice(tmp_path: Path, system: str) -> None:
    old, new, values, others = (list(cells) for cells in zip(*RETYPED[system], strict=True))
    copy = database_copy(
        tmp_path,
        system,
        f"CREATE TABLE t (id INTEGER, moment INTEGER, {', '.join(f'v{i} {kind}' for i, kind in enumerate(old))})",
        *(f"({number}, 6, {', '.join(values)})" for number in (1, 2)),
        transform_sql="SELECT id, moment FROM input",
    )
    assert copy.run() == [1, 2]
    retype(tmp_path, system, new)
    execute(
        tmp_path,
        system,
        f"INSERT INTO t VALUES (3, 6, {', '.join(others)}), (5, 6, {', '.join(values)})",
        "INSERT INTO t (id, moment) VALUES (4, 7)",
    )
    assert copy.run() == [1, 2, 3, 4, 5]
    assert copy.run() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("system", ["sqlite", "duckdb"])
def test_a_row_that_moved_on_leaves_no_doubt_where_the_way_back_is_certain(tmp_path: Path, system: str) -> None:
    copy = database_copy(
        tmp_path,
        system,
        "CREATE TABLE t (id INTEGER, moment INTEGER, v0 INTEGER)",
        "(1, 6, 1), (2, 6, 2)",
        transform_sql="SELECT id, moment FROM input",
    )
    copy.run()
    retype(tmp_path, system, ["TEXT"])
    execute(tmp_path, system, "UPDATE t SET moment = 7 WHERE id = 2", "INSERT INTO t VALUES (3, 6, 'n/a'), (4, 6, '4')")
    assert copy.run() == [1, 2, 2, 3, 4]


@pytest.mark.parametrize("system", ["sqlite", "duckdb"])
def test_a_column_added_with_a_default_brings_no_row_twice(tmp_path: Path, system: str) -> None:
    copy = database_copy(tmp_path, system, "CREATE TABLE t (id INTEGER, moment INTEGER)", "(1, 6), (2, 6)")
    copy.run()
    execute(
        tmp_path, system, "ALTER TABLE t ADD COLUMN v INTEGER DEFAULT 5", "INSERT INTO t VALUES (3, 6, 1), (4, 7, 1)"
    )
    assert copy.run() == [1, 2, 3, 4]


CHANGES = {
    "dropped": ("INTEGER", ["ALTER TABLE t DROP COLUMN v"], "'v' was int32, is absent"),
    "renamed": ("INTEGER", ["ALTER TABLE t RENAME COLUMN v TO w"], "'v' was int32, is absent"),
    "rounded": ("DOUBLE", ["ALTER TABLE t ALTER COLUMN v TYPE INTEGER"], "'v' was float64, is int32"),
    "cut": (
        "DECIMAL(9,2)",
        ["ALTER TABLE t ALTER COLUMN v TYPE DECIMAL(9,1)"],
        "'v' was decimal(9,2), is decimal(9,1)",
    ),
}


@pytest.mark.feature("M3")
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_after_which_delivered_rows_may_not_be_recognised_is_refused(tmp_path: Path, change: str) -> None:
    kind, statements, said = CHANGES[change]
    table = {} if change in ("dropped", "renamed") else AS_TEXT
    copy = database_copy(
        tmp_path,
        "duckdb",
        f"CREATE TABLE t (id INTEGER, moment INTEGER, v {kind})",
        "(1, 6, 1.37), (2, 6, 2.37)",
        **table,
    )
    assert copy.run() == [1, 2]
    execute(tmp_path, "duckdb", *statements)
    refusal = copy.refused()
    assert said in refusal
    assert "--full-refresh" in refusal
    assert "write_key" in refusal
    assert copy.run(full_refresh=True) == [1, 2]
    execute(tmp_path, "duckdb", "INSERT INTO t (id, moment) VALUES (3, 6)")
    assert copy.run() == [1, 2, 3]


def test_a_dropped_column_that_held_nothing_at_the_edge_is_no_reason_to_refuse(tmp_path: Path) -> None:
    copy = database_copy(
        tmp_path, "duckdb", "CREATE TABLE t (id INTEGER, moment INTEGER, v INTEGER)", "(1, 5, 1), (2, 6, NULL)"
    )
    copy.run()
    execute(tmp_path, "duckdb", "ALTER TABLE t DROP COLUMN v", "INSERT INTO t VALUES (3, 6), (4, 7)")
    assert copy.run() == [1, 2, 3, 4]


def test_a_dropped_column_and_no_row_up_to_the_last_cursor_is_no_reason_to_refuse(tmp_path: Path) -> None:
    copy = database_copy(tmp_path, "duckdb", "CREATE TABLE t (id INTEGER, moment INTEGER, v INTEGER)", "(1, 6, 1)")
    copy.run()
    execute(tmp_path, "duckdb", "DELETE FROM t", "ALTER TABLE t DROP COLUMN v", "INSERT INTO t VALUES (2, 7)")
    assert copy.run() == [1, 2]


def test_a_keyed_table_takes_rows_that_are_not_recognised(tmp_path: Path) -> None:
    copy = database_copy(
        tmp_path,
        "duckdb",
        "CREATE TABLE t (id INTEGER, moment INTEGER, v INTEGER)",
        "(1, 6, 1), (2, 6, 2)",
        write_strategy="upsert",
        write_key=["id"],
    )
    copy.run()
    execute(tmp_path, "duckdb", "ALTER TABLE t DROP COLUMN v", "INSERT INTO t VALUES (3, 6)")
    assert copy.run() == [1, 2, 3]


def test_a_ledger_without_types_is_taken_for_one_of_the_types_of_now(tmp_path: Path) -> None:
    copy = csv_copy(tmp_path, "id,moment,v\n1,6,1.50\n2,6,2.25\n")
    copy.run()
    with closing(duckdb.connect(str(tmp_path / "there.duckdb"))) as there:
        there.execute("DELETE FROM _penstock_boundary WHERE digest LIKE 'types %'")
    add_csv(tmp_path, "b", "id,moment,v\n3,6,3.5\n4,7,4.5\n")
    assert copy.run() == [1, 2, 3, 4]
    assert copy.query("SELECT count(*) FROM _penstock_boundary WHERE digest LIKE 'types %'") == [(1,)]
