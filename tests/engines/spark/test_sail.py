"""PySpark transforms without a JVM: the arrow engine with Sail leaves what the spark engine leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from penstock.engines.arrow.engine import ArrowEngine
from penstock.engines.spark.sail.frames import SailFrames
from penstock.errors import ConfigError, TransformError
from penstock.pipeline.project import Project
from tests.engines.spark.lab import INCREMENTAL, Lab, make_lab
from tests.engines.spark.test_frames import KEEPS, MISTAKES, UNANNOTATED, lab_with, told
from tests.engines.spark.test_golden import FramedJourney, write_transform

pytestmark = pytest.mark.feature("M9")

HEAD = "import penstock\nfrom pyspark.sql import DataFrame, Window, functions as F\n"
WHOLE = '@penstock.transform(scope="table")\n'
GOLDEN = {
    "annotated": KEEPS,
    "unannotated": UNANNOTATED,
    "context": "def f(df, ctx):\n"
    "    return df.selectExpr('id', f\"'{ctx.table} {ctx.target} {ctx.pipeline}' AS told\")\n",
    "grouped": WHOLE + "def f(df: DataFrame):\n"
    "    return df.groupBy('stamp').agg(\n"
    "        F.count('*').alias('n'), F.max('note').alias('note'), F.avg('ratio').alias('r'))\n",
    "joined": WHOLE + "def f(df: DataFrame):\n"
    "    return df.join(df.groupBy('stamp').count(), 'stamp', 'left').where('count > 1').drop('ratio')\n",
    "ranked": WHOLE + "def f(df: DataFrame):\n"
    "    by = Window.partitionBy('stamp').orderBy(F.desc('id'))\n"
    "    return df.withColumn('rank', F.row_number().over(by)).where('rank = 1')\n",
    "pivoted": WHOLE + "def f(df: DataFrame):\n"
    "    return df.groupBy('stamp').pivot('id', [1, 2]).agg(F.max('ratio'))\n",
    "keyed": "@penstock.transform(scope='keys', keys=['stamp'])\ndef f(df: DataFrame):\n"
    "    return df.groupBy('stamp').agg(F.count('*').alias('n'), F.max('id').alias('id'))\n",
    "by view": "def f(df: DataFrame):\n    df.createOrReplaceTempView('given')\n"
    "    return df.sparkSession.sql(\"SELECT id, concat(note, '!') AS note FROM given WHERE note LIKE 'note 1%'\")\n",
    "neighbour": "import beside\ndef f(df: DataFrame):\n    return df.where(df.id != beside.LEFT_OUT)\n",
    "expressions": "def f(df: DataFrame):\n    return df.select(\n"
    "        'id', F.xxhash64('id', 'note').alias('hashed'), F.sha2('note', 256).alias('sha'),\n"
    "        F.split('note', ' ').alias('words'), F.struct('id', 'note').alias('both'),\n"
    "        F.date_add(F.lit('2024-02-28').cast('date'), F.col('id').cast('int')).alias('day'),\n"
    "        F.to_timestamp(F.lit('2024-02-28 10:11:12')).alias('moment'), F.lit(b'x').alias('bytes'),\n"
    "        F.lit('2024-02-28 10:11:12').cast('timestamp_ntz').alias('wall'),\n"
    "        (F.col('ratio').cast('decimal(12,2)') * F.lit('1.10').cast('decimal(5,2)')).alias('price'),\n"
    "        F.regexp_replace('note', '(\\\\d+)', '<$1>').alias('marked'),\n"
    "        F.expr('id % 3').cast('tinyint').alias('small'),\n"
    "        F.coalesce('note', F.lit('-')).alias('filled'), F.expr('cast(ratio AS float)').alias('narrow'))\n",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_pyspark_transform_makes_on_sail_what_it_makes_on_spark(name: str, tmp_path: Path, spark: object) -> None:
    found = []
    for folder, session in (("sail", None), ("spark", spark)):
        lab = make_lab(tmp_path / folder, [{"target_name": "copy", "transform": "steps/t.py::f"}])
        write_transform(lab, HEAD + GOLDEN[name])
        result = lab.run(session)
        assert not result.errors, result.errors
        found.append((contents(lab), told(result.tables[0])))
    assert found[0] == found[1]


EXPRESSIONS = (Path(__file__).parent / "expressions.txt").read_text().splitlines()


def test_spark_sql_expressions_make_on_sail_what_they_make_on_spark(tmp_path: Path, spark: object) -> None:
    columns = [f"{expression} AS c{number}" for number, expression in enumerate(EXPRESSIONS)]
    text = f"def f(df):\n    return df.where('id = 1').selectExpr(*{columns!r})\n"
    found = []
    for folder, session in (("sail", None), ("spark", spark)):
        lab = make_lab(tmp_path / folder, [{"target_name": "copy", "transform": "steps/t.py::f"}])
        write_transform(lab, text)
        result = lab.run(session)
        assert not result.errors, result.errors
        found.append(values_of(lab))
    assert len(found[0]) > 200
    assert found[0] == found[1]


def values_of(lab: Lab) -> dict[str, tuple[str, str]]:
    """Type and value of each expression."""
    with duckdb.connect(str(lab.folder / "target.duckdb")) as link:
        table = link.sql("SELECT * EXCLUDE _ingested_at FROM copy").to_arrow_table()
    [row] = table.to_pylist()
    return {EXPRESSIONS[n]: (str(table.schema.field(f"c{n}").type), repr(row[f"c{n}"])) for n in range(len(row))}


TYPES = """CREATE TABLE src_{0}.kinds AS SELECT
    n::int2 AS small, n::int4 AS medium, n::int8 AS large, (n / 3.0)::float4 AS narrow, (n / 7.0)::float8 AS wide,
    (n * 1.25)::numeric(12, 2) AS price, (n * 1234567890.12345)::numeric(38, 10) AS huge, n % 2 = 0 AS flag,
    'text ' || n AS words, ('v' || n)::varchar(20) AS short, decode(lpad(to_hex(n), 2, '0'), 'hex') AS bytes,
    date '1969-12-30' + n AS day, timestamp '1969-12-31 23:59:59.123456' + n * interval '1 hour' AS wall,
    timestamptz '2024-03-31 00:30:00.654321+00' + n * interval '1 hour' AS moment,
    ('00000000-0000-0000-0000-0000000000' || lpad(n::text, 2, '0'))::uuid AS name, json_build_object('n', n) AS doc,
    ARRAY[n, NULL, n + 1]::int8[] AS numbers
