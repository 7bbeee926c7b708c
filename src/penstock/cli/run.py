"""`penstock run`: move the selected tables."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import replace
from typing import Annotated

import typer

from penstock.cli.mistakes import error_to_json, print_error, print_traceback
from penstock.cli.options import MOST_ROWS, EngineName, PipelineName, TableOption, Tags, tags_of
from penstock.cli.plan import show_plan
from penstock.cli.project_options import ProjectCall, project_command
from penstock.cli.screen import Screen, of_table
from penstock.cli.show import show_tables
from penstock.cli.stopping import stop_on_signals
from penstock.errors import ConfigError, counted
from penstock.pipeline.project import Project
from penstock.pipeline.results import RunOptions, RunResult, Selection, to_json
from penstock.telemetry.events import Bus
from penstock.telemetry.progress import show_progress
from penstock.values import Json

EPILOG = "Exit codes: 0 done; 1 a table failed; 2 usage or config; 4 refused; 5 outcome unknown; 130, 143 stopped."


@project_command
def command(  # noqa: PLR0913 - one parameter per option of the command line
    call: ProjectCall,
    *,
    pipeline: PipelineName = None,
    table: TableOption = None,
    tags: Tags = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Load everything anew, as a new generation of the target.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before --full-refresh; needed without a terminal.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, metavar="N", help="How many tables at once.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, max=MOST_ROWS, metavar="ROWS", help="Only so many rows, into <target>__sample."),
    ] = None,
    engine: EngineName = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no summary.")] = False,
) -> int:
    selection = Selection(pipeline, table, tags_of(tags))
    options = RunOptions(full_refresh=full_refresh, threads=threads, limit=limit, engine=engine)
    bus = Bus()
    with ExitStack() as until_told:
        with call.project(bus, warn=not quiet) as project:
            if full_refresh:
                _confirm(project, selection, options, ask=not yes, quiet=quiet)
            request = until_told.enter_context(stop_on_signals())
            with show_progress(bus, sys.stderr, quiet=quiet, plain=call.verbose):
                result = project.run(selection, options, bus=bus, stop=request.event)
        if result.state == "stopped":
            result = replace(result, exit_code=request.exit_code(result.exit_code))
        return _tell(call, result, quiet=quiet)


def _tell(call: ProjectCall, result: RunResult, *, quiet: bool) -> int:
    for error in result.errors.values():
        print_traceback(error, wanted=call.debug)
        if not call.as_json:
            print_error(str(error))
    return call.answer(result_to_json(result), lambda s: None if quiet else show(s, result), exit_code=result.exit_code)


def _confirm(project: Project, selection: Selection, options: RunOptions, *, ask: bool, quiet: bool) -> None:
    """Show what a full refresh will do, and ask. Raises ConfigError on a no, and where nobody can be asked."""
    if ask or not quiet:
        show_plan(Screen(sys.stderr), project.plan(selection, options))
    if ask and not (sys.stdin and sys.stdin.isatty()):
        raise ConfigError(
            "--full-refresh replaces what these tables hold, and without a terminal nobody can be asked",
            fix="say -y to go ahead: penstock run --full-refresh -y",
        )
    if ask and not typer.confirm("Load these tables anew, replacing what they hold?", err=True):
        raise ConfigError("not confirmed: nothing was changed", fix="answer yes, or say --yes")


def result_to_json(result: RunResult) -> dict[str, Json]:
    """The result with each table's error as other commands print errors."""
    shown = to_json(replace(result, errors={}))
    assert isinstance(shown, dict)
    return {**shown, "errors": {target: error_to_json(error) for target, error in result.errors.items()}}


def show(screen: Screen, result: RunResult) -> None:
    show_tables(screen, result.tables)
    told = {str(error) for error in result.errors.values()}
    for table in result.tables:
        if table.error and table.error not in told:
            screen.line(of_table(table.target, table.error), style="yellow")
    seconds = (result.finished_at - result.started_at).total_seconds()
    rows = sum(table.rows_written for table in result.tables)
    summary = f"{counted(len(result.tables), 'table')}, {counted(rows, 'row')} written in {seconds:.1f} s"
    style = "green" if result.state == "succeeded" else "bold red"
    screen.line(f"run {result.run_id} {result.state}: {summary}", style=style)
