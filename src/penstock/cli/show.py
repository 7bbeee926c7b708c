"""`penstock show`: one run, table by table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from penstock.cli.project_options import ProjectCall, project_command
from penstock.cli.screen import Screen, of_table, size_text, text_of
from penstock.errors import ConfigError
from penstock.pipeline.results import to_json
from penstock.protocols import Backend
from penstock.values import RunId, RunRecord, TableRecord

SEARCHED = 1000
COLUMNS = ("table", "state", "how", "read", "written", "repeated", "quarantined", "size", "seconds", "cursor")


@project_command
def command(
    call: ProjectCall,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run id, the first letters of one, or `last`.")],
) -> int:
    with call.project(warn=False) as project:
        record, tables = find_run(project.backend(), run)
    return call.answer({"run": to_json(record), "tables": to_json(tables)}, lambda s: show(s, record, tables))


def find_run(backend: Backend, wanted: str) -> tuple[RunRecord, Sequence[TableRecord]]:
    """Raises ConfigError for a run that is not in the history, or several that begin so."""
    found = backend.run(RunId(wanted))
    if found is not None:
        return found
    recent = backend.runs(SEARCHED)
    matching = recent[:1] if wanted == "last" else [run for run in recent if run.run_id.startswith(wanted)]
    if len(matching) > 1:
        ids = ", ".join(run.run_id for run in matching[:5])
        raise ConfigError(f"{len(matching)} runs begin with {wanted!r}", fix=f"say more of one: {ids}")
    found = backend.run(matching[0].run_id) if matching else None
    if found is None:
        raise ConfigError(f"no run {wanted!r} in the history", fix="`penstock runs` lists them")
    return found


def show(screen: Screen, run: RunRecord, tables: Sequence[TableRecord]) -> None:
    screen.line(f"run {run.run_id} of {run.project}, environment {run.environment}", style="bold")
    screen.line(f"  command   {run.command}")
    screen.line(f"  state     {state_text(run, tables)}")
    screen.line(f"  started   {text_of(run.started_at)}")
    screen.line(f"  finished  {text_of(run.finished_at) or 'not recorded'}")
    if run.error:
        screen.line(f"  error     {run.error}", style="bold red")
    screen.line()
    show_tables(screen, tables)
    for table in tables:
        if table.error:
            screen.line(of_table(table.target, table.error), style="red")


def state_text(run: RunRecord, tables: Sequence[TableRecord]) -> str:
    """A run that never said it ended may be at work or dead: all that is known is when it last wrote something."""
    if run.state != "running":
        return run.state
    signs = [run.started_at, *(t.started_at for t in tables), *(t.finished_at for t in tables if t.finished_at)]
    return f"running (no sign of life since {text_of(max(signs))})"


def show_tables(screen: Screen, tables: Sequence[TableRecord]) -> None:
    """Also the summary of `penstock run`."""
    screen.table(COLUMNS, [_row(table) for table in tables])


def _row(table: TableRecord) -> tuple[object, ...]:
    return (
        table.target,
        table.state,
        f"{table.strategy}, {table.route}" if table.route else table.strategy,
        table.rows_read,
        table.rows_written,
        table.rows_deduplicated or None,
        table.rows_quarantined or None,
        size_text(table.size_bytes),
        table.seconds,
        _cursor_text(table),
    )


def _cursor_text(table: TableRecord) -> str | None:
    if table.cursor_before and table.cursor_after and table.cursor_before != table.cursor_after:
        return f"{table.cursor_before} -> {table.cursor_after}"
    return table.cursor_after or table.cursor_before
