"""The demo's project on Spark: the tables and files it leaves are those of the arrow engine."""

from __future__ import annotations

import importlib.util
import shutil
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

import penstock

pytestmark = pytest.mark.feature("M9")

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def copied_demo(folder: Path) -> Any:
    """The demo's module, of a copy that may write beside itself."""
    for part in ("demo", "data"):
        shutil.copytree(EXAMPLES / part, folder / part, ignore=shutil.ignore_patterns("out", ".penstock"))
    spec = importlib.util.spec_from_file_location(f"demo_{folder.name}", folder / "demo" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def play(demo: Any, spark: object) -> list[tuple[int, int]]:
    """Both acts, and a run that finds nothing; rows read and written of every table."""
    demo.OUT.mkdir()
    airports = demo.read_airports()
    database = sqlite3.connect(demo.OUT / "operations.db")
    demo.create_table(database)
    told = []
    for act in range(3):
        if act == 0:
            demo.store(database, airports[: demo.FIRST_ACT], demo.START)
        elif act == 1:
            demo.store(database, airports[demo.FIRST_ACT :], demo.START + timedelta(days=1))
            demo.correct_elevations(database, demo.START + timedelta(days=1, hours=1))
        result = penstock.run(str(demo.HERE / "penstock.yaml"), spark=spark)
        assert not result.errors, result.errors
        told += [(table.rows_read, table.rows_written) for table in result.tables]
    database.close()
    return told


def left_by(demo: Any) -> tuple[list[Any], ...]:
    """Columns with their types and rows of the warehouse and the lake, without the times of the loads."""
    with duckdb.connect(str(demo.OUT / "warehouse.duckdb"), read_only=True) as warehouse:
        lake = f"read_parquet('{demo.OUT}/lake/airport_versions/**/*.parquet', hive_partitioning = true)"
        return tuple(
            part
            for table in ("airports", lake)
            for part in (
                warehouse.execute(f"DESCRIBE SELECT * FROM {table}").fetchall(),
                warehouse.execute(f"SELECT * EXCLUDE (_ingested_at) FROM {table} ORDER BY ALL").fetchall(),
            )
        )


def test_the_demo_leaves_on_spark_what_it_leaves_on_arrow(tmp_path: Path, classic_spark: object) -> None:
    (tmp_path / "arrow").mkdir()
    (tmp_path / "spark").mkdir()
    arrow, spark = copied_demo(tmp_path / "arrow"), copied_demo(tmp_path / "spark")
    assert play(arrow, None) == play(spark, classic_spark)
    assert left_by(arrow) == left_by(spark)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_the_demo_plays_with_engine_spark_from_the_command_line(tmp_path: Path) -> None:
    demo = copied_demo(tmp_path)
    done = subprocess.run(
        [sys.executable, str(demo.HERE / "demo.py"), "--engine", "spark"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "7,884 airports in the warehouse, 7,924 versions in the lake." in done.stdout
    assert "Spark tasks on local[*]" in done.stdout
