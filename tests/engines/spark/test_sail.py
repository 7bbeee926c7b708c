"""PySpark transforms without a JVM: the arrow engine with Sail leaves what the spark engine leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.engines.spark.lab import INCREMENTAL, Lab, make_lab
from tests.engines.spark.test_frames import KEEPS, UNANNOTATED, lab_with, told
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


def contents(lab: Lab, table: str = "copy") -> tuple[Any, list[str]]:
    """Columns with their types, and the rows in an order of their own, without the time of the load."""
    with duckdb.connect(str(lab.folder / "target.duckdb")) as link:
        rows = link.sql(f"SELECT * EXCLUDE _ingested_at FROM {table}").to_arrow_table()
    return rows.schema, sorted(map(repr, rows.to_pylist()))
