"""The schema and the reference say what the models say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.config import project_schema, reference_markdown, variant_markdown
from penstock.config.models import PipelineConfig
from penstock.config.settings import BackendConfig, Settings, SparkConfig
from penstock.config.tables import TableConfig
from penstock.config.variants import DOCUMENTED
from penstock.config.waiting import KEYS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "project.md"
# mkpipe 0.31's keys: nobody who moves loses one
MKPIPE_TABLE = [
    "name",
    "target_name",
    "tags",
    "replication_method",
    "iterate_column",
    "iterate_column_type",
    "custom_query",
    "custom_query_file",
    "filter_lower_bound",
    "filter_upper_bound",
    "partitions_column",
    "partitions_column_type",
    "partitions_count",
    "partitions_lower_bound",
    "partitions_upper_bound",
    "partitions_bounds_filtered",
    "fetchsize",
    "batchsize",
    "write_partitions",
    "dedup_columns",
    "write_strategy",
    "write_key",
    "if_exists",
    "column_name_case",
    "transform",
    "pass_on_error",
    "partitioner",
    "partitioner_options",
    "iceberg_partition_by",
    "iceberg_sort_by",
    "iceberg_properties",
    "iceberg_schema_evolution",
    "delta_partition_by",
    "delta_z_order_by",
    "delta_properties",
    "delta_schema_evolution",
]
MKPIPE_CONNECTION = [
    "variant",
    "host",
    "port",
    "database",
    "user",
    "password",
    "schema",
    "warehouse",
    "private_key_file",
    "private_key_file_pwd",
    "mongo_uri",
    "collection",
    "bucket_name",
    "s3_prefix",
    "aws_access_key",
    "aws_secret_key",
    "region",
    "credentials_file",
    "api_key",
    "oauth_token",
    "client_id",
    "client_secret",
    "extra",
]
MKPIPE_SETTINGS = [
    "timezone",
    "log_dir",
    "ingested_at_column",
    "ingestion_id_column",
    "column_name_case",
    "if_exists",
    "backend",
    "spark",
]


@pytest.mark.feature("M1")
def test_the_committed_reference_is_the_generated_one() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference_markdown(), (
        "write it anew: make docs, or write reference_markdown() into docs/reference/project.md"
    )


@pytest.mark.feature("M1")
def test_every_key_of_mkpipe_is_a_key() -> None:
    assert set(MKPIPE_TABLE) <= set(TableConfig.model_fields)
    assert set(MKPIPE_CONNECTION) <= set(DOCUMENTED)
    assert set(MKPIPE_SETTINGS) <= set(Settings.model_fields)
    assert {"variant", "host", "port", "database", "user", "password", "extra"} <= set(BackendConfig.model_fields)
    assert {"master", "driver_memory", "executor_memory", "extra_config", "comet"} <= set(SparkConfig.model_fields)
    assert {"name", "source", "destination", "pass_on_error", "tables"} == set(PipelineConfig.model_fields)


@pytest.mark.feature("M1")
def test_every_field_says_what_it_is_for_and_gives_an_example() -> None:
    for model in (TableConfig, Settings, BackendConfig, SparkConfig):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name} has no description"
            assert field.description.endswith("."), f"{model.__name__}.{name} is no sentence"
            assert field.examples or name in ("name", "tables"), f"{model.__name__}.{name} has no example"


@pytest.mark.feature("M1")
def test_every_waiting_key_is_a_field() -> None:
    owners = {
        "settings": set(Settings.model_fields),
        "settings.spark": set(SparkConfig.model_fields),
        "pipelines[].tables[]": set(TableConfig.model_fields),
        "connections{}": set(DOCUMENTED),
    }
    for key in KEYS:
        owner, _, name = key.rpartition(".")
        assert name in owners[owner], key


@pytest.mark.feature("M1")
def test_the_schema_is_json_whose_references_lead_somewhere() -> None:
    schema = project_schema()
    text = json.dumps(schema)
    definitions = schema["$defs"]
    assert isinstance(definitions, dict)
    for part in text.split('"$ref": "')[1:]:
        name = part[: part.index('"')].removeprefix("#/$defs/")
        assert name in definitions, name
    table = definitions["TableConfig"]
    assert isinstance(table, dict)
    assert table["additionalProperties"] is False
    assert table["required"] == ["name", "target_name"]


@pytest.mark.feature("M1")
def test_the_schema_knows_the_keys_of_installed_variants() -> None:
    connection = json.loads(json.dumps(project_schema()))["$defs"]["ConnectionConfig"]
    taken = {branch["if"]["properties"]["variant"]["const"]: branch["then"] for branch in connection["allOf"]}
    assert "speed" in connection["properties"]
    assert taken["river"]["properties"]["extra"]["$ref"] == "#/$defs/river.RiverExtra"
    assert taken["tank"]["required"] == ["extra"]


@pytest.mark.feature("M1")
def test_the_keys_of_a_variant_are_a_page() -> None:
    page = variant_markdown("river")
    assert "| `speed` | `slow`, `fast` | `slow` | A key of this variant alone. | `fast` |" in page
    assert "| `token` | secret |  | A secret of this variant. | `${TOKEN}` |" in page
