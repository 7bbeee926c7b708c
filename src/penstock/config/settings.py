"""The keys under `settings:`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from penstock.config.kinds import ConfigModel, Duration, Size
from penstock.config.paths import PATH_KEYS, beside, is_url
from penstock.config.problems import FOUND
from penstock.config.secrets import SecretText
from penstock.config.tables import ColumnNameCase, IfExists

STATE_FILE = ".penstock/state.db"
FILE_BACKENDS = ("sqlite",)
STAGING_SCHEMES = ("s3", "gs", "gcs", "abfss", "abfs", "hdfs", "viewfs", "file")  # what Arrow opens


def default_threads() -> int:
    """The cores this process may use, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)


class BackendConfig(ConfigModel):
    """Where run history is kept. Losing it loses history and nothing else."""

    variant: str = Field(
        "sqlite", description="The control database: sqlite or postgres.", examples=["sqlite", "postgres"]
    )
    host: str | None = Field(None, description="Host of the server.", examples=["localhost"])
    port: int | None = Field(None, ge=1, le=65535, description="Port of the server.", examples=[5432])
    database: str | None = Field(
        None,
        description="Name of the database; for sqlite the file, unwritten .penstock/state.db beside the project.",
        examples=["penstock"],
    )
    user: str | None = Field(None, description="User name.", examples=["penstock"])
    password: SecretText | None = Field(None, description="Password.", examples=["${BACKEND_PASSWORD}"])
    schema_: str | None = Field(None, alias="schema", description="Schema of the tables.", examples=["penstock"])
    extra: dict[str, str | int | float | bool] = Field(
        {}, repr=False, description="Further options of the server's driver.", examples=[{"sslmode": "require"}]
    )

    def to_options(self, base_dir: Path) -> dict[str, object]:
        """What a backend's opener takes: the keys that are set, a file's path absolute."""
        options = {
            "host": self.host,
            "port": self.port,
            "database": self.database,
            "user": self.user,
            "password": self.password,
            "schema": self.schema_,
            "extra": self._located_extra(base_dir) or None,
        }
        if self.variant in FILE_BACKENDS:
            options["database"] = beside(base_dir, self.database or STATE_FILE)
        return {name: value for name, value in options.items() if value is not None}

    def _located_extra(self, base_dir: Path) -> dict[str, str | int | float | bool]:
        return {k: beside(base_dir, v) if k in PATH_KEYS and isinstance(v, str) else v for k, v in self.extra.items()}


class SparkConfig(ConfigModel):
    """The Spark engine's settings."""

    master: str = Field(
        "local[*]", description="Spark's master URL, of a session that is made here.", examples=["local[*]"]
    )
    remote: SecretText | None = Field(
        None,
        description="Address of a Spark Connect server, which takes the place of `master`. It may hold a token.",
        examples=["${SPARK_REMOTE}"],
    )
    driver_memory: str | None = Field(
        None, description="Memory of the driver. Unwritten: a fifth of the machine's.", examples=["4g"]
    )
    executor_memory: str | None = Field(
        None, description="Memory of an executor. Unwritten: three fifths of the machine's.", examples=["4g"]
    )
    extra_config: dict[str, str | int | float | bool] = Field(
        {},
        repr=False,
        description="Any Spark configuration, of a session that is made here.",
        examples=[{"spark.sql.shuffle.partitions": "200"}],
    )
    secrets: Literal["driver", "executor"] = Field(
        "driver",
        description="Where secrets of connections are fetched for tasks: by the driver, for them to take along, or by "
        "each executor, from the variables, files and secret providers it has.",
        examples=["executor"],
    )
    comet: bool = Field(default=False, description="Use the Comet accelerator.", examples=[True])


class Settings(ConfigModel):
    """What holds for every table of the environment."""

    engine: Literal["arrow", "spark"] = Field("arrow", description="What moves and transforms.", examples=["arrow"])
    memory: Size = Field(
        96 << 20,
        description="Byte budget of all queues of a run.",
        examples=["96MB"],
        json_schema_extra={"shown": "96MB"},
    )
    threads: int = Field(
        default_factory=default_threads,
        ge=1,
        description="Tables moved at once.",
        examples=[4],
        json_schema_extra={"shown": "the cores, at most 8"},
    )
    retries: int = Field(
        3,
        ge=0,
        description="How often a transient failure is tried again, after 1 s, 2 s, 4 s, ... 30 s.",
        examples=[5],
    )
    lock_wait: Duration = Field(
        60.0,
        description="How long a table waits for another run that holds it.",
        examples=["60s"],
        json_schema_extra={"shown": "60s"},
    )
    horizon_warn: Duration = Field(
        900.0,
        description="Age of the oldest open transaction at a PostgreSQL source from which on it is named.",
        examples=["15m"],
        json_schema_extra={"shown": "15m"},
    )
    staging: str | None = Field(
        None,
        description="Folder for temporary files. Unwritten: the system's. On a Spark cluster a URL that every machine "
        "reaches: s3://, gs://, abfss://, or file:/// for a folder mounted on all of them.",
        examples=["/data/staging"],
    )
    timezone: str = Field(
        "UTC",
        description="Zone of bounds and filters that name none; sessions always run in UTC.",
        examples=["Europe/Istanbul"],
    )
    log_dir: str | None = Field(
        None, description="Folder for log files. Unwritten: none are kept.", examples=["./logs"]
    )
    ingested_at_column: str = Field(
        "_ingested_at", min_length=1, description="Column with the start of the load.", examples=["_loaded_at"]
    )
    ingestion_id_column: str = Field(
        "mkpipe_id", min_length=1, description="Column with the hash of `dedup_columns`.", examples=["row_id"]
    )
    column_name_case: ColumnNameCase = Field(
        "as_is", description="Case of column names at the destination; added columns keep theirs.", examples=["lower"]
    )
    if_exists: IfExists = Field(
        "replace",
        description="On replace, an existing table is replaced (replace_mode auto) or emptied and filled "
        "(`append`: in_place).",
        examples=["append"],
    )
    backend: BackendConfig = Field(
        default_factory=BackendConfig, description="Where run history is kept.", examples=[{"variant": "sqlite"}]
    )
    spark: SparkConfig | None = Field(None, description="The Spark engine.", examples=[{"master": "local[*]"}])
    transform_frame: str | None = Field(
        None, description="The frame that transforms without annotation take.", examples=["pyspark"]
    )

    @field_validator("staging")
    @classmethod
    def _check_staging(cls, value: str | None) -> str | None:
        if value is not None and is_url(value):
            scheme, _, rest = value.partition("://")
            if scheme not in STAGING_SCHEMES:
                raise ValueError(f"one of {', '.join(f'{known}://' for known in STAGING_SCHEMES)}, or a folder")
            user, at, _ = rest.partition("/")[0].rpartition("@")
            if ":" in user or (at and scheme == "s3"):
                raise ValueError("no key in the address: the machines' own credentials are used")
        return value

    @property
    def local_staging(self) -> str | None:
        """The folder for files of this process alone."""
        return None if self.staging is None or is_url(self.staging) else self.staging

    @property
    def shared_staging(self) -> str | None:
        """The URL for files of several machines."""
        return self.staging if self.staging is not None and is_url(self.staging) else None

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):  # not a zone, not a name, a folder of zones
            raise ValueError(f"no time zone {FOUND}; write one such as UTC or Europe/Berlin") from None
        return value
