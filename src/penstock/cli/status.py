"""`penstock status`: where each table stands by its destination's ledger."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.cli.options import PipelineName, TableOption, Tags, tags_of
from penstock.cli.project_options import ProjectCall, project_command
from penstock.cli.screen import Screen, of_table
from penstock.errors import gravest
from penstock.pipeline.results import Selection, TableStatus, to_json


@project_command
def command(call: ProjectCall, *, pipeline: PipelineName = None, table: TableOption = None, tags: Tags = None) -> int:
    with call.project(warn=False) as project:
        tables = project.status(Selection(pipeline, table, tags_of(tags)))
    exit_code = gravest(table.exit_code for table in tables)
    return call.answer({"tables": to_json(tables)}, lambda s: show(s, tables), exit_code=exit_code)


def show(screen: Screen, tables: Sequence[TableStatus]) -> None:
    rows = [
        (
            table.pipeline,
            table.target,
            table.state,
            table.owner,
            table.cursor,
            table.generation,
            table.sequence,
            table.changed_at,
            table.last_run.state if table.last_run else None,
            table.horizon_lag,
        )
        for table in tables
    ]
    columns = ("pipeline", "table", "state", "owner", "cursor", "generation", "loads", "changed", "last run", "lag")
    screen.table(columns, rows)
    told: dict[str, list[str]] = {}  # where a connection is down, many tables have one error
    for table in tables:
        if table.error:
            told.setdefault(table.error, []).append(table.target)
    for error, concerned in told.items():
        screen.line(f"error: {of_table(', '.join(dict.fromkeys(concerned)), error)}", style="bold red")
