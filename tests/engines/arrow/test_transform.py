"""Transforms by annotation and by SQL: frames, scopes, schemas, and errors that name a line and no value."""

from __future__ import annotations

import datetime as dt
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.engines.arrow import ArrowEngine, buckets
from penstock.engines.arrow.transform import ArrowTransform
from penstock.engines.scope import TransformContext, bind
from penstock.errors import ConfigError, TransformError
from penstock.schema.types import from_arrow_schema
from penstock.values import Field, RunId, TableSchema
from tests.engines.arrow.pipes import rows_of

CONTEXT = TransformContext("orders", "raw_orders", "sales", RunId("r1"), dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
HEAD = "from penstock.engines.scope import transform\n"
ONLY_CHECKING = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
Load = Callable[..., ArrowTransform]

# the same row-wise function in each frame
ROW_WISE = {
    "duckdb.DuckDBPyRelation": """
import duckdb
def f(df: duckdb.DuckDBPyRelation):
    return df.filter("id % 2 = 0").project("id, upper(name) AS name, price * 2 AS doubled")
""",
    "polars.DataFrame": """
import polars as pl
def f(df: pl.DataFrame) -> pl.DataFrame:
    return df.filter(pl.col("id") % 2 == 0).select(
        "id", pl.col("name").str.to_uppercase(), (pl.col("price") * 2).alias("doubled"))
""",
    "polars.LazyFrame": """
from polars import LazyFrame, col
def f(df: LazyFrame):
    return df.filter(col("id") % 2 == 0).select(
        "id", col("name").str.to_uppercase(), (col("price") * 2).alias("doubled"))
""",
    "pandas.DataFrame": """
import pandas as pd
def f(df: pd.DataFrame):
    df = df[df["id"] % 2 == 0]
    return pd.DataFrame({"id": df["id"], "name": df["name"].str.upper(), "doubled": df["price"] * 2})
""",
    "pyarrow.Table": """
import pyarrow as pa, pyarrow.compute as pc
def f(df: pa.Table):
    df = df.filter(pc.equal(pc.bit_wise_and(df["id"], 1), 0))
    return pa.table({"id": df["id"], "name": pc.utf8_upper(df["name"]), "doubled": pc.multiply(df["price"], 2.0)})
""",
    "pyarrow.RecordBatch": """
import pyarrow as pa, pyarrow.compute as pc
def f(df: pa.RecordBatch):
    df = df.filter(pc.equal(pc.bit_wise_and(df["id"], 1), 0))
    doubled = pc.multiply(df["price"], 2.0)
    return pa.record_batch({"id": df["id"], "name": pc.utf8_upper(df["name"]), "doubled": doubled})
""",
}
WHOLE_TABLE = {
    "duckdb.DuckDBPyRelation": """
import duckdb
@transform(scope="table")
def f(df: duckdb.DuckDBPyRelation):
    return df.aggregate("id % 3 AS k, count(*) AS n, max(name) AS name", "id % 3").order("k")
""",
    "polars.DataFrame": """
import polars as pl
@transform(scope="table")
def f(df: pl.DataFrame):
    counted = pl.len().cast(pl.Int64).alias("n")
    return df.group_by((pl.col("id") % 3).alias("k")).agg(counted, pl.col("name").max()).sort("k")
""",
    "polars.LazyFrame": """
import polars as pl
@transform(scope="table")
def f(df: pl.LazyFrame):
    counted = pl.len().cast(pl.Int64).alias("n")
    return df.group_by((pl.col("id") % 3).alias("k")).agg(counted, pl.col("name").max()).sort("k")
""",
    "pandas.DataFrame": """
import pandas as pd
@transform(scope="table")
def f(df: pd.DataFrame):
    found = df.assign(k=df["id"] % 3).groupby("k").agg(n=("id", "count"), name=("name", "max")).reset_index()
    return found
""",
    "pyarrow.Table": """
import pyarrow as pa, pyarrow.compute as pc
@transform(scope="table")
def f(df: pa.Table):
    k = pc.subtract(df["id"], pc.multiply(pc.divide(df["id"], 3), 3))
    found = pa.table({"k": k, "id": df["id"], "name": df["name"]}).group_by("k").aggregate(
        [("id", "count"), ("name", "max")])
    return found.select(["k", "id_count", "name_max"]).rename_columns(["k", "n", "name"]).sort_by("k")
""",
    "pyarrow.RecordBatch": """
import pyarrow as pa, pyarrow.compute as pc
@transform(scope="table")
def f(df: pa.RecordBatch):
    k = pc.subtract(df["id"], pc.multiply(pc.divide(df["id"], 3), 3))
    found = pa.table({"k": k, "id": df["id"], "name": df["name"]}).group_by("k").aggregate(
        [("id", "count"), ("name", "max")])
    found = found.select(["k", "id_count", "name_max"]).rename_columns(["k", "n", "name"]).sort_by("k").combine_chunks()
    return found.to_batches()[0] if found.num_rows else pa.RecordBatch.from_pylist([], schema=found.schema)
""",
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArrowEngine]:
    made = ArrowEngine(memory_bytes=128 << 20, threads=2, temp_dir=tmp_path_factory.mktemp("work"))
    yield made
    made.close()


@pytest.fixture
def load(engine: ArrowEngine, tmp_path: Path) -> Load:
    def load_source(source: str, *, reference: str = "t.py::f", **options: str) -> ArrowTransform:
        (tmp_path / "t.py").write_text(HEAD + source)
        made = engine.load_transform(reference, str(tmp_path), **options)
        assert isinstance(made, ArrowTransform)
        return made

    return load_source


def table_of(rows: int) -> pa.RecordBatch:
    return rows_of(id=range(rows), name=[f"n{number:03}" for number in range(rows)], price=[0.5] * rows)


SCHEMA = from_arrow_schema(table_of(1).schema)


def run(made: ArrowTransform, batches: Sequence[pa.RecordBatch]) -> list[dict[str, object]]:
    return [row for batch in made.stream(iter(batches), batches[0].schema) for row in batch.to_pylist()]


def line_of(source: str, text: str) -> int:
    return next(number for number, line in enumerate((HEAD + source).splitlines(), 1) if text in line)


@pytest.mark.feature("M7")
@pytest.mark.parametrize("frame", ROW_WISE)
def test_a_function_gets_the_frame_it_is_annotated_with(load: Load, frame: str) -> None:
    made = load(ROW_WISE[frame])
    assert (made.scope, made.frame.annotation) == ("rows", frame)
    assert run(made, [table_of(3), table_of(2)]) == [
        {"id": 0, "name": "N000", "doubled": 1.0},
        {"id": 2, "name": "N002", "doubled": 1.0},
        {"id": 0, "name": "N000", "doubled": 1.0},
    ]
    assert [(f.name, f.type) for f in made.output_schema(SCHEMA).fields] == [
        ("id", "int64"),
        ("name", "string"),
        ("doubled", "float64"),
    ]


@pytest.mark.feature("M7")
@pytest.mark.parametrize("frame", WHOLE_TABLE)
def test_a_whole_table_function_sees_all_batches_together(load: Load, frame: str) -> None:
    made = load(WHOLE_TABLE[frame])
    assert made.scope == "table"
    assert run(made, [table_of(4).slice(0, 2), table_of(4).slice(2, 2), table_of(7).slice(4, 3)]) == [
        {"k": 0, "n": 3, "name": "n006"},
        {"k": 1, "n": 2, "name": "n004"},
        {"k": 2, "n": 2, "name": "n005"},
    ]


KEYED = """
import pyarrow as pa, pyarrow.compute as pc
@transform(scope="keys", keys=["id", "price"])
def f(df: pa.Table):
    df = df.set_column(2, "price", pc.add(df["price"], 0.0))  # of both zeros, one
    return df.group_by(["id", "price"]).aggregate([("name", "count")]).rename_columns(["id", "price", "n"])
"""


@pytest.mark.feature("M7")
@pytest.mark.parametrize("memory_bytes", [0, 300, buckets.MEMORY_BYTES])
def test_a_keyed_function_sees_all_rows_of_a_key_together(
    load: Load, memory_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "MEMORY_BYTES", memory_bytes)
    made = load(KEYED)
    ids = [number % 100 if number % 7 else None for number in range(1000)]
    prices = [(0.0, -0.0, 1.5, float("nan"))[number // 100 % 4] for number in range(1000)]
    rows = rows_of(id=pa.array(ids, pa.int64()), name=["n"] * 1000, price=prices)
    found = [(row["id"], str(row["price"]), row["n"]) for row in run(made, [rows.slice(0, 400), rows.slice(400)])]
    expected = Counter(zip(ids, (str(price + 0.0) for price in prices), strict=True))
    assert Counter(found) == Counter((*key, n) for key, n in expected.items())


@pytest.mark.parametrize("frame", ["duckdb.DuckDBPyRelation", "polars.LazyFrame", "pandas.DataFrame"])
def test_a_keyed_function_of_each_frame_gets_its_buckets(
    load: Load, frame: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "MEMORY_BYTES", 0)
    source = WHOLE_TABLE[frame].replace('scope="table"', 'scope="keys", keys=["id"]').replace("% 3", "% 1000")
    found = run(load(source), [table_of(500), table_of(500)])
    assert sorted((row["k"], row["n"]) for row in found) == [(number, 2) for number in range(500)]


def test_a_key_that_is_no_column_is_an_error_when_planned(load: Load) -> None:
    made = load(KEYED.replace('"id", "price"]', '"idd"]', 1))
    with pytest.raises(ConfigError, match="did you mean 'id'") as caught:
        made.output_schema(SCHEMA)
    assert "idd" in caught.value.what


@pytest.mark.parametrize("told", ['scope="keys"', 'scope="keys", keys="id"', 'keys=["id"]', 'scope="rowz"'])
def test_a_scope_that_does_not_fit_its_keys_is_an_error(load: Load, told: str) -> None:
    with pytest.raises(ConfigError, match="scope") as caught:
        load(KEYED.replace('scope="keys", keys=["id", "price"]', told))
    assert "t.py:4" in str(caught.value.where)


@pytest.mark.parametrize("frame", ROW_WISE)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(cuts=st.lists(st.integers(1, 7), min_size=1, max_size=5))
def test_any_cut_into_batches_gives_the_same_rows(load: Load, frame: str, cuts: list[int]) -> None:
    made = load(ROW_WISE[frame])
    whole, start, batches = table_of(sum(cuts)), 0, []
    for size in cuts:
        batches.append(whole.slice(start, size))
        start += size
    assert run(made, batches) == run(made, [whole])


@pytest.mark.parametrize("frame", [*ROW_WISE])
def test_types_pass_through_every_frame_unchanged(load: Load, frame: str) -> None:
    columns = {
        "i": pa.array([1, None], pa.int32()),
        "d": pa.array([Decimal("1.50"), None], pa.decimal128(12, 2)),
        "t": pa.array([dt.datetime(2024, 1, 1, 2, 3, 4, 5), None], pa.timestamp("us")),
        "z": pa.array([dt.datetime(2024, 1, 1), None], pa.timestamp("us", "UTC")),
        "y": pa.array([dt.date(2024, 1, 1), None], pa.date32()),
        "b": pa.array([True, None]),
        "x": pa.array([b"\x00", None], pa.binary()),
        "f": pa.array([1.5, None], pa.float32()),
        "u": pa.array([2**64 - 1, None], pa.uint64()),
        "s": pa.array(["", None], pa.string()),
    }
    rows = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    module, _, name = frame.rpartition(".")
    made = load(f"import {module}\ndef f(df: {module}.{name}):\n    return df\n")
    (result,) = made.stream([rows], rows.schema)
    assert [(f.name, f.type) for f in result.schema] == [(f.name, f.type) for f in rows.schema]
    assert result.to_pylist() == rows.to_pylist()
    assert made.output_schema(from_arrow_schema(rows.schema)).names == tuple(columns)


@pytest.mark.parametrize("frame", [*ROW_WISE])
def test_nan_stays_nan_and_null_stays_null_in_every_frame(load: Load, frame: str) -> None:
    module, _, name = frame.rpartition(".")
    made = load(f"import {module}\ndef f(df: {module}.{name}):\n    return df\n")
    rows = pa.RecordBatch.from_arrays([pa.array([float("nan"), None])], names=["f"])
    assert [str(row["f"]) for row in run(made, [rows])] == ["nan", "None"]


def test_a_column_passed_on_keeps_its_logical_type_but_promises_no_null_and_no_length(load: Load) -> None:
    incoming = TableSchema((Field("u", "uuid", nullable=False, native="uuid"), Field("n", "numeric")))
    made = load("import duckdb\ndef f(df: duckdb.DuckDBPyRelation):\n    return df.project('u, n, n || u AS both')\n")
    assert made.output_schema(incoming).fields == (Field("u", "uuid"), Field("n", "numeric"), Field("both", "string"))


def test_the_second_parameter_is_told_where_the_transform_runs(load: Load) -> None:
    source = """
import pyarrow as pa
def f(df: pa.Table, ctx) -> pa.Table:
    return df.append_column("at", pa.array([f"{ctx.pipeline}.{ctx.target}"] * len(df), pa.string()))
"""
    planned = load(source)
    assert planned.output_schema(TableSchema((Field("id", "int64"),))).names == ("id", "at")
    made = bind(planned, CONTEXT)
    assert isinstance(made, ArrowTransform)
    assert run(made, [rows_of(id=[1])]) == [{"id": 1, "at": "sales.raw_orders"}]


@pytest.mark.parametrize(
    "source",
    [
        "from __future__ import annotations\nimport polars as pl\ndef f(df: pl.DataFrame): return df",
        "import polars as pl\ndef f(df: 'pl.DataFrame'): return df",
        f"{ONLY_CHECKING}    import polars as p\ndef f(df: 'p.DataFrame'): return df",
        f"{ONLY_CHECKING}    from polars import DataFrame as D\ndef f(df: 'D'): return df",
    ],
)
def test_annotations_written_as_text_are_understood(engine: ArrowEngine, tmp_path: Path, source: str) -> None:
    (tmp_path / "t.py").write_text(source)
    made = engine.load_transform("t.py::f", str(tmp_path))
    assert isinstance(made, ArrowTransform)
    assert made.frame.annotation == "polars.DataFrame"


@pytest.mark.feature("M7")
@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def f(df): return df", "nothing says which frame the parameter 'df' wants\n"),
        ("def f(df: int): return df", "builtins.int is no frame"),
        ("def f(df: 'pyspark.sql.DataFrame'): return df", "needs the spark engine"),
        ("def f(): return 1", "write \\(df\\) or \\(df, ctx\\)"),
        ("def f(df, ctx, more): return df", "write \\(df\\) or \\(df, ctx\\)"),
        ("def f(*df): return df", "write \\(df\\) or \\(df, ctx\\)"),
        ("def g(df): return df", "did you mean|functions there: transform, g"),
    ],
)
def test_a_signature_the_engine_cannot_serve_is_an_error_with_line_and_choices(
    load: Load, tmp_path: Path, source: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?s){says}") as caught:
        load(source)
    assert "t.py" in str(caught.value.where)
    if "def f" in source:
        assert str(caught.value.where).endswith("t.py:2")


def test_without_annotation_the_project_setting_decides(load: Load) -> None:
    assert load("def f(df): return df", default_frame="polars").frame.annotation == "polars.DataFrame"


@pytest.mark.parametrize("reference", ["t.py", "::f", "t.py::not a name", "gone.py::f"])
def test_a_reference_that_leads_nowhere_is_an_error_naming_it(load: Load, reference: str) -> None:
    with pytest.raises(ConfigError, match="'gone.py'" if "gone" in reference else f"not a transform: '{reference}'"):
        load("def f(df): return df", reference=reference)


@pytest.mark.feature("M7")
@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("raise ValueError('row says secret')", "ValueError"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("df.no_such_column", "AttributeError: .*no_such_column"),
        ("assert False, 'secret'", "AssertionError"),
    ],
)
@pytest.mark.claims("error:TransformError")
def test_an_exception_is_told_by_file_line_and_table_and_quotes_no_row(
    load: Load, tmp_path: Path, statement: str, kind: str
) -> None:
    source = f"import pyarrow as pa\ndef f(df: pa.Table):\n    if len(df):\n        {statement}\n    return df\n"
    made = load(source).with_context(CONTEXT)
    with pytest.raises(TransformError, match=f"(?s)of table 'raw_orders' raised {kind}") as caught:
        run(made, [rows_of(id=[1])])
    assert str(caught.value.where).startswith(f"{tmp_path / 't.py'}:{line_of(source, statement)}")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_an_error_that_shows_only_when_a_lazy_result_is_computed_names_the_function(load: Load, tmp_path: Path) -> None:
    made = load("import duckdb\ndef f(df: duckdb.DuckDBPyRelation):\n    return df.project('id::INT AS id')\n")
    with pytest.raises(TransformError, match="ConversionException") as caught:
        run(made, [rows_of(id=["secret"])])
    assert caught.value.where == f"{tmp_path / 't.py'}:3"
    assert "secret" not in str(caught.value)


