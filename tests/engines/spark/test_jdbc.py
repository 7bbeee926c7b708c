"""Tables read through Spark's own JDBC source: rows, ledgers and cursors are those of every other run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from penstock.engines.spark.jdbc import JdbcReader, submit
from penstock.engines.spark.task import Orders
from penstock.errors import ConfigError
from penstock.pipeline.results import RunOptions, Selection
from penstock.plugins import open_jdbc
from penstock.values import Connection, Field, Json, Secret, Shape, Split, SplitId, StreamName, TableSchema
from penstock.values.wire import split_to_json
from tests.engines.spark.lab import INCREMENTAL, Lab, make_lab
from tests.engines.spark.test_moves import go_three_rounds
from tests.faults.places import PostgresPlace

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# faults: the driver comes from a Maven repository, where `make test` does without a network
pytestmark = [pytest.mark.feature("M9"), pytest.mark.postgres, pytest.mark.faults]

JDBC = {"spark": {"io": "jdbc"}}
TABLES: dict[str, dict[str, Any]] = {
    "append": {**INCREMENTAL, "write_strategy": "append"},
    "replace": {"write_strategy": "replace"},
    "upsert": {**INCREMENTAL, "write_strategy": "upsert", "write_key": ["id"], "partitions_column": "id"},
    "parallel": {"write_strategy": "replace", "partitions_column": "id", "partitions_count": 3},
    "hashed": {**INCREMENTAL, "write_strategy": "append", "dedup_columns": ["id", "note"]},
}


@pytest.mark.parametrize("case", TABLES)
def test_three_rounds_through_jdbc_leave_what_arrow_leaves(
    case: str, tmp_path: Path, postgres_url: str, spark: SparkSession
) -> None:
    tables = [{"target_name": "copy", **TABLES[case], **JDBC}]
    labs = [
        make_lab(tmp_path / name, tables, source="postgres", destination="postgres", url=postgres_url)
        for name in ("arrow", "spark")
    ]
    go_three_rounds(labs, spark, case)
    assert any("postgresql-42" in row[0] for row in spark.sql("LIST JARS").collect())  # it was not read otherwise


def lab_of(folder: Path, url: str, **table: Any) -> Lab:
    tables = [{"target_name": "copy", **JDBC, **table}]
    return make_lab(folder, tables, source="postgres", destination="postgres", url=url)


def query(lab: Lab, statement: str) -> list[Any]:
    assert isinstance(lab.destination, PostgresPlace)
    return list(lab.destination.query(statement))


def test_a_whole_table_transform_sees_what_spark_read(tmp_path: Path, postgres_url: str, spark: object) -> None:
    lab = lab_of(tmp_path / "lab", postgres_url, transform="t.py::counted")
    (lab.folder / "t.py").write_text(
        "import pyarrow as pa\n\n\ndef counted(rows: pa.Table) -> pa.Table:\n"
        "    return pa.table({'many': pa.array([rows.num_rows], pa.int64())})\n"
    )
    result = lab.run(spark)
    assert not result.errors, result.errors
    assert query(lab, "SELECT many FROM copy") == [(20,)]


def test_every_type_arrives_as_without_jdbc(tmp_path: Path, postgres_url: str, spark: object) -> None:
    results = []
    for name, session in (("arrow", None), ("spark", spark)):
        lab = lab_of(tmp_path / name, postgres_url, name=f"src_{name}.kinds")
        lab.source.execute(KINDS)
        result = lab.run(session)
        assert not result.errors, result.errors
        results.append(query(lab, "SELECT * FROM copy ORDER BY id"))
    arrow, through_jdbc = ([str(row[:-1]) for row in rows] for rows in results)  # the last column is _ingested_at
    assert arrow == through_jdbc
    assert len(results[0]) == 3


KINDS = """CREATE TABLE kinds AS SELECT * FROM (VALUES
  (1::int2, true, 1.5::float4, 'NaN'::float8, 12.340::numeric(12,3), 1e40::numeric, '1066-10-14'::date,
   '0001-01-01 00:00:00.000001'::timestamp, '1900-01-01 00:00:00+05:53:28'::timestamptz, '23:59:59.999999'::time,
   'it''s \\ ∞'::text, 'ab'::char(5), '\\x00ff'::bytea, '{"a": 1}'::jsonb, '6b1f3a3e-0000-4000-8000-000000000001'::uuid,
   4294967295::oid),
  (2, false, -0.0, 'Infinity', -0.001, 0, '9999-12-31', '9999-12-31 23:59:59.999999', '1582-10-10 12:00:00+00',
   '00:00', '', '', '', '[]', '00000000-0000-0000-0000-000000000000', 0),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
) v(id, b, f4, f8, d, n, day, at, atz, clock, t, c, bin, doc, u, o)"""


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("'infinity'::date AS c", "the column 'c' (date) holds infinity or a value outside the years 1 to 9999"),
        ("'24:00'::time AS c", "the column 'c' (time) holds 24:00:00"),
        ("ARRAY[1, 2] AS c", "JDBC cannot carry the columns c"),
        ("interval '1 day' AS c", "JDBC cannot carry the columns c"),
    ],
)
def test_what_jdbc_cannot_carry_is_an_error_with_the_way_out(
    column: str, told: str, tmp_path: Path, postgres_url: str, spark: object
) -> None:
    lab = lab_of(tmp_path / "lab", postgres_url, name="src_lab.odd")
    lab.source.execute(f"CREATE TABLE odd AS SELECT 1 AS id, {column}")
    told_there = str(lab.run(spark).errors)
    assert told in told_there.replace("\\'", "'")
    assert "columns: {c: string}" in told_there
    assert lab.rows() is None
    assert lab.destination.litter() == []


def test_plan_states_that_each_partition_reads_its_own_moment(tmp_path: Path, postgres_url: str, spark: object) -> None:
    lab = lab_of(tmp_path / "lab", postgres_url, **INCREMENTAL)
    (on_spark,) = lab.open().plan(Selection(), RunOptions(spark=spark)).tables
    (on_arrow,) = lab.open().plan(Selection(), RunOptions()).tables
    assert on_spark.splits == 10
    assert any("each partition sees the rows of its own moment" in note for note in on_spark.notes)
    assert on_arrow.splits == 1
    assert "spark.io: no effect, the arrow engine reads and writes natively" in on_arrow.notes


@pytest.mark.parametrize(
    ("table", "splits"),
    [
        ({**INCREMENTAL}, 10),
        ({**INCREMENTAL, "partitions_count": 3}, 3),
        ({**INCREMENTAL, "partitions_column": "id", "partitions_count": 4}, 4),
        ({}, 1),
        ({"partitions_count": 4}, 1),
        ({"partitions_column": "id"}, 10),
        ({**INCREMENTAL, "iterate_column": ["stamp", "id"], "partitions_count": 3}, 3),
        ({**INCREMENTAL, "iterate_column": "coalesce(stamp, id)", "partitions_count": 3}, 3),
    ],
)
def test_partitions_are_counted_by_the_documented_rules(
    table: dict[str, Any], splits: int, tmp_path: Path, postgres_url: str, spark: object
) -> None:
    lab = lab_of(tmp_path / "lab", postgres_url, **table)
    (planned,) = lab.open().plan(Selection(), RunOptions(spark=spark)).tables
    assert planned.splits == splits, planned.error
    result = lab.run(spark)
    assert not result.errors, result.errors
    assert sum((lab.rows() or {}).values()) == 20


MKPIPE: dict[str, tuple[dict[str, Any], int]] = {
    "no partition column": ({"iterate_column": "at", "iterate_column_type": "datetime"}, 10),
    "an integer partition column": (
        {"iterate_column": "at", "iterate_column_type": "datetime", "partitions_column": "customer"},
        10,
    ),
    "a datetime partition column": (
        {
            "iterate_column": "id",
            "iterate_column_type": "int",
            "partitions_column": "at",
            "partitions_column_type": "datetime",
            "partitions_count": 4,
        },
        4,
    ),
}


@pytest.mark.parametrize("case", MKPIPE)
def test_mkpipe_s_three_rules_of_partitions_hold(case: str, tmp_path: Path, postgres_url: str, spark: object) -> None:
    """Among them: an integer partition column may be a NUMERIC one."""
    table, splits = MKPIPE[case]
    lab = lab_of(tmp_path / "lab", postgres_url, name="src_lab.events", replication_method="incremental", **table)
    lab.source.execute(
        "CREATE TABLE events AS SELECT n AS id, (n * 7 % 50)::numeric(12,2) AS customer,"
        " '2024-01-01'::timestamp + n * interval '1 hour' AS at FROM generate_series(1, 200) n"
    )
    (planned,) = lab.open().plan(Selection(), RunOptions(spark=spark)).tables
    assert planned.splits == splits, planned.error
    result = lab.run(spark)
    assert not result.errors, result.errors
    assert query(lab, "SELECT count(*), count(DISTINCT id), sum(customer) FROM copy") == query(
        lab, "SELECT count(*), count(DISTINCT id), sum(customer) FROM src_lab.events"
    )


def test_values_of_cursors_are_never_sql(tmp_path: Path, postgres_url: str, spark: object) -> None:
    lab = lab_of(
        tmp_path / "lab",
        postgres_url,
        replication_method="incremental",
        iterate_column="note",
        iterate_column_type="string",
        null_cursors="include",
    )
    lab.fill((50, 50, "z' OR true -- \\ \t\n$1"))
    for _ in range(2):
        result = lab.run(spark)
        assert not result.errors, result.errors
    lab.fill((51, 51, "z' OR true -- \\ \t\n$1 later"))
    assert not lab.run(spark).errors
    assert sum((lab.rows() or {}).values()) == 22


@pytest.mark.parametrize("secret", ["pa ss'w\\ord&x=1#%/?", "plain-secret"])
def test_a_refused_login_shows_no_password(
    secret: str, tmp_path: Path, postgres_url: str, spark: SparkSession, capfd: pytest.CaptureFixture[str]
) -> None:
    connection = Connection(
        "here",
        "postgres",
        host=urlsplit(postgres_url).hostname,
        port=urlsplit(postgres_url).port,
        database="no such database",
        user="postgres",
        password=Secret("env:X", lambda: secret),
    )
    split = Split(SplitId("t#0"), StreamName("t"), TableSchema((Field("id", "int32"),)), dict(WORK))
    options = open_jdbc(connection).options(split)
    assert secret not in options["url"]
    assert options["password"] == secret
    assert options["logServerErrorDetail"] == "false"  # the driver would quote rows
    reader = JdbcReader(connection)
    orders = Orders(reader, [json.dumps([split_to_json(split)])], Shape(TableSchema(())))
    with pytest.raises(ConfigError) as caught:
        submit(spark, reader, orders)
    told = f"{caught.value} {caught.value.__cause__} {capfd.readouterr()}"
    assert "the server refused the JDBC login" in told
    assert secret not in told


WORK: dict[str, Json] = {
    "sql": "SELECT 1",
    "settings": {},
    "cursor_type": None,
    "cursor_column": None,
    "batch_rows": 10,
}


def test_a_system_without_jdbc_is_refused_where_it_is_written(tmp_path: Path, spark: object) -> None:
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy", **JDBC}], source="duckdb", destination="duckdb")
    result = lab.run(spark)
    assert "variant 'duckdb' is not read through JDBC" in str(result.errors)
    assert lab.rows() is None


def test_a_spark_frame_of_rows_read_through_jdbc_keeps_moments(
    tmp_path: Path, postgres_url: str, spark: object
) -> None:
    lab = lab_of(tmp_path / "lab", postgres_url, name="src_lab.moments", transform="t.py::same")
    lab.source.execute("CREATE TABLE moments AS SELECT 1 AS id, '2024-05-01 12:00:00.000001+02'::timestamptz AS at")
    (lab.folder / "t.py").write_text(
        "from pyspark.sql import DataFrame\n\n\ndef same(rows: DataFrame) -> DataFrame:\n    return rows\n"
    )
    result = lab.run(spark)
    assert not result.errors, result.errors
    assert query(lab, "SELECT id, at::text FROM copy") == [(1, "2024-05-01 10:00:00.000001+00")]
