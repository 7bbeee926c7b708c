"""Bad transforms: each ends its own table with an error that says where, and no row."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.attacks.conftest import MakeLab
from tests.attacks.lab import Lab

CANARY = "zq7-row-canary"
HEAD = "import os, sys, time\nimport pyarrow as pa\nimport polars as pl\nimport pandas as pd\nimport duckdb\n"
BAD = {
    "raises with the row": ("def f(df: pa.Table) -> pa.Table:\n    raise ValueError(df.to_pylist())", "ValueError"),
    "exits": ("def f(df: pa.Table) -> pa.Table:\n    if df.num_rows: sys.exit(0)\n    return df", "SystemExit"),
    "returns nothing": ("def f(df: pa.Table) -> pa.Table:\n    return None", "None"),
    "returns text": ("def f(df: pl.DataFrame) -> pl.DataFrame:\n    return 'zq7-row-canary'", "str"),
    "other columns with rows": (
        "def f(df: pa.Table) -> pa.Table:\n    return df.drop_columns(['n']) if df.num_rows else df",
        "n",
    ),
    "no annotation": ("def f(df):\n    return df.toPandas()", "DataFrame"),
    "pyspark": (
        "import typing\nif typing.TYPE_CHECKING:\n    import pyspark.sql\n"
        "def f(df: 'pyspark.sql.DataFrame') -> 'pyspark.sql.DataFrame':\n    return df.rdd.toDF()",
        "rdd",
    ),
    "no such module": ("import no_such_module_here\ndef f(df: pa.Table) -> pa.Table:\n    return df", "no_such_module"),
    "not python": ("def f(df: pa.Table -> pa.Table:\n    return df", "t.py:6"),
    "no such function": ("def g(df: pa.Table) -> pa.Table:\n    return df", "'f'"),
    "recursion": ("def f(df: pa.Table) -> pa.Table:\n    return f(df)", "RecursionError"),
    "stops": ("def f(df: pa.Table) -> pa.Table:\n    if df.num_rows: raise StopIteration\n    return df", "t.py:6"),
}


def small_lab(make_lab: MakeLab, destination: str = "duckdb") -> Lab:
    lab = make_lab("sqlite", destination)
    lab.here.execute("CREATE TABLE t (id int, n text)", f"INSERT INTO t VALUES (1, '{CANARY}'), (2, 'b')")
    return lab


@pytest.mark.feature("M10")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_transform_ends_its_table_and_tells_no_row(make_lab: MakeLab, name: str) -> None:
    lab = small_lab(make_lab)
    code, hint = BAD[name]
    (lab.folder / "t.py").write_text(HEAD + code + "\n")
    lab.write({"name": "t", "target_name": "t_copy", "transform": "t.py::f"})
    ended = lab.project.run("run", timeout_seconds=60)
    assert ended.exit_code in (1, 2), ended.said
    assert hint in ended.said
    assert "t.py" in ended.said
    assert CANARY not in ended.said
    assert "unexpected" not in ended.said
    assert "t_copy" not in lab.there.tables()


@pytest.mark.feature("M10")
def test_a_transform_that_hangs_is_stopped_by_a_signal(make_lab: MakeLab) -> None:
    lab = small_lab(make_lab)
    mark = lab.folder / "hangs"
    (lab.folder / "t.py").write_text(
        HEAD + f"def f(df: pa.Table) -> pa.Table:\n    if df.num_rows:\n        open({str(mark)!r}, 'w').close()\n"
        "        while True: time.sleep(0.05)\n    return df\n"
    )
    lab.write({"name": "t", "target_name": "t_copy", "transform": "t.py::f"})
    process = lab.project.start("run")
    deadline = time.monotonic() + 60
    while not mark.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    try:
        assert mark.exists(), "the transform was never called"
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "t_copy" not in lab.there.tables()


@pytest.mark.feature("M10")
def test_a_transform_that_forks_does_not_run_the_load_twice(make_lab: MakeLab) -> None:
    lab = small_lab(make_lab)
    (lab.folder / "t.py").write_text(
        HEAD + "def f(df: pa.Table) -> pa.Table:\n    if df.num_rows:\n        child = os.fork()\n"
        "        if child == 0: os._exit(0)\n        os.waitpid(child, 0)\n    return df\n"
    )
    lab.moved({"name": "t", "target_name": "t_copy", "transform": "t.py::f"})
    assert lab.rows("t_copy", "id") == [(1,), (2,)]


@pytest.mark.feature("M10")
def test_a_transform_that_changes_its_input_in_place_changes_only_what_it_returns(make_lab: MakeLab) -> None:
    lab = small_lab(make_lab)
    (lab.folder / "t.py").write_text(
        HEAD + "def f(df: pd.DataFrame) -> pd.DataFrame:\n    df['n'] = 'x'\n    return df\n"
    )
    table = {"name": "t", "target_name": "t_copy", "transform": "t.py::f"}
    lab.moved(table)
    assert lab.rows("t_copy", "id, n") == [(1, "x"), (2, "x")]
    assert lab.here.query("SELECT n FROM t WHERE id = 2") == [("b",)]


@pytest.mark.parametrize("key", ["transform", "custom_query_file"])
@pytest.mark.parametrize("way", ["dots", "link"])
def test_code_outside_the_project_is_not_run_by_a_relative_path(
    make_lab: MakeLab, tmp_path: Path, key: str, way: str
) -> None:
    lab = small_lab(make_lab)
    project = lab.folder / "project"
    project.mkdir()
    outside = lab.folder / "outside.py"
    outside.write_text("raise SystemExit('ran')\n" if key == "transform" else "SELECT 1 AS x\n")
    path = "../outside.py"
    if way == "link":
        (project / "inside.py").symlink_to(outside)
        path = "inside.py"
    lab.folder = project
    table = {"name": "t", "target_name": "t_copy", key: f"{path}::f" if key == "transform" else path}
    lab.write(table)
    ended = lab.project.run("run")
    assert ended.exit_code == 2, ended.said
    assert "outside the project's folder" in ended.said
    assert "ran" not in ended.said.split()