def test_a_relation_read_through_the_module_is_told_the_way_that_works(load: Load, tmp_path: Path) -> None:
    asked = "import duckdb\ndef f(df: duckdb.DuckDBPyRelation):\n    return {}\n"
    with pytest.raises(TransformError, match=r"(?s)another database.*df\.query\('t'") as caught:
        load(asked.format("duckdb.sql('SELECT id FROM df')")).output_schema(SCHEMA)
    assert caught.value.where == f"{tmp_path / 't.py'}:4, in f"
    assert run(load(asked.format("df.query('t', 'SELECT id FROM t')")), [rows_of(id=[1])]) == [{"id": 1}]


def test_a_frame_whose_extra_is_missing_gets_the_install_line(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(TransformError, match="needs polars, which is not installed") as caught:
        load("import polars as pl\ndef f(df: pl.DataFrame):\n    return df\n")
    assert caught.value.fix == "pip install 'penstock[polars]'"


@pytest.mark.parametrize(("statement", "line"), [("def broken(:", 2), ("1 / 0", 2), ("import gone_module", 2)])
def test_a_file_that_cannot_be_executed_is_told_by_line(load: Load, tmp_path: Path, statement: str, line: int) -> None:
    with pytest.raises(TransformError, match="raised") as caught:
        load(f"{statement}\n")
    assert str(caught.value.where).startswith(f"{tmp_path / 't.py'}:{line}")


@pytest.mark.parametrize("returned", ["None", "42", "[1]", "pa.record_batch({'a': [1]})"])
def test_anything_but_the_frame_asked_for_is_refused(load: Load, returned: str) -> None:
    made = load(f"import pyarrow as pa\ndef f(df: pa.Table):\n    return {returned}\n")
    with pytest.raises(TransformError, match=r"returned .*, not Table"):
        made.output_schema(SCHEMA)


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ("df.append_column('new', df['id'])", "extra new"),
        ("df.drop_columns(['name'])", "missing name"),
        ("df.set_column(0, 'id', pa.array(['x'] * len(df)))", "of another type id"),
    ],
)
def test_rows_must_look_as_they_did_on_an_empty_frame(load: Load, returned: str, says: str) -> None:
    made = load(f"import pyarrow as pa\ndef f(df: pa.Table):\n    return {returned} if len(df) else df\n")
    with pytest.raises(TransformError, match=says):
        run(made, [table_of(2)])


