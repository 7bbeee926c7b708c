"""Rows that Spark's own JDBC writes: they land in a private table, and this process commits those that count."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from penstock.cli import main
from penstock.errors import ConfigError, TransformError
from penstock.pipeline.results import RunOptions, Selection
from tests.engines.spark.conftest import CHEAP
from tests.engines.spark.lab import INCREMENTAL, Lab, make_lab
from tests.engines.spark.test_failures import ATTEMPTS, KILLS, RAISES, WEARY, attempts_of
from tests.engines.spark.test_jdbc import KINDS, query
from tests.engines.spark.test_kills import make_spark_cell, wait_until_alone
from tests.engines.spark.test_moves import go_three_rounds
from tests.faults.cells import KILLED, Strategy
from tests.faults.places import PostgresPlace
from tests.faults.proxy import proxied

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# faults: the driver comes from a Maven repository, where `make test` does without a network
pytestmark = [pytest.mark.feature("M9"), pytest.mark.postgres, pytest.mark.faults]

WRITE = {"spark": {"write": "jdbc"}}
TABLES: dict[str, dict[str, Any]] = {
    "append": {**INCREMENTAL, "write_strategy": "append"},
    "replace": {"write_strategy": "replace"},
    "in_place": {"write_strategy": "replace", "replace_mode": "in_place"},
    "upsert": {**INCREMENTAL, "write_strategy": "upsert", "write_key": ["id"]},
    "delete_insert": {**INCREMENTAL, "write_strategy": "delete_insert", "write_key": ["id"]},
    "parallel": {"write_strategy": "replace", "partitions_column": "id", "partitions_count": 3},
    "hashed": {**INCREMENTAL, "write_strategy": "append", "dedup_columns": ["id", "note"]},
}


def lab_of(folder: Path, url: str, **table: Any) -> Lab:
    return make_lab(
        folder, [{"target_name": "copy", **WRITE, **table}], source="postgres", destination="postgres", url=url
    )


@pytest.mark.parametrize("case", TABLES)
def test_three_rounds_written_through_jdbc_leave_what_arrow_leaves(
    case: str, tmp_path: Path, postgres_url: str, spark: SparkSession
) -> None:
    labs = [lab_of(tmp_path / name, postgres_url, **TABLES[case]) for name in ("arrow", "spark")]
    go_three_rounds(labs, spark, case)
    assert labs[1].destination.litter() == []


def test_a_file_s_rows_are_written_through_jdbc(tmp_path: Path, postgres_url: str, spark: object) -> None:
    lab = make_lab(
        tmp_path / "lab",
        [{"target_name": "copy", **WRITE}],
        source="sqlite",
        destination="postgres",
        url=postgres_url,
    )
    (planned,) = lab.open().plan(Selection(), RunOptions(spark=spark)).tables
    assert planned.runs == "Spark tasks on local[2,3], written through JDBC"
    result = lab.run(spark)
    assert not result.errors, result.errors
    assert sum((lab.rows() or {}).values()) == 20


@pytest.mark.parametrize("io", [{"write": "jdbc"}, {"io": "jdbc"}])
def test_every_type_is_written_as_without_jdbc(
    io: dict[str, str], tmp_path: Path, postgres_url: str, spark: object
) -> None:
    results = []
    for name, session in (("arrow", None), ("spark", spark)):
        lab = lab_of(tmp_path / name, postgres_url, name=f"src_{name}.kinds", spark=io)
        lab.source.execute("CREATE TYPE mood AS ENUM ('sad', 'it''s ok')")
        lab.source.execute(KINDS)
        lab.source.execute("ALTER TABLE kinds ADD m mood, ADD ip inet, ADD v varchar(9), ADD j json, ADD x xml")
        lab.source.execute(
            "UPDATE kinds SET m = 'it''s ok', ip = '10.0.0.1/8', v = ' a ', j = '{\"b\":  1}' WHERE id = 1"
        )
        result = lab.run(session)
        assert not result.errors, result.errors
        results.append(query(lab, "SELECT * FROM copy ORDER BY id"))
        results.append(query(lab, TYPES))
    arrow, arrow_types, through_jdbc, jdbc_types = results
    assert [str(row[:16]) for row in through_jdbc] == [str(row[:16]) for row in arrow]
    assert [str(row[16:-1]) for row in through_jdbc] == [str(row[16:-1]) for row in arrow]
    assert jdbc_types == arrow_types


TYPES = """SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = 'copy'::regclass AND attnum > 0 ORDER BY attnum"""


def lab_with(text: str, folder: Path, url: str, **table: Any) -> Lab:
    lab = lab_of(folder / "lab", url, transform="t.py::f", **table)
    (lab.folder / "t.py").write_text(text)
    return lab


@pytest.mark.feature("N2")
@pytest.mark.parametrize("text", [KILLS, WEARY], ids=["worker killed", "passing trouble"])
def test_a_task_that_fails_before_it_writes_doubles_nothing(
    text: str, tmp_path: Path, postgres_url: str, spark: object
) -> None:
    lab = lab_with(text, tmp_path, postgres_url, **INCREMENTAL)
    result = lab.run(spark)
    assert not result.errors, result.errors
    assert len(attempts_of(lab)) > 1
    assert lab.rows() == lab.source.rows("rows")
    assert lab.destination.litter() == []
    assert lab.open().verify()[0].state == "equal"


WHILE_THEY_LAND = ("load.stage_created", "load.piece_written", "load.piece_committed", "commit.applied")
WAITS = (
    ATTEMPTS
    + """
