"""One JVM per test worker, with settings that make it cheap: a classic session, and a Connect server beside it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.engines.spark.cluster import Cluster

CHEAP = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "1",
    "spark.default.parallelism": "1",
    "spark.sql.adaptive.enabled": "false",
    "spark.driver.memory": "1g",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.session.timeZone": "UTC",
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
}
CONNECT_PORT = "spark.connect.grpc.binding.port"
# These run on classic and on Connect, where `make test` takes the sample and `make test-faults` the rest.
ON_BOTH = ("test_golden", "test_moves", "test_frames", "test_progress", "test_extract", "test_datasource")
SAMPLE = (
    "test_rows_are_told_before_the_last_task_ends[connect]",
    "test_three_rounds_on_spark_leave_what_arrow_leaves[connect-postgres-postgres-upsert]",
    "test_three_rounds_on_spark_leave_what_arrow_leaves[connect-postgres-duckdb-parallel]",
    "test_a_transform_of_each_frame_makes_the_same_rows[connect-batch]",
    "test_a_pyspark_transform_makes_what_a_duckdb_one_makes_on_arrow[connect-annotated]",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "spark" in metafunc.fixturenames and metafunc.module.__name__.rpartition(".")[2] in ON_BOTH:
        metafunc.parametrize("spark", ["classic", "connect"], indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        called = getattr(item, "callspec", None)
        if called is not None and called.params.get("spark") == "connect" and item.name not in SAMPLE:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def classic_spark() -> Iterator[SparkSession]:
    """Two cores, and three attempts at a task. Its JVM is a Connect server too, on a port of its own."""
    from pyspark.sql import SparkSession

    from penstock.engines.spark.java import prepare_java

    prepare_java()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master("local[2,3]").appName("penstock-tests")
    for key, value in (CHEAP | server_settings()).items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


def server_settings() -> dict[str, str]:
    """pyspark 3.5 brings no Connect server."""
    import pyspark

    if not any(Path(pyspark.__path__[0], "jars").glob("spark-connect_*.jar")):
        return {}
    return {
        "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        CONNECT_PORT: str(free_port()),
    }


@pytest.fixture(scope="session")
def connect_url(classic_spark: SparkSession) -> str:
    return f"sc://127.0.0.1:{classic_spark.conf.get(CONNECT_PORT)}"


@pytest.fixture
def connect_spark(connect_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SparkSession]:
    """A session of a process that has Connect ones only, as far as `pyspark.sql.functions` can tell."""
    from pyspark.sql.connect.session import SparkSession

    monkeypatch.setenv("SPARK_CONNECT_MODE_ENABLED", "1")
    session = SparkSession.builder.remote(connect_url).create()
    yield session
    session.stop()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    from tests.engines.spark.cluster import Cluster

    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture
def spark(request: pytest.FixtureRequest) -> SparkSession:
    found: SparkSession = request.getfixturevalue(f"{getattr(request, 'param', 'classic')}_spark")
    return found


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
