"""PySpark transforms without a JVM: what they get, how they fail, and what they share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from penstock.engines.arrow.engine import ArrowEngine
from penstock.engines.spark.sail.frames import SailFrames
from penstock.errors import ConfigError, TransformError
from penstock.pipeline.project import Project
from tests.engines.spark.lab import Lab, make_lab
from tests.engines.spark.test_frames import MISTAKES, UNANNOTATED, lab_with
from tests.engines.spark.test_golden import write_transform
from tests.engines.spark.test_sail import HEAD, WHOLE, contents

pytestmark = pytest.mark.feature("M9")


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_on_sail_names_file_and_line_and_no_value(name: str, tmp_path: Path) -> None:
    text, said = MISTAKES[name]
    lab = lab_with(text, tmp_path / "lab", "sqlite")
    [error] = lab.run().errors.values()
    assert isinstance(error, TransformError), error
    assert said.replace("in Spark", "in Sail") in str(error)
    assert f"{lab.folder}/steps/t.py:" in str(error)
    assert "note 1" not in str(error)
    assert lab.rows() is None
    assert lab.destination.litter() == []


RAISES = """
from pyspark.sql.types import StringType
@F.udf(StringType())
def g(text):
    raise LookupError(text)
def f(df):
    return df.select(g("note").alias("note"))
"""
FAILURES = {
    "def f(df): return df.selectExpr('cast(note AS int) AS n')": "failed in Sail: cast error",
    "def f(df): return df.selectExpr('1 / (id - 3) AS n')": "failed in Sail: division by zero",
    HEAD + RAISES: "failed in Sail: LookupError",
}


@pytest.mark.parametrize("text", FAILURES)
def test_what_went_wrong_in_sail_is_told_without_the_value(text: str, tmp_path: Path) -> None:
    [error] = lab_with(text, tmp_path / "lab", "sqlite").run().errors.values()
    assert FAILURES[text] in str(error)
    assert "note 1" not in str(error)


LOUDER = """
from pyspark.sql.types import StringType

@F.udf(StringType())
def louder(text):
    return text and text.upper()

def f(df):
    return df.select(louder("note").alias("n"))
