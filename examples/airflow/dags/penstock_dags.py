"""Penstock under Airflow: tasks by tag, one task per table of the project, and retries only where one can help."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowFailException

PROJECT = os.environ.get("PENSTOCK_PROJECT", str(Path(__file__).parents[1] / "penstock.yaml"))
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=float(os.environ.get("RETRY_SECONDS", "30")))}


def replicate(**selection: Any) -> dict[str, Any]:
    """Run what is selected. An error that another attempt cannot cure fails the task at once."""
    import penstock  # in the task: the scheduler reads this file often, and needs no Penstock for it

    try:
        result = penstock.run(PROJECT, **selection)
    except penstock.PenstockError as error:
        if error.retryable:
            raise
        raise AirflowFailException(str(error)) from error
    return {"run_id": str(result.run_id), "rows_written": sum(table.rows_written for table in result.tables)}


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, default_args=RETRIES)
def penstock_by_tag() -> None:
    @task
    def sync_api_tables() -> dict[str, Any]:
        return replicate(tags=["api"])

    @task
    def sync_critical_tables() -> dict[str, Any]:
        return replicate(tags=["critical"])

    sync_api_tables()
    sync_critical_tables()


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, default_args=RETRIES)
def penstock_by_table() -> None:
    @task
    def tables() -> list[dict[str, str]]:
        """Read out of the project file; no database is asked."""
        import penstock

        pipelines = penstock.Project.open(PROJECT).config.pipelines
        return [{"pipeline": p.name, "table": t.target_name} for p in pipelines for t in p.tables]

    @task(map_index_template="{{ task.op_kwargs['table'] }}")
    def sync(pipeline: str, table: str) -> dict[str, Any]:
        return replicate(pipeline=pipeline, table=table)

    sync.expand_kwargs(tables())


penstock_by_tag()
penstock_by_table()
