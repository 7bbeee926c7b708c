"""PySpark transforms on Spark: exact counts, exact cursors, and every mistake told with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.errors import TransformError
from penstock.pipeline.project import Project
from penstock.testing.project import ProjectFolder
from penstock.values import TableRecord
from tests.engines.spark.lab import INCREMENTAL, Lab, make_lab
from tests.engines.spark.test_golden import contents, write_transform
from tests.faults.cells import System

pytestmark = [pytest.mark.feature("M9"), pytest.mark.postgres]

KEEPS = """
from pyspark.sql import DataFrame, functions as F

def f(df: DataFrame) -> DataFrame:
    return df.filter("id <> 7").withColumn("loud", F.upper("note"))
"""
UNANNOTATED = KEEPS.replace("df: DataFrame", "df")
DUCKDB = """
def f(df: "duckdb.DuckDBPyRelation"):
    return df.project("*, upper(note) AS loud").filter("id <> 7")
"""
COUNTS = """
def f(df: "pyspark.sql.DataFrame", ctx):
    df.count()  # computed more than once, and counted once all the same
    return df.groupBy("stamp").count().join(df, "stamp").selectExpr("id", "stamp", f"'{ctx.target}' AS note", "ratio")
"""


def lab_with(text: str, folder: Path, source: System = "postgres", destination: System = "duckdb", **more: Any) -> Lab:
    table = {"target_name": "copy", "transform": "steps/t.py::f", **more.pop("table", {})}
    lab = make_lab(folder, [table], source=source, destination=destination, **more)
    write_transform(lab, text)
    return lab


def told(record: TableRecord) -> tuple[Any, ...]:
    return (record.state, record.rows_read, record.rows_written, record.rows_deduplicated, record.cursor_after)


@pytest.mark.parametrize("text", [KEEPS, UNANNOTATED], ids=["annotated", "unannotated"])
def test_a_pyspark_transform_makes_what_a_duckdb_one_makes_on_arrow(
    text: str, tmp_path: Path, postgres_url: str, spark: object
) -> None:
    arrow = lab_with(DUCKDB, tmp_path / "arrow", url=postgres_url, table=INCREMENTAL)
    other = lab_with(text, tmp_path / "spark", url=postgres_url, table=INCREMENTAL)
    for change in range(3):
        if change == 1:
            for lab in (arrow, other):
                lab.fill((100, 9, "late at the last stamp"), (101, 20, "new"), (7, 21, "left out"))
        found = []
        for lab, session in ((arrow, None), (other, spark)):
            result = lab.run(session)
            assert not result.errors, result.errors
            found.append((told(result.tables[0]), contents(lab)))
        assert found[0] == found[1]


@pytest.mark.parametrize(
    ("source", "destination"),
    [("postgres", "postgres"), ("sqlite", "sqlite"), ("sqlite", "file"), ("duckdb", "duckdb")],
)
def test_counts_are_exact_however_often_the_frame_is_computed(
    source: System, destination: System, tmp_path: Path, postgres_url: str, spark: object
) -> None:
    table = {"partitions_column": "id", "partitions_count": 3} if source == "postgres" else {}
    lab = lab_with(COUNTS, tmp_path / "lab", source, destination, url=postgres_url, table=table)
    result = lab.run(spark)
    assert not result.errors, result.errors
    assert (result.tables[0].rows_read, result.tables[0].rows_written) == (20, 20)
    assert sum((lab.rows() or {}).values()) == 20
    assert lab.destination.litter() == []


def test_an_upsert_is_verified_through_the_transform(tmp_path: Path, postgres_url: str, spark: object) -> None:
    table = {**INCREMENTAL, "write_strategy": "upsert", "write_key": ["id"]}
    lab = lab_with(KEEPS, tmp_path / "lab", "postgres", "postgres", url=postgres_url, table=table)
    lab.settings = {"engine": "spark"}
    assert not lab.run(spark).errors
    lab.fill((3, 30, "changed"), (100, 31, "new"))
    assert not lab.run(spark).errors
    [verdict] = lab.open().verify()
    assert verdict.state == "equal", verdict


MISTAKES = {
    "no frame": ("def f(df):\n    df.count()\n", "returned NoneType, not a Spark DataFrame"),
    "another frame": ("def f(df):\n    return [1]\n", "returned list, not a Spark DataFrame"),
    "other columns": (
        "def f(df):\n    return df.withColumn('n', df.id) if df.count() else df\n",
        "returned other columns than on an empty frame",
    ),
    "unknown column": ("def f(df):\n    return df.select('nope')\n", "raised AnalysisException"),
    "columns twice": ("def f(df):\n    return df.select('id', 'id')\n", "returned columns twice: id"),
    "bad value": (
        "def f(df):\n    return df.selectExpr('id', 'cast(note as int) AS note')\n",
        "failed in Spark",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_the_transform_names_file_and_line_and_no_value(
    name: str, tmp_path: Path, postgres_url: str, spark: object
) -> None:
    text, said = MISTAKES[name]
    lab = lab_with(text, tmp_path / "lab", url=postgres_url)
    [error] = lab.run(spark).errors.values()
    assert isinstance(error, TransformError), error
    assert said in str(error)
    assert f"{lab.folder}/steps/t.py:" in str(error)
    assert "note 1" not in str(error)
    assert lab.rows() is None
    assert lab.destination.litter() == []


def test_fixtures_of_a_pyspark_transform_are_checked(tmp_path: Path, spark: object) -> None:
    lab = lab_with(UNANNOTATED, tmp_path / "lab", "sqlite")
    lab.settings = {"engine": "spark"}
    (lab.folder / "steps" / "t.f.yaml").write_text(
        "cases:\n  - name: louder\n    input:\n      - {id: 1, note: a}\n      - {id: 7, note: b}\n"
        "    expected:\n      - {id: 1, note: a, loud: A}\n"
    )
    [check] = Project.open(lab.write()).test()
    assert check.ok, check


@pytest.mark.feature("M10")
def test_a_spark_frame_is_loaded_once_by_its_load_id(tmp_path: Path, spark: Any) -> None:
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy", "write_strategy": "append", **INCREMENTAL}])
    assert not lab.run().errors
    frame = spark.range(100, 105).selectExpr("id", "id AS stamp", "concat('frame ', id) AS note", "0.5D AS ratio")
    for _ in range(2):
        penstock.load(lab.write(), table="copy", df=frame.repartition(3), load_id="today")
    found = lab.rows()
    assert found is not None
    assert sum(found.values()) == 25
    assert found[104, 104, "frame 104", 0.5] == 1


BESIDE = "from pyspark.sql import DataFrame, functions as F\nimport beside\n"
UDFS = {
    "udf": "def loud(note):\n    return note and note.upper() + str(beside.LEFT_OUT)\n"
    "def f(df: DataFrame):\n    return df.withColumn('loud', F.udf(loud, 'string')('note'))\n",
    "pandas_udf": "import pandas as pd\n@F.pandas_udf('string')\ndef loud(note: pd.Series) -> pd.Series:\n"
    "    return note.str.upper() + str(beside.LEFT_OUT)\n"
    "def f(df: DataFrame):\n    return df.withColumn('loud', loud('note'))\n",
    "mapInPandas": "def each(frames):\n    for frame in frames:\n"
    "        yield frame.assign(loud=frame.note.str.upper() + str(beside.LEFT_OUT))\n"
    "def f(df: DataFrame):\n"
    "    return df.mapInPandas(each, 'id long, stamp long, note string, ratio double, loud string')\n",
}


@pytest.mark.parametrize("name", UDFS)
def test_functions_of_the_users_files_travel_to_the_workers(name: str, tmp_path: Path, spark: object) -> None:
    lab = lab_with(BESIDE + UDFS[name], tmp_path, "sqlite")
    result = lab.run(spark)
    assert not result.errors, result.errors
    columns, rows = contents(lab)
    assert "loud" in [column[0] for column in columns]
    assert len(rows) == 20
    assert any("NOTE 37" in row for row in rows)


def test_a_users_function_that_raises_is_a_mistake_of_the_transform_and_not_tried_again(
    tmp_path: Path, spark: object
) -> None:
    text = "def wrong(note):\n    raise ValueError(note)\n" + UDFS["udf"].replace("loud, 'str", "wrong, 'str")
    lab = lab_with(BESIDE + text, tmp_path, "sqlite", settings={"retries": 2})
    [error] = lab.run(spark).errors.values()
    assert isinstance(error, TransformError)
    assert not error.retryable
    assert "note 3" not in str(error)


def test_a_file_that_needs_a_session_as_it_is_loaded_gets_one(tmp_path: Path) -> None:
    text = "LOUD = F.upper(F.col('note'))\n@F.udf('string')\ndef same(note):\n    return note\n"
    text += "def f(df: DataFrame):\n    return df.withColumn('loud', same(LOUD))\n"
    lab = lab_with(BESIDE + text, tmp_path, "sqlite", settings={"engine": "spark", "spark": {"master": "local[1]"}})
    lab.write()
    done = ProjectFolder(lab.folder).run("run", "--json")
    assert done.exit_code == 0, done.stderr
    assert len(contents(lab)[1]) == 20
