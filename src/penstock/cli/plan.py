"""`penstock plan`: what a run would do, table by table."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli.options import EngineName, PipelineName, TableOption, Tags, tags_of
from penstock.cli.project_options import ProjectCall, project_command
from penstock.cli.screen import Screen
from penstock.errors import counted, gravest
from penstock.pipeline.results import ProjectPlan, RunOptions, Selection, TablePlan, to_json

EPILOG = (
    "Exit codes: 0 a run would begin with every table; else the code a run would end with: 1 a table or its connection"
    " cannot be read; 2 usage or config; 4 refused."
)


@project_command
def command(
    call: ProjectCall,
    *,
    pipeline: PipelineName = None,
    table: TableOption = None,
    tags: Tags = None,
    full_refresh: Annotated[bool, typer.Option("--full-refresh", help="Plan to load everything anew.")] = False,
    engine: EngineName = None,
) -> int:
    with call.project(warn=call.as_json) as project:
        plan = project.plan(
            Selection(pipeline, table, tags_of(tags)), RunOptions(full_refresh=full_refresh, engine=engine)
        )
    shown = to_json(plan)
    assert isinstance(shown, dict)
    exit_code = gravest(table.exit_code for table in plan.tables)
    return call.answer(shown, lambda s: show_plan(s, plan), exit_code=exit_code)


def show_plan(screen: Screen, plan: ProjectPlan) -> None:
    """Also what `run --full-refresh` shows before it asks."""
    screen.line(f"{plan.project}, environment {plan.environment}: {counted(len(plan.tables), 'table')}", style="bold")
    for note in plan.notes:
        screen.line(f"note: {note}", style="yellow")
    for table in plan.tables:
        screen.line()
        _show_table(screen, table)


def _show_table(screen: Screen, table: TablePlan) -> None:
    screen.line(f"{table.target}  <-  {table.source}.{table.stream} (pipeline {table.pipeline})", style="bold")
    if table.error:
        screen.line(f"  error    {_indented(table.error)}", style="bold red")
        return
    relay = ", bytes relayed undecoded" if table.relay else ""
    screen.line(f"  into     {table.destination}: {table.strategy}, {table.route} route{relay}")
    screen.line(f"  grade    {table.grade}", style="bold red" if table.grade == "refused" else "green")
    screen.line(f"  reads    {_reads(table)}")
    screen.line(f"  runs     {table.runs}")
    screen.line(f"  steps    {'; '.join(table.steps) or 'none'}")
    for name, kind, target_kind in table.columns:
        screen.line(f"  column   {name}: {kind}" + (f" -> {target_kind}" if target_kind != kind else ""))
    for note in table.notes:
        screen.line(f"  note     {_indented(note)}", style="yellow")


def _reads(table: TablePlan) -> str:
    if table.idle:
        return f"{table.method}, {table.bounds}: nothing new, nothing will be written"
    rows = f", about {counted(table.rows_estimate, 'row')}" if table.rows_estimate is not None else ""
    splits = f", {table.splits} splits" if table.splits > 1 else ""
    return f"{table.method}, {table.bounds}{rows}{splits}"


def _indented(text: str) -> str:
    return text.replace("\n", "\n           ")