import time

def f(df: "pyarrow.Table"):
    if df.num_rows:
        mark = pathlib.Path(__file__).parent / f"waits-{attempts()}"
        mark.touch()
        while mark.exists():
            time.sleep(0.01)
    return df
"""
)


@pytest.mark.feature("N2")
def test_a_task_that_is_lost_after_its_commit_doubles_nothing(tmp_path: Path, postgres_url: str, spark: object) -> None:
    """The reply to the first attempt's COMMIT is swallowed: Spark runs the task again, and its rows are in twice."""
    lab = lab_with(WAITS, tmp_path, postgres_url, **INCREMENTAL)
    there, found = lab.destination, []
    assert isinstance(there, PostgresPlace)
    host, port, _ = there.parts()
    with proxied(host, int(port)) as proxy:
        there.address = proxy.address

        def watch() -> None:
            wait_for(lab.folder / "waits-0")
            proxy.swallow = b"COMMIT\0"  # and not READ UNCOMMITTED
            (lab.folder / "waits-0").unlink()
            wait_for(lab.folder / "waits-1")
            found.extend(landed_rows(there))
            (lab.folder / "waits-1").unlink()

        watcher = threading.Thread(target=watch)
        watcher.start()
        result = lab.run(spark)
        watcher.join()
        assert not result.errors, result.errors
        assert lab.open().verify()[0].state == "equal"
    assert proxy.swallowed == 1
    assert found == [(1, 20)]  # one attempt, and its rows, when the second had not yet written
    assert lab.rows() == lab.source.rows("rows")
    assert lab.destination.litter() == []


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline, file
        time.sleep(0.01)


def landed_rows(place: PostgresPlace) -> list[Any]:
    """Attempts and rows in the landing, which is the private table with a place for reports."""
    [(name,)] = place.query(
        "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'report'"
        f" WHERE c.relname LIKE '\\_penstock%' AND c.relnamespace = '{place.schema}'::regnamespace"
    )
    return place.query(f'SELECT count(DISTINCT attempt), count(*) FROM "{name}" WHERE report IS NULL')


@pytest.mark.feature("N2")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("strategy", ["replace", "upsert"])
@pytest.mark.parametrize(
    "point", ["load.stage_created", "load.piece_written", "load.piece_committed", "commit.applied"]
)
def test_a_driver_killed_while_rows_land_is_made_good_by_the_next(
    point: str, strategy: Strategy, tmp_path: Path, postgres_url: str
) -> None:
    cell = make_spark_cell("postgres", strategy, tmp_path, postgres_url)
    cell.options += ", spark: {write: jdbc}"
    cell.write_project()
    before, after = cell.seen(), cell.source_rows()
    armed = cell.run(faults=f"{point}=kill")
    assert armed.exit_code == KILLED, armed.said
    cell.check_whole(before, after, *([type(after)()] if before is None else []))
    cell.check_ledger()
    recovered = cell.run()
    assert recovered.exit_code == 0, recovered.said
    wait_until_alone(cell)
    cell.check_done()


