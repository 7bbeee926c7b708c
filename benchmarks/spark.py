"""One Spark session, PostgreSQL to PostgreSQL: Penstock's tasks beside that session's own JDBC read and write.

`python -m benchmarks.spark FOLDER` is the child: it runs everything interleaved and prints the seconds as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import environment
from benchmarks.projects import write_project
from benchmarks.servers import connection_yaml, database_url, empty_target, fetch_value

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SPLITS = {"partitions_count": 2}
TRANSFORM = """\"\"\"A filter and one column more.\"\"\"

from pyspark.sql import DataFrame
from pyspark.sql import functions as f


def twice(rows: DataFrame) -> DataFrame:
    return rows.filter(f.col("is_open")).withColumn("twice", f.col("amount") * 2)
"""
# Seconds of the first over seconds of the second, and the most that may be.
FIGURES = (
    ("Spark tasks over the session's own JDBC", "tasks", "jdbc", 0.50),
    ("Spark tasks over the arrow engine with two splits", "tasks", "arrow", 1 / 0.7),
    ("Spark tasks and a PySpark transform over all-JDBC", "transform", "jdbc transform", 1 / 1.2),
)


def spark_figures(runs: int) -> list[tuple[str, ...]]:
    """Session start is excluded and stated in a row of its own."""
    from benchmarks.cases import table

    plain = write_project("spark", table(**SPLITS))
    made = write_project("spark-transform", table(**SPLITS, transform="twice.py::twice"))
    (made / "twice.py").write_text(TRANSFORM)
    command = [sys.executable, "-m", "benchmarks.spark", str(plain), str(made), str(runs)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} exited {done.returncode}:\n{done.stderr[-4000:]}")
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    rows: list[tuple[str, ...]] = [("start of a Spark session, s", f"{seconds['session']:.2f}", "-", "-")]
    for name, ours, other, most in FIGURES:
        ratio = seconds[ours] / seconds[other]
        told = f"{ratio:.2f} ({seconds[ours]:.2f} s over {seconds[other]:.2f})"
        rows.append((name, told, f"{most:.2f}", "yes" if ratio <= most else "no"))
    return rows


def main(arguments: list[str]) -> int:
    plain, made, runs = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    started = time.monotonic()
    session = _session()
    session.range(1).count()
    seconds: dict[str, float] = {"session": time.monotonic() - started}
    _add_driver(session)
    rows = int(str(fetch_value(database_url("bench_source"), "SELECT count(*) FROM orders")))
    subjects: dict[str, tuple[Callable[[], None], int]] = {
        "tasks": (lambda: _run(plain, session), rows),
        "jdbc": (lambda: _jdbc(session, rows), rows),
        "arrow": (lambda: _run(plain, None), rows),
        "transform": (lambda: _run(made, session), rows // 2),
        "jdbc transform": (lambda: _jdbc(session, rows, _twice), rows // 2),
    }
    for _ in range(runs):
        for name, (subject, expected) in subjects.items():
            empty_target("bench_target")
            began = time.monotonic()
            subject()
            took = time.monotonic() - began
            arrived = fetch_value(database_url("bench_target"), "SELECT count(*) FROM orders")
            assert arrived == expected, f"{name}: {arrived} rows, not {expected}"
            seconds[name] = min(seconds.get(name, took), took)
            print(name, round(took, 2), file=sys.stderr, flush=True)
    session.stop()
    print(json.dumps(seconds))
    return 0


def _session() -> SparkSession:
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master("local[2]").config("spark.driver.memory", "3g")
    for key, value in {"spark.ui.enabled": "false", "spark.sql.session.timeZone": "UTC"}.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    return session


def _add_driver(session: SparkSession) -> None:
    from penstock.connectors.postgres import CONNECTOR

    for jar in CONNECTOR.jars:
        session.sql(f"ADD JAR ivy://{jar.coordinates}?transitive=false")


def _run(folder: Path, session: SparkSession | None) -> None:
    import penstock

    result = penstock.run(str(folder / "penstock.yaml"), spark=session)
    assert not result.errors, result.errors


def _jdbc(session: SparkSession, rows: int, change: Callable[[DataFrame], DataFrame] | None = None) -> None:
    read = session.read.format("jdbc").options(
        **_options("bench_source"),
        fetchsize=100_000,
        partitionColumn="id",
        lowerBound=1,
        upperBound=rows,
        numPartitions=2,
    )
    frame = read.load()
    frame = change(frame) if change is not None else frame
    frame.write.format("jdbc").options(**_options("bench_target"), batchsize=10_000).mode("overwrite").save()


def _options(name: str) -> dict[str, Any]:
    keys = connection_yaml(name)
    return {
        "url": f"jdbc:postgresql://{keys['host']}:{keys['port']}/{name}",
        "driver": "org.postgresql.Driver",
        "dbtable": "public.orders",
        "user": keys["user"],
        **({"password": keys["password"]} if "password" in keys else {}),
    }


def _twice(rows: DataFrame) -> DataFrame:
    from pyspark.sql import functions as f

    return rows.filter(f.col("is_open")).withColumn("twice", f.col("amount") * 2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
