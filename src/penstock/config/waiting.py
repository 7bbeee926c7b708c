"""Keys and values of connectors and engines that are not here yet, and the feature each comes with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from penstock.config.problems import Path

TABLE = "pipelines[].tables[]"

KEYS: Mapping[str, str] = {
    "settings.spark.comet": "M9",
    f"{TABLE}.partitioner": "M11i",
    f"{TABLE}.partitioner_options": "M11i",
    f"{TABLE}.iceberg_partition_by": "M11s",
    f"{TABLE}.iceberg_sort_by": "M11s",
    f"{TABLE}.iceberg_properties": "M11s",
    f"{TABLE}.iceberg_schema_evolution": "M11s",
    f"{TABLE}.delta_partition_by": "M11t",
    f"{TABLE}.delta_z_order_by": "M11t",
    f"{TABLE}.delta_properties": "M11t",
    f"{TABLE}.delta_schema_evolution": "M11t",
    "connections{}.warehouse": "M11j",
    "connections{}.private_key_file": "M11j",
    "connections{}.private_key_file_pwd": "M11j",
    "connections{}.mongo_uri": "M11i",
    "connections{}.collection": "M11i",
    "connections{}.bucket_name": "M11r",
    "connections{}.s3_prefix": "M11r",
    "connections{}.aws_access_key": "M11r",
    "connections{}.aws_secret_key": "M11r",
    "connections{}.region": "M11r",
    "connections{}.credentials_file": "M11r",
    "connections{}.api_key": "M11o",
    "connections{}.oauth_token": "M11p",
    "connections{}.client_id": "M11j",
    "connections{}.client_secret": "M11j",
}
"""Understood, without effect before the feature; `[]` stands for any item, `{}` for any name."""

REFUSED_VALUES: Mapping[tuple[str, str], str] = {
    ("write_strategy", "scd2"): "M5",
    ("replication_method", "cdc"): "M14",
    ("replication_method", "streaming"): "M14",
}
"""(key, value) that would change what is moved: a mistake before the feature is here."""

EXTRA_VALUES: Mapping[tuple[str, str], str] = {
    ("storage", "s3"): "M11r",
    ("storage", "gcs"): "M11r",
    ("storage", "adls"): "M11r",
    ("storage", "azure"): "M11r",
    ("storage", "abfs"): "M11r",
    ("storage", "hdfs"): "M11r",
    ("format", "orc"): "M11r",
    ("format", "avro"): "M11r",
    ("format", "xml"): "M11r",
    ("format", "iceberg"): "M11s",
    ("format", "delta"): "M11t",
}
"""(key under a connection's `extra`, value): a mistake in a connection that a pipeline names, waiting in another."""

VARIANTS: Mapping[str, str] = {
    "mysql": "M11b",
    "mariadb": "M11c",
    "sqlserver": "M11d",
    "oracledb": "M11e",
    "oracle": "M11e",
    "redshift": "M11g",
    "clickhouse": "M11h",
    "mongodb": "M11i",
    "snowflake": "M11j",
    "bigquery": "M11k",
    "cassandra": "M11l",
    "timescaledb": "M11m",
    "dynamodb": "M11n",
    "elasticsearch": "M11o",
    "opensearch": "M11o",
    "influxdb": "M11p",
    "redis": "M11q",
    "s3": "M11r",
    "gcs": "M11r",
    "iceberg": "M11s",
    "delta": "M11t",
}
BACKENDS: Mapping[str, str] = {"duckdb": "M8", "clickhouse": "M8"}

EXTRAS: Mapping[str, str] = {
    "db_path": "sqlite",
    "temp_gcs_bucket": "bigquery",
    "billing_project": "bigquery",
    "scheme": "elasticsearch",
    "verify_certs": "elasticsearch",
    "org": "influxdb",
    "tag_columns": "influxdb",
    "field_columns": "influxdb",
    "time_column": "influxdb",
    "key_column": "redis",
    "storage_type": "redis",
    "key_prefix": "redis",
    "ttl": "redis",
    "storage": "file",
    "format": "file",
    "path": "file",
    "aws_access_key": "file on S3",
    "aws_secret_key": "file on S3",
    "region": "file on S3",
    "catalog": "iceberg and delta",
    "catalog_name": "iceberg and delta",
    "catalog_database": "iceberg and delta",
    "catalog_uri": "iceberg and delta",
    "catalog_warehouse": "iceberg and delta",
    "nessie_ref": "iceberg",
    "nessie_auth_type": "iceberg",
    "nessie_token": "iceberg",
    "rest_credential": "iceberg",
    "rest_token": "iceberg",
    "rest_scope": "iceberg",
    "unity_token": "delta",
}
"""Keys documented under `extra`, and the variant that takes them: a warning elsewhere."""

_OWNERS: Mapping[str, str] = {**VARIANTS, "file on S3": "M11r", "iceberg and delta": "M11s and M11t"}


def feature_of(path: Path) -> str | None:
    """The feature a key inside an environment waits for."""
    return KEYS.get(_spelled(path))


def owner_of(extra: str) -> str:
    """Who takes a key that is documented under `extra`, and the feature that brings it."""
    owner = EXTRAS[extra]
    return f"{owner}, which comes with {_OWNERS[owner]}" if owner in _OWNERS else owner


def find_waiting(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Each written key or value of an environment that has no effect yet, with its feature."""
    yield from _walk({"settings": data["settings"], "pipelines": data["pipelines"]}, ())
    for name, connection in data["connections"].items():
        where = waiting_value(connection)
        if where is not None:
            yield ("connections", name, *where[0]), where[1]


def waiting_value(connection: Mapping[str, Any]) -> tuple[Path, str] | None:
    """What a connection as written names that is not here yet, its variant first, and the feature."""
    variant, extra = connection.get("variant"), connection.get("extra")
    if isinstance(variant, str) and variant in VARIANTS:
        return ("variant",), VARIANTS[variant]
    for key, value in extra.items() if isinstance(extra, Mapping) else ():
        if isinstance(value, str) and (key, value) in EXTRA_VALUES:
            return ("extra", key), EXTRA_VALUES[key, value]
    return None


def _walk(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    feature = feature_of(path)
    if feature is not None:
        yield path, feature
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _walk(inner, (*path, key))
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(inner, (*path, index))


def _spelled(path: Path) -> str:
    if path[:1] == ("connections",) and len(path) >= 3:
        return ".".join(("connections{}", *(str(p) for p in path[2:])))
    text = ""
    for part in path:
        text += "[]" if isinstance(part, int) else f".{part}" if text else part
    return text
