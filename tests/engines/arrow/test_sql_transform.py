"""Transforms by SQL, and whole tables: scopes read off a SELECT, memory, files left behind."""

from __future__ import annotations

import datetime as dt
import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from penstock.engines.arrow import ArrowEngine
from penstock.engines.arrow.transform import ArrowTransform
from penstock.engines.scope import transform
from penstock.errors import ConfigError, TransformError
from penstock.values import Field, TableSchema
from tests.engines.arrow.pipes import rows_of
from tests.engines.arrow.test_transform import HEAD, SCHEMA, WHOLE_TABLE, run, table_of


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArrowEngine]:
    made = ArrowEngine(memory_bytes=128 << 20, threads=2, temp_dir=tmp_path_factory.mktemp("work"))
    yield made
    made.close()


def test_a_scope_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match="'rowz'"):
        transform(scope="rowz")  # type: ignore[arg-type]


@pytest.mark.feature("M7")
@pytest.mark.parametrize(
    ("sql", "scope"),
    [
        ("SELECT * FROM input", "rows"),
        ("SELECT id, upper(name) AS name, CASE WHEN id > 1 THEN 'a' END AS c FROM input WHERE id % 2 = 0", "rows"),
        ("SELECT regexp_replace(name, 'n', '') AS r, price::DECIMAL(10,2) AS p FROM input AS i", "rows"),
        ("SELECT count(*) AS n FROM input", "table"),
        ("SELECT arg_max(name, id) AS n FROM input", "table"),
        ("SELECT approx_quantile(id, 0.5) AS q FROM input", "table"),
        ("SELECT histogram(id) AS q FROM input", "table"),
        ("SELECT DISTINCT name FROM input", "table"),
        ("SELECT *, row_number() OVER (ORDER BY id) AS r FROM input", "table"),
        ("SELECT * FROM input ORDER BY id", "table"),
        ("SELECT * FROM input LIMIT 3", "table"),
        ("SELECT * FROM input QUALIFY row_number() OVER (PARTITION BY name) = 1", "table"),
        ("SELECT a.* FROM input a JOIN input b USING (id)", "table"),
        ("SELECT * FROM input WHERE id = (SELECT max(id) FROM input)", "table"),
        ("SELECT * FROM input WHERE id IN (SELECT id FROM input)", "table"),
        ("WITH a AS (SELECT * FROM input) SELECT * FROM a", "table"),
        ("SELECT * FROM input UNION ALL SELECT * FROM input", "table"),
        ("SELECT name FROM input GROUP BY name", "table"),
        ("FROM input SELECT id", "rows"),
        ("SELECT ALL * FROM (SELECT * FROM input)", "table"),
    ],
)
def test_the_scope_of_sql_is_read_off_it(engine: ArrowEngine, sql: str, scope: str) -> None:
    assert engine.sql_transform(sql).scope == scope


