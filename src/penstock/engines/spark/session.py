"""A session to run on: the caller's, the one that is active, one behind `remote`, or a local one made here."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.errors import ConfigError
from penstock.records import dataclass

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

INSTALL = "pip install 'penstock[spark]'"
_GIB = 1 << 30
_OLDEST = (3, 5)


@dataclass(frozen=True, slots=True)
class SparkOptions:
    """`settings.spark`, and the zone; memory as Spark spells it, None where it is to be found out."""

    master: str = "local[*]"
    remote: str | None = None
    driver_memory: str | None = None
    executor_memory: str | None = None
    extra_config: Mapping[str, str | int | float | bool] | None = None


def find_session(options: SparkOptions) -> tuple[SparkSession, bool]:
    """A session, and whether it was made here and is to be stopped here. Raises ConfigError with the way out."""
    sql = _import_pyspark()
    active = sql.SparkSession.getActiveSession()
    if active is not None:
        return active, False
    builder = sql.SparkSession.builder.appName("penstock")
    for key, value in settings_of(options).items():
        builder = builder.config(key, value)
    if options.remote is not None:
        return _connected(builder.remote(options.remote), options.remote), True
    _require_java()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    return builder.master(options.master).getOrCreate(), True


def _import_pyspark():  # type: ignore[no-untyped-def]
    try:
        import pyspark
        from pyspark import sql
    except ImportError as error:
        raise ConfigError("engine: spark needs pyspark", fix=INSTALL) from error
    version = tuple(int(part) for part in pyspark.__version__.split(".")[:2])
    if version < _OLDEST:
        raise ConfigError(f"pyspark {pyspark.__version__} is too old for the spark engine", fix="use 3.5 or later")
    return sql


def settings_of(options: SparkOptions) -> dict[str, str]:
    """What a session made here is told; `extra_config` wins over everything."""
    found = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": options.driver_memory or f"{_share_of_memory(0.2, 1)}g",
        "spark.executor.memory": options.executor_memory or f"{_share_of_memory(0.6, 2)}g",
    }
    return found | {key: _spelled(value) for key, value in (options.extra_config or {}).items()}


def _spelled(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _share_of_memory(share: float, least_gib: int) -> int:
    return max(least_gib, int(_memory_bytes() * share) // _GIB)


def _memory_bytes() -> int:
    """What this process may use: the control group's limit, else the machine's memory."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        path = Path(name)
        if path.is_file() and (text := path.read_text().strip()).isdigit():
            return min(machine, int(text))
    return machine


def _require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if (home and Path(home, "bin", "java").exists()) or shutil.which("java"):
        return
    raise ConfigError(
        "a local Spark session needs Java 17 or later, and none is found", fix="install Java, or set JAVA_HOME"
    )


def _connected(builder: SparkSession.Builder, remote: str) -> SparkSession:
    session = builder.getOrCreate()
    try:
        session.range(1).count()
    except Exception as error:
        where = remote.partition(";")[0]  # what follows may hold a token
        raise ConfigError(
            "the Spark Connect server cannot be used", where=where, fix="start it, or correct settings.spark.remote"
        ) from error
    return session
