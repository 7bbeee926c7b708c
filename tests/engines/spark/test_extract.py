"""`extract` on Spark: a lazy frame of the session, for as long as the extract is open."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import penstock
from penstock.errors import ConfigError
from tests.engines.spark.lab import Lab, make_lab

pytestmark = [pytest.mark.feature("M9", "M2"), pytest.mark.timeout(120)]

COPY = [{"target_name": "copy"}]


def rows_of(frame: Any) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row) for row in frame.collect())


@pytest.mark.postgres
@pytest.mark.parametrize("source", ["postgres", "sqlite", "duckdb"])
def test_the_frame_of_an_extract_holds_the_rows_of_the_source(
    source: Any, tmp_path: Path, postgres_url: str, spark: Any
) -> None:
    lab = make_lab(tmp_path / "lab", COPY, source=source, url=postgres_url)
    with penstock.extract(lab.write(), table="copy", spark=spark) as extracted:
        assert extracted.df.sparkSession is spark
        found, few = rows_of(extracted.df), rows_of(extracted.df.filter("id < 3"))
    assert found == source_rows(lab)
    assert few == Counter(row for row in source_rows(lab) if row[0] < 3)
    assert spark.range(3).count() == 3
    assert lab.rows() is None


@pytest.mark.postgres
def test_a_frame_has_a_partition_for_each_split(tmp_path: Path, postgres_url: str, spark: Any) -> None:
    cut = {"partitions_column": "id", "partitions_count": 3}
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy", **cut}], source="postgres", url=postgres_url)
    with penstock.extract(lab.write(), table="copy", spark=spark) as extracted:
        found = extracted.df.selectExpr("id", "spark_partition_id() AS split").collect()
    assert sorted(row.id for row in found) == list(range(20))
    assert len({row.split for row in found}) == 3


def test_a_naive_timestamp_is_a_timestamp_without_zone(tmp_path: Path, spark: Any) -> None:
    path = project_of_files(tmp_path)
    with penstock.extract(path, table="events", spark=spark) as extracted:
        assert dict(extracted.df.dtypes) == {"id": "bigint", "at": "timestamp_ntz", "seen": "timestamp"}
        assert extracted.df.filter("id = 0").first()["at"] == datetime(2026, 1, 1, 12, 0, 1)


@pytest.mark.postgres
def test_a_frame_shows_the_rows_of_the_moment_it_was_made(tmp_path: Path, postgres_url: str, spark: Any) -> None:
    lab = make_lab(tmp_path / "lab", COPY, source="postgres", url=postgres_url)
    before = lab.source.rows("rows")
    with penstock.extract(lab.write(), table="copy", spark=spark) as extracted:
        frame = extracted.df
        lab.fill((99, 1, "later"))
        assert rows_of(frame) == before
    assert lab.source.rows("rows") != before


@pytest.mark.postgres
def test_a_frame_of_a_closed_extract_fails_with_the_way_out(tmp_path: Path, postgres_url: str, spark: Any) -> None:
    lab = make_lab(tmp_path / "lab", COPY, source="postgres", url=postgres_url)
    extracted = penstock.extract(lab.write(), table="copy", spark=spark)
    frame = extracted.df
    extracted.close()
    extracted.close()
    with pytest.raises(Exception, match="the read session's snapshot is gone"):
        frame.collect()
    with pytest.raises(ConfigError, match="these rows are closed"):
        _ = extracted.df
    lab.source.execute("DROP TABLE rows")  # nothing holds it any more


def test_a_spark_frame_goes_through_a_transform_back_into_a_table(tmp_path: Path, spark: Any) -> None:
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy", "write_strategy": "append"}])
    with penstock.extract(lab.write(), table="copy", spark=spark) as extracted:
        made = extracted.df.filter("id >= 10").selectExpr("id", "stamp + 1 AS stamp", "note", "ratio")
        result = penstock.load(lab.write(), table="copy", df=made)
    assert result.tables[0].rows_written == 10
    expected = Counter((i, stamp + 1, note, ratio) for i, stamp, note, ratio in source_rows(lab) if i >= 10)
    assert lab.rows() == expected


def test_a_source_that_the_project_also_writes_to_is_refused(tmp_path: Path, spark: Any) -> None:
    lab = make_lab(tmp_path / "lab", COPY)
    text = lab.write().read_text().replace('"there"', '"here"')
    lab.write().write_text(text)
    with pytest.raises(ConfigError, match="the tasks of Spark cannot read it"):
        penstock.extract(lab.folder / "penstock.yaml", table="copy", spark=spark)


def test_the_engine_may_be_named_by_the_project(tmp_path: Path, spark: Any) -> None:
    del spark  # active, and taken
    lab = make_lab(tmp_path / "lab", COPY, settings={"engine": "spark"})
    with penstock.extract(lab.write(), table="copy") as extracted:
        assert rows_of(extracted.df) == source_rows(lab)
    with penstock.extract(lab.write(), table="copy", engine="arrow") as extracted:
        assert extracted.df.shape == (20, 4)


OWN_SESSION = """
import sys, penstock
from pyspark.sql import SparkSession

with penstock.extract("penstock.yaml", table="copy", engine="spark") as extracted:
    print(extracted.df.count())
print(SparkSession.getActiveSession())
print(penstock.extract("penstock.yaml", table="copy", engine="spark").df.count())
"""


def test_a_session_made_for_a_frame_ends_with_it_and_keeps_no_process_alive(tmp_path: Path) -> None:
    lab = make_lab(tmp_path / "lab", COPY, settings={"spark": {"master": "local[1]"}})
    lab.write()
    command = [sys.executable, "-c", OWN_SESSION]
    done = subprocess.run(command, cwd=lab.folder, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stdout.split()) == (0, ["20", "None", "20"]), done.stderr


def source_rows(lab: Lab) -> Counter[tuple[Any, ...]]:
    found = lab.source.rows("rows")
    assert found is not None
    return found


def project_of_files(folder: Path) -> Path:
    """Three Parquet files of two rows."""
    (folder / "files" / "events").mkdir(parents=True)
    moment = datetime(2026, 1, 1, 12, 0, 1)
    for number in range(3):
        columns = {
            "id": pa.array([2 * number, 2 * number + 1], pa.int64()),
            "at": pa.array([moment, moment], pa.timestamp("us")),
            "seen": pa.array([moment, moment], pa.timestamp("us", "UTC")),
        }
        pq.write_table(pa.table(columns), folder / "files" / "events" / f"{number}.parquet")
    path = folder / "penstock.yaml"
    path.write_text(
        "version: 2\ndefault_environment: dev\ndev:\n"
        "  connections:\n"
        "    lake: {variant: file, extra: {path: files, format: parquet}}\n"
        "    there: {variant: duckdb, database: there.duckdb}\n"
        "  pipelines:\n"
        "    - {name: main, source: lake, destination: there, tables: [{name: events, target_name: events}]}\n"
    )
    return path