@pytest.mark.feature("M7")
def test_sql_runs_over_the_table_input_in_either_scope(engine: ArrowEngine) -> None:
    rows, whole = (
        engine.sql_transform("SELECT id * 2 AS d FROM input WHERE id > 0"),
        engine.sql_transform("SELECT sum(id)::BIGINT AS s FROM input"),
    )
    assert isinstance(rows, ArrowTransform)
    assert isinstance(whole, ArrowTransform)
    assert run(rows, [rows_of(id=[0, 1]), rows_of(id=[2])]) == [{"d": 2}, {"d": 4}]
    assert run(whole, [rows_of(id=[0, 1]), rows_of(id=[2])]) == [{"s": 3}]
    assert rows.output_schema(TableSchema((Field("id", "int64"),))).fields == (Field("d", "int64"),)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELEC 1", "syntax error"),
        ("DROP TABLE input", "found DROP"),
        ("SELECT 1; SELECT 2", "found SELECT, SELECT"),
        ("", "found nothing"),
        ("INSERT INTO input VALUES (1)", "found INSERT"),
    ],
)
def test_sql_that_is_no_single_select_is_refused(engine: ArrowEngine, sql: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        engine.sql_transform(sql)


def test_sql_errors_name_the_column_but_no_value(engine: ArrowEngine) -> None:
    with pytest.raises(TransformError, match="nme"):
        engine.sql_transform("SELECT nme FROM input").output_schema(SCHEMA)
    failing = engine.sql_transform("SELECT name::INT AS n FROM input")
    assert isinstance(failing, ArrowTransform)
    with pytest.raises(TransformError, match="ConversionException") as caught:
        run(failing, [rows_of(name=["secret"])])
    assert "secret" not in str(caught.value)


def test_whole_tables_of_every_type_pass_through_unchanged(engine: ArrowEngine) -> None:
    columns = {
        "d": pa.array([Decimal("1.50"), None], pa.decimal128(12, 2)),
        "t": pa.array([dt.datetime(2024, 1, 1, 2, 3, 4, 5), None], pa.timestamp("us")),
        "z": pa.array([dt.datetime(2024, 1, 1), None], pa.timestamp("us", "UTC")),
        "y": pa.array([dt.date(2024, 1, 1), None], pa.date32()),
        "b": pa.array([True, None]),
        "x": pa.array([b"\x00", None], pa.binary()),
        "f": pa.array([float("nan"), None], pa.float32()),
        "s": pa.array(["", None], pa.string()),
        "u": pa.array([2**64 - 1, None], pa.uint64()),
        "l": pa.array([[1, None], None], pa.list_(pa.int32())),
    }
    unusual = {
        "o": pa.array([dt.time(1, 2, 3), None], pa.time64("us")),
        "i": pa.array([pa.MonthDayNano([1, 2, 3000]), None]),
    }
    for made in (columns, {**columns, **unusual}):
        rows = pa.RecordBatch.from_arrays(list(made.values()), names=list(made))
        transform = engine.sql_transform("SELECT * FROM input ORDER BY s NULLS LAST")
        assert isinstance(transform, ArrowTransform)
        (result,) = transform.stream([rows], rows.schema)
        assert [(f.name, f.type) for f in result.schema] == [
            (f.name, pa.list_(pa.int32()) if f.name == "l" else f.type) for f in rows.schema
        ]
        assert str(result.to_pylist()) == str(rows.to_pylist())


@pytest.mark.feature("N2")
def test_whole_tables_of_several_moves_do_not_meet(engine: ArrowEngine) -> None:
    made = engine.sql_transform("SELECT sum(id)::BIGINT AS s FROM input")
    assert isinstance(made, ArrowTransform)
    sums: list[object] = []

    def add_up(start: int) -> None:
        sums.append(run(made, [rows_of(id=[start, number]) for number in range(20)])[0]["s"])

    threads = [threading.Thread(target=add_up, args=(1_000 * number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(map(str, sums)) == sorted(str(20_000 * number + 190) for number in range(6))


def test_moments_are_utc_whatever_zone_the_machine_is_in(engine: ArrowEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
import datetime as dt, pyarrow as pa
from penstock.engines.arrow import ArrowEngine
made = ArrowEngine(1 << 20, 1).sql_transform("SELECT z::VARCHAR AS t, z::DATE AS d FROM input")
row = pa.table({"z": pa.array([dt.datetime(2024, 1, 1, tzinfo=dt.UTC)], pa.timestamp("us", "UTC"))})
found = made.apply(row).to_pylist()
assert found == [{"t": "2024-01-01 00:00:00+00", "d": dt.date(2024, 1, 1)}], found
"""
    monkeypatch.setenv("TZ", "America/New_York")
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.feature("N2")
def test_a_sort_larger_than_the_budget_spills(tmp_path: Path) -> None:
    engine = ArrowEngine(memory_bytes=96 << 20, threads=2, temp_dir=tmp_path)
    made = engine.sql_transform("SELECT * FROM input ORDER BY hash(id)")
    assert isinstance(made, ArrowTransform)
    filler = [f"{number:0800}" for number in range(20_000)]
    batches = (rows_of(id=range(start, start + 20_000), text=filler) for start in range(0, 240_000, 20_000))
    first = next(batches)
    total = 0
    for batch in made.stream(itertools.chain([first], batches), first.schema):
        total += batch.num_rows
    assert total == 240_000  # of 200 MB, where DuckDB has 128
    engine.close()


def test_a_transform_that_cannot_even_spill_is_told_to_ask_for_memory(tmp_path: Path) -> None:
    engine = ArrowEngine(memory_bytes=1 << 20, threads=1, temp_dir=tmp_path)
    made = engine.sql_transform("SELECT length(string_agg(text)) AS n FROM input")
    assert isinstance(made, ArrowTransform)
    with pytest.raises(TransformError, match=r"(?s)needs more memory.*settings\.memory"):
        run(made, [rows_of(text=["x" * 1_000_000] * 20)] * 10)
    engine.close()


@pytest.mark.feature("N2")
@pytest.mark.parametrize("frame", ["duckdb.DuckDBPyRelation", "polars.LazyFrame"])
def test_bounded_whole_table_transforms_leave_no_files_behind(tmp_path: Path, frame: str) -> None:
    engine = ArrowEngine(memory_bytes=64 << 20, threads=2, temp_dir=tmp_path / "work")
    (tmp_path / "t.py").write_text(HEAD + WHOLE_TABLE[frame])
    made = engine.load_transform("t.py::f", str(tmp_path))
    assert isinstance(made, ArrowTransform)
    assert made.is_bounded
    run(made, [table_of(100)])
    engine.close()
    assert list((tmp_path / "work").iterdir()) == []


def test_folders_of_dead_processes_are_swept_and_those_in_use_are_left(tmp_path: Path) -> None:
    dead = tmp_path / "penstock-work-dead"
    dead.mkdir()
    (dead / "lock").touch()
    first, second = ArrowEngine(1 << 20, 1, tmp_path), ArrowEngine(1 << 20, 1, tmp_path)
    for engine in (first, second):
        engine.sql_transform("SELECT * FROM input").output_schema(SCHEMA)
    assert len(list(tmp_path.iterdir())) == 2
    first.close()
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_apply_takes_and_gives_anything_with_an_arrow_stream(engine: ArrowEngine) -> None:
    made = engine.sql_transform("SELECT count(*)::BIGINT AS n FROM input")
    assert made.apply(pa.table({"id": [1, 2]})).to_pylist() == [{"n": 2}]