FROM (SELECT generate_series(0, 20) AS n UNION ALL SELECT NULL) AS numbers"""


@pytest.mark.postgres
@pytest.mark.feature("N3")
def test_every_value_of_every_type_passes_sail(tmp_path: Path, postgres_url: str) -> None:
    assert FramedJourney(tmp_path, postgres_url).go_through_frames() > 140


@pytest.mark.postgres
@pytest.mark.feature("N3")
@pytest.mark.parametrize("text", ["def f(df): return df", "def f(df): return df.where('medium > 3 OR medium IS NULL')"])
def test_every_type_comes_back_from_sail_as_from_spark(
    text: str, tmp_path: Path, postgres_url: str, spark: object
) -> None:
    found = []
    for folder, session in (("sail", None), ("spark", spark)):
        lab = make_lab(tmp_path / folder, [], source="postgres", url=postgres_url)
        lab.source.execute(TYPES.format(folder))
        lab.tables = [{"name": f"src_{folder}.kinds", "target_name": "copy", "transform": "steps/t.py::f"}]
        write_transform(lab, text)
        result = lab.run(session)
        assert not result.errors, result.errors
        found.append(contents(lab))
    assert found[0] == found[1]
    assert len(found[0][1]) > 10


def test_three_rounds_of_an_upsert_leave_on_sail_what_they_leave_on_spark(tmp_path: Path, spark: object) -> None:
    table = {**INCREMENTAL, "write_strategy": "upsert", "write_key": ["id"]}
    labs = [(lab_with(KEEPS, tmp_path / name, "sqlite", table=table), name) for name in ("sail", "spark")]
    for change in range(3):
        found = []
        for lab, name in labs:
            if change:
                lab.fill((100 + change, 9 + change, "new"), (3, 30 + change, f"changed {change}"), (7, 40, "left out"))
            result = lab.run(spark if name == "spark" else None)
            assert not result.errors, result.errors
            found.append((contents(lab), told(result.tables[0])))
        assert found[0] == found[1]


@pytest.mark.postgres
def test_an_upsert_is_verified_through_sail(tmp_path: Path, postgres_url: str) -> None:
    table = {**INCREMENTAL, "write_strategy": "upsert", "write_key": ["id"]}
    lab = lab_with(KEEPS, tmp_path / "lab", "postgres", "postgres", url=postgres_url, table=table)
    assert not lab.run().errors
    lab.fill((3, 30, "changed"), (100, 31, "new"))
    assert not lab.run().errors
    [verdict] = lab.open().verify()
    assert verdict.state == "equal", verdict


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


def contents(lab: Lab, table: str = "copy") -> tuple[Any, list[str]]:
    """Columns with their types, and the rows in an order of their own, without the time of the load."""
    with duckdb.connect(str(lab.folder / "target.duckdb")) as link:
        rows = link.sql(f"SELECT * EXCLUDE _ingested_at FROM {table}").to_arrow_table()
    return rows.schema, sorted(map(repr, rows.to_pylist()))


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


LIAR = "def f(df: 'pyspark.sql.DataFrame'):\n    return df.selectExpr('max(id) AS id', 'max(note) AS note')\n"


@pytest.mark.parametrize("engine", ["arrow", "spark"])
@pytest.mark.parametrize(("said", "is_ok"), [("", False), (WHOLE, True)], ids=["says rows", "says table"])
def test_a_transform_that_lies_about_its_scope_fails_its_fixture(
    engine: str, said: str, is_ok: bool, tmp_path: Path, spark: object
) -> None:
    lab = lab_with("import penstock\n" + said + LIAR, tmp_path / "lab", "sqlite")
    lab.settings = {"engine": engine}
    expected = "      - {id: 7, note: b}\n"
    [check] = fixture_checks(lab, expected)
    assert check.ok == is_ok, check
    assert is_ok or 'scope="table"' in check.message


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