"""


def test_a_python_function_of_rows_runs_on_sail(tmp_path: Path) -> None:
    lab = lab_with(HEAD + LOUDER, tmp_path / "lab", "sqlite")
    assert not lab.run().errors
    assert len(contents(lab)[1]) == 20
    assert "{'n': 'NOTE 1'}" in contents(lab)[1]


def test_a_file_that_asks_for_a_session_as_it_is_loaded_is_told_the_way_out(tmp_path: Path) -> None:
    lab = lab_with(HEAD + LOUDER.replace("StringType()", "'string'"), tmp_path / "lab", "sqlite")
    with pytest.raises(TransformError, match=r"asks for a Spark session.*\n.*t\.py:6.*\n.*such as StringType\(\)"):
        lab.open().plan()


def test_the_tables_of_a_run_share_a_process_and_no_temporary_view(tmp_path: Path) -> None:
    tables = [
        {"name": "rows", "target_name": f"copy{n}", "transform": f"steps/t.py::f{n}", "write_strategy": "replace"}
        for n in range(4)
    ]
    lab = make_lab(tmp_path / "lab", tables)
    made = "def f{0}(df):\n    df.where('id = {0}').createOrReplaceTempView('v')\n" + (
        "    time.sleep(0.2)\n    return df.sparkSession.sql(f'SELECT id, {{os.getpid()}} AS pid FROM v')\n"
    )
    write_transform(lab, "import os, time\n" + "\n".join(made.format(n) for n in range(4)))
    assert not lab.run().errors
    rows = [row for n in range(4) for row in contents(lab, f"copy{n}")[1]]
    pids = {row.partition(", 'pid': ")[2] for row in rows}
    assert [row.partition(",")[0] for row in rows] == ["{'id': 0", "{'id': 1", "{'id': 2", "{'id': 3"]
    assert len(pids) == 1


def test_fixtures_of_a_pyspark_transform_are_checked_on_sail(tmp_path: Path) -> None:
    lab = lab_with(UNANNOTATED, tmp_path / "lab", "sqlite")
    assert [check.ok for check in fixture_checks(lab)] == [True]


ROWS = '@penstock.transform(scope="rows")\n'
LIAR = "def f(df: 'pyspark.sql.DataFrame'):\n    return df.selectExpr('max(id) AS id', 'max(note) AS note')\n"


@pytest.mark.parametrize("engine", ["arrow", "spark"])
@pytest.mark.parametrize(
    ("said", "is_ok"), [(ROWS, False), (WHOLE, True), ("", True)], ids=["says rows", "says table", "says nothing"]
)
def test_a_transform_that_lies_about_its_scope_fails_its_fixture(
    engine: str, said: str, is_ok: bool, tmp_path: Path, spark: object
) -> None:
    lab = lab_with("import penstock\n" + said + LIAR, tmp_path / "lab", "sqlite")
    lab.settings = {"engine": engine}
    expected = "      - {id: 7, note: b}\n"
    [check] = fixture_checks(lab, expected)
    assert check.ok == is_ok, check
    assert is_ok or 'scope="table"' in check.message


@pytest.mark.parametrize("engine", ["arrow", "spark"])
def test_a_function_that_declares_nothing_sees_all_rows_of_a_load(engine: str, tmp_path: Path, spark: object) -> None:
    split = {"partitions_column": "id", "partitions_count": 4}
    lab = lab_with(LIAR, tmp_path / "lab", "sqlite", table={"write_strategy": "replace", **split})
    result = lab.run(spark if engine == "spark" else None)
    assert not result.errors, result.errors
    assert len(contents(lab)[1]) == 1


def fixture_checks(lab: Lab, expected: str = "      - {id: 1, note: a, loud: A}\n") -> list[Any]:
    (lab.folder / "steps" / "t.f.yaml").write_text(
        "cases:\n  - name: one\n    input:\n      - {id: 1, note: a}\n      - {id: 7, note: b}\n    expected:\n"
        + expected
    )
    return list(Project.open(lab.write()).test())


@pytest.fixture
def engine(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    least_bytes = getattr(request, "param", 512 << 20)
    made = ArrowEngine(96 << 20, 2, tmp_path, SailFrames(0, least_bytes=least_bytes))
    yield made
    made.close()
    assert list(tmp_path.glob("penstock-work-*")) == []


def load(engine: ArrowEngine, folder: Path, text: str) -> Any:
    (folder / "t.py").write_text(HEAD + text)
    return engine.load_transform("t.py::f", str(folder))


def test_rows_keep_their_order_within_a_batch(engine: ArrowEngine, tmp_path: Path) -> None:
    made = load(
        engine, tmp_path, "def f(df: DataFrame):\n    return df.where('n % 3 > 0').withColumn('m', F.col('n') * 2)\n"
    )
    rows = pa.RecordBatch.from_pydict({"n": list(range(200_000))})
    found = [n for batch in made.stream([rows], rows.schema) for n in batch.column("n").to_pylist()]
    assert found == [n for n in range(200_000) if n % 3]


def test_a_table_larger_than_a_message_goes_through(engine: ArrowEngine, tmp_path: Path) -> None:
    made = load(engine, tmp_path, WHOLE + "def f(df: DataFrame):\n    return df.withColumn('n', F.length('t'))\n")
    rows = pa.RecordBatch.from_pydict({"t": ["x" * (1 << 20)] * 8})
    found = [n for batch in made.stream([rows] * 20, rows.schema) for n in batch.column("n").to_pylist()]
    assert found == [1 << 20] * 160


def test_unsigned_columns_come_back_as_they_came(engine: ArrowEngine, tmp_path: Path) -> None:
    made = load(engine, tmp_path, "def f(df: DataFrame):\n    return df\n")
    kinds = {"a": pa.uint8(), "b": pa.uint16(), "c": pa.uint32(), "d": pa.uint64()}
    rows = pa.table({name: pa.array([0, None, 2**kind.bit_width - 1], kind) for name, kind in kinds.items()})
    assert made.apply(rows) == rows


def test_a_column_without_a_spark_type_is_named(engine: ArrowEngine, tmp_path: Path) -> None:
    made = load(engine, tmp_path, "def f(df: DataFrame):\n    return df\n")
    with pytest.raises(ConfigError, match=r"no type for the columns t \(time64\[us\]\)"):
        made.declared_for(pa.schema([("t", pa.time64("us"))]))


@pytest.mark.parametrize("engine", [64 << 10], indirect=True)
def test_a_join_without_memory_says_so(engine: ArrowEngine, tmp_path: Path) -> None:
    text = "def f(df: DataFrame):\n    return df.join(df.withColumnRenamed('t', 'u'), 'n').drop('t')\n"
    made = load(engine, tmp_path, WHOLE + text)
    rows = pa.RecordBatch.from_pydict({"n": list(range(200_000)), "t": [f"row {n}" * 20 for n in range(200_000)]})
    with pytest.raises(TransformError, match=r"needs more memory[^$]*raise settings\.memory[^$]*joins do not spill"):
        list(made.stream([rows], rows.schema))
