"""Penstock under Dagster: assets by tag, one asset per table of the project, and retries only where one can help."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dagster as dg

import penstock

PROJECT = os.environ.get("PENSTOCK_PROJECT", str(Path(__file__).with_name("penstock.yaml")))
RETRIES = dg.RetryPolicy(max_retries=2, delay=float(os.environ.get("RETRY_SECONDS", "30")))


def replicate(**selection: Any) -> dg.MaterializeResult[Any]:
    """Run what is selected. An error that another attempt cannot cure is tried once, whatever the asset's policy."""
    try:
        result = penstock.run(PROJECT, **selection)
    except penstock.PenstockError as error:
        raise dg.Failure(description=str(error), allow_retries=error.retryable) from error
    return dg.MaterializeResult(
        metadata={
            "run_id": str(result.run_id),
            "rows_read": sum(table.rows_read for table in result.tables),
            "rows_written": sum(table.rows_written for table in result.tables),
        }
    )


@dg.asset(retry_policy=RETRIES, group_name="by_tag")
def api_tables() -> dg.MaterializeResult[Any]:
    return replicate(tags=["api"])


@dg.asset(retry_policy=RETRIES, group_name="by_tag")
def critical_tables() -> dg.MaterializeResult[Any]:
    return replicate(tags=["critical"])


def table_asset(pipeline: str, target: str, tags: list[str]) -> dg.AssetsDefinition:
    """One table as an asset of its own; naming the pipeline keeps tables of the same name apart."""

    @dg.asset(key=[pipeline, target], tags=dict.fromkeys(tags, ""), retry_policy=RETRIES, group_name="by_table")
    def table() -> dg.MaterializeResult[Any]:
        return replicate(pipeline=pipeline, table=target)

    return table


def table_assets() -> list[dg.AssetsDefinition]:
    """Read out of the project file; no database is asked while Dagster loads this module."""
    pipelines = penstock.Project.open(PROJECT).config.pipelines
    return [table_asset(p.name, t.target_name, list(t.tags)) for p in pipelines for t in p.tables]


defs = dg.Definitions(
    assets=[api_tables, critical_tables, *table_assets()],
    jobs=[
        dg.define_asset_job("by_tag", dg.AssetSelection.groups("by_tag")),
        dg.define_asset_job("by_table", dg.AssetSelection.groups("by_table")),
    ],
)
