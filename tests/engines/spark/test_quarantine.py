"""Rows that a source sets aside on Spark: the same ones as on arrow, and round every transform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from penstock.pipeline.project import Project
from penstock.pipeline.results import RunOptions

pytestmark = pytest.mark.feature("M9")

PROJECT = """
version: 2
default_environment: dev
dev:
  settings: {{retries: 0}}
  connections:
    here: {{variant: file, extra: {{path: data, format: csv}}}}
    there: {{variant: duckdb, database: target.duckdb}}
  pipelines:
    - name: main
      source: here
      destination: there
      tables: [{{name: rows.csv, target_name: copy, columns: {{n: int64}}, on_bad_value: quarantine{transform}}}]
"""
TRANSFORMS = {
    "none": "",
    "pyarrow": "def f(df: 'pyarrow.RecordBatch'):\n    return df.slice(0)\n",
    "pyspark": "def f(df: 'pyspark.sql.DataFrame'):\n    return df\n",
}


@pytest.mark.parametrize("frame", TRANSFORMS)
def test_a_bad_cell_s_row_is_set_aside_on_spark_as_on_arrow(frame: str, tmp_path: Path, spark: object) -> None:
    found = []
    for engine, session in (("arrow", None), ("spark", spark)):
        found.append(moved(tmp_path / engine, TRANSFORMS[frame], session))
    assert found[0] == found[1]
    rows, aside, counts = found[1]
    assert (rows, len(aside), counts) == ([(1, "a"), (3, "c")], 1, (3, 2, 1))


def moved(folder: Path, transform: str, session: object | None) -> tuple[Any, ...]:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "rows.csv").write_text("n,t\n1,a\ntwo,b\n3,c\n")
    (folder / "t.py").write_text(transform)
    project = folder / "penstock.yaml"
    project.write_text(PROJECT.format(transform=', transform: "t.py::f"' if transform else ""))
    result = Project.open(project).run(options=RunOptions(spark=session))
    assert not result.errors, result.errors
    [table] = result.tables
    with duckdb.connect(str(folder / "target.duckdb")) as link:
        rows = link.execute("SELECT n, t FROM copy ORDER BY n").fetchall()
        aside = link.execute("SELECT _penstock_rule, _penstock_position, row FROM copy__quarantine").fetchall()
    return (
        rows,
        [repr(row).replace(str(folder), "") for row in aside],
        (
            table.rows_read,
            table.rows_written,
            table.rows_quarantined,
        ),
    )
