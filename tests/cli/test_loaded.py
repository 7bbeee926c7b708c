"""What a run loads into the process: only what the way of its rows needs."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

FRAMES = ("pandas", "polars", "rich", "sqlglot")
RUN = """
import sys
from penstock.cli import main
sys.argv = ["penstock", "run", "--quiet"]
code = main()
# not ru_maxrss: that keeps the peak of the process that started this one
with open("/proc/self/status") as status:
    megabytes = next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM:"))
print(code, megabytes, *[m for m in WATCHED if m in sys.modules])
"""


def run_in(folder: Path, project: str, watched: tuple[str, ...]) -> tuple[int, int, list[str]]:
    """Exit code, peak megabytes, and which of the watched modules were loaded."""
    (folder / "penstock.yaml").write_text(project)
    return run_code(folder, RUN.replace("WATCHED", repr(watched)))


def run_code(folder: Path, code: str) -> tuple[int, int, list[str]]:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    exit_code, megabytes, *loaded = done.stdout.splitlines()[-1].split()
    assert exit_code == "0", done.stderr
    return int(exit_code), int(megabytes), loaded


def project(source: str, target: str, table: str) -> str:
    return f"""
version: 2
default_environment: dev
dev:
  connections:
    source: {source}
    target: {target}
  pipelines:
    - name: p
      source: source
      destination: target
      tables:
        - {table}
"""


def postgres_keys(url: str, schema: str) -> str:
    parts = urlsplit(url)
    assert parts.hostname is not None
    return (
        f"{{variant: postgres, host: {parts.hostname}, port: {parts.port}, user: {parts.username}, "
        f"database: {parts.path[1:]}, schema: {schema}}}"
    )


def make_sqlite(folder: Path) -> None:
    with sqlite3.connect(folder / "source.db") as database:
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, price REAL, day DATE)")
        database.execute("INSERT INTO t VALUES (1, 'one', 1.5, '2024-01-31'), (2, NULL, NULL, NULL)")


@pytest.mark.parametrize("target", ["{variant: duckdb, database: t.duckdb}", "{variant: sqlite, database: t.db}"])
def test_a_plain_run_loads_no_frame_library(tmp_path: Path, target: str) -> None:
    make_sqlite(tmp_path)
    text = project(
        "{variant: sqlite, database: source.db}", target, "{name: t, target_name: t, dedup_columns: [id, name]}"
    )
    assert run_in(tmp_path, text, FRAMES)[::2] == (0, [])


def test_an_incremental_run_loads_no_frame_library_the_second_time_either(tmp_path: Path) -> None:
    make_sqlite(tmp_path)
    text = project(
        "{variant: sqlite, database: source.db}",
        "{variant: duckdb, database: t.duckdb}",
        "{name: t, target_name: t, replication_method: incremental, iterate_column: id, iterate_column_type: int}",
    )
    run_in(tmp_path, text, FRAMES)
    with sqlite3.connect(tmp_path / "source.db") as database:
        database.execute("INSERT INTO t VALUES (3, 'three', 2, '2024-02-01')")
    assert run_in(tmp_path, text, FRAMES)[::2] == (0, [])


def test_pandas_works_with_pyarrow_as_soon_as_anybody_imports_it(tmp_path: Path) -> None:
    code = """
import sys
from penstock.cli import ondemand
ondemand.install()
import pyarrow
one = pyarrow.array([1, None])
before = "pandas" in sys.modules
import pandas
made = pyarrow.array(pandas.Series(["a", None], dtype="category"))
table = pyarrow.Table.from_pandas(pandas.DataFrame({"x": [1, 2]}))
print(0, int(before), made.type.__class__.__name__, table.num_rows, made.null_count)
"""
    assert run_code(tmp_path, code) == (0, 0, ["DictionaryType", "2", "1"])


def test_pyarrow_fetches_pandas_itself_where_a_frame_is_asked_for(tmp_path: Path) -> None:
    code = """
from penstock.cli import ondemand
ondemand.install()
import pyarrow
frame = pyarrow.table({"x": pyarrow.array([1, 2])}).to_pandas()
print(0, 0, type(frame).__name__, pyarrow.array(frame["x"].astype("category")).type.__class__.__name__)
"""
    assert run_code(tmp_path, code)[2] == ["DataFrame", "DictionaryType"]


@pytest.mark.postgres
def test_a_relay_loads_neither_pyarrow_nor_duckdb(tmp_path: Path, postgres_url: str) -> None:
    import asyncio

    import asyncpg

    async def prepare() -> None:
        connection = await asyncpg.connect(postgres_url)
        await connection.execute(
            "DROP SCHEMA IF EXISTS loaded_from CASCADE; DROP SCHEMA IF EXISTS loaded_to CASCADE;"
            "CREATE SCHEMA loaded_from; CREATE TABLE loaded_from.t AS"
            " SELECT g AS id, repeat('x', 50) AS text, now() AS at FROM generate_series(1, 20000) g"
        )
        await connection.close()

    asyncio.run(prepare())
    text = project(
        postgres_keys(postgres_url, "loaded_from"),
        postgres_keys(postgres_url, "loaded_to"),
        "{name: loaded_from.t, target_name: t}",
    )
    for _ in range(2):
        code, megabytes, loaded = run_in(tmp_path, text, ("pyarrow", "duckdb", "numpy", *FRAMES))
        assert (code, loaded) == (0, [])
        assert megabytes <= 100
    # the same rows decoded: no frame library either
    code, _, loaded = run_in(tmp_path, text.replace("target_name: t}", "target_name: u, dedup_columns: [id]}"), FRAMES)
    assert (code, loaded) == (0, [])