def test_an_error_of_a_task_is_told_once_and_leaves_nothing(tmp_path: Path, postgres_url: str, spark: object) -> None:
    lab = lab_with(RAISES, tmp_path, postgres_url, **INCREMENTAL)
    [error] = lab.run(spark).errors.values()
    assert isinstance(error, TransformError)
    assert "4711" not in str(error)
    assert attempts_of(lab) == ["0"]
    assert lab.rows() is None
    assert lab.destination.litter() == []


def test_a_value_that_the_target_cannot_hold_is_an_error_that_does_not_show_it(
    tmp_path: Path, postgres_url: str, spark: object, capfd: pytest.CaptureFixture[str]
) -> None:
    lab = make_lab(
        tmp_path / "lab", [{"target_name": "copy", **WRITE}], source="sqlite", destination="postgres", url=postgres_url
    )
    lab.source.execute("UPDATE rows SET note = 'hidden' || char(0) || 'word' WHERE id = 7")
    [error] = lab.run(spark).errors.values()
    assert "column 'note' holds NUL bytes, which PostgreSQL text cannot: 1 of 20 rows" in str(error)
    assert "hidden" not in f"{error} {error.__cause__} {capfd.readouterr()}"
    assert lab.rows() is None
    assert lab.destination.litter() == []


@pytest.mark.parametrize("io", [{"write": "jdbc"}, {"read": "jdbc"}, {"io": "jdbc"}])
def test_columns_that_jdbc_cannot_carry_are_refused_at_plan(
    io: dict[str, str], tmp_path: Path, postgres_url: str, spark: object
) -> None:
    lab = lab_of(tmp_path / "lab", postgres_url, name="src_lab.odd", spark=io)
    lab.source.execute("CREATE TABLE odd AS SELECT 1 AS id, ARRAY[1, 2] AS c")
    (planned,) = lab.open().plan(Selection(), RunOptions(spark=spark)).tables
    assert "JDBC cannot carry the columns c" in str(planned.error)
    assert "columns: {c: string}" in str(planned.error)


def test_a_destination_without_jdbc_is_written_natively_or_refused(tmp_path: Path, spark: object) -> None:
    asked = make_lab(tmp_path / "asked", [{"target_name": "copy", **WRITE}])
    [error] = asked.run(spark).errors.values()
    assert isinstance(error, ConfigError)
    assert "variant 'duckdb' is not written through JDBC" in str(error)
    assert asked.rows() is None


def test_a_connect_server_is_given_the_installed_driver_for_both_ends(
    tmp_path: Path, postgres_url: str, connect_spark: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = lab_of(tmp_path / "lab", postgres_url, spark={"io": "jdbc"}, **INCREMENTAL)
    monkeypatch.setenv("PENSTOCK_JARS", str(tmp_path / "jars"))
    [error] = lab.run(connect_spark).errors.values()
    assert isinstance(error, ConfigError)
    assert "the Connect server has no JDBC driver org.postgresql:postgresql:" in str(error)
    assert "penstock install-jars" in str(error)

    assert main(["install-jars", "postgres"]) == 0
    result = lab.run(connect_spark)
    assert not result.errors, result.errors
    assert lab.rows() == lab.source.rows("rows")
    assert lab.destination.litter() == []


@pytest.mark.timeout(300)
def test_executors_that_share_no_disk_with_the_run_read_and_write_through_jdbc(
    tmp_path: Path, postgres_url: str
) -> None:
    master = {"master": "local-cluster[2,1,1024]", "executor_memory": "1g", "extra_config": CHEAP}
    lab = make_lab(
        tmp_path / "lab",
        [{"target_name": "copy", "spark": {"io": "jdbc"}, "partitions_column": "id", "partitions_count": 2}],
        source="postgres",
        destination="postgres",
        url=postgres_url,
        settings={"engine": "spark", "spark": master},
    )
    command = [sys.executable, "-m", "penstock", "run", "-c", str(lab.write()), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert lab.rows() == lab.source.rows("rows")
    assert lab.destination.litter() == []