def test_a_column_without_a_type_must_be_given_one(load: Load) -> None:
    made = load("import pyarrow as pa\ndef f(df: pa.Table):\n    return df.append_column('n', pa.nulls(len(df)))\n")
    with pytest.raises(TransformError, match="'n' has no type"):
        made.output_schema(SCHEMA)


def test_columns_of_one_name_are_refused(load: Load) -> None:
    made = load("import pyarrow as pa\ndef f(df: pa.Table):\n    return df.append_column('id', df['id'])\n")
    with pytest.raises(TransformError, match="columns twice: id"):
        made.output_schema(SCHEMA)


def test_modules_beside_the_file_are_found_and_every_load_sees_them_anew(load: Load, tmp_path: Path) -> None:
    source = (
        "import pyarrow as pa\nimport words\n"
        "def f(df: pa.Table):\n    import more\n    return more.add(df, words.WORD)\n"
    )
    for word in ("one", "two"):
        (tmp_path / "words.py").write_text(f"WORD = '{word}'\n")
        (tmp_path / "more.py").write_text(
            "import pyarrow as pa\n"
            f"def add(df, w): return df.append_column(w, pa.array(['{word}'] * len(df), pa.string()))\n"
        )
        assert run(load(source), [rows_of(id=[1])]) == [{"id": 1, word: word}]
