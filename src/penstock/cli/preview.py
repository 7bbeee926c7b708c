"""`penstock preview`: the first rows of a table at its source."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli.options import MOST_ROWS
from penstock.cli.project_options import ProjectCall, project_command
from penstock.cli.screen import Screen
from penstock.errors import counted
from penstock.pipeline.results import Preview, to_json


@project_command
def command(
    call: ProjectCall,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A source or target name of the project.")],
    limit: Annotated[int, typer.Option("--limit", min=1, max=MOST_ROWS, help="How many rows.")] = 10,
) -> int:
    with call.project() as project:
        preview = project.preview(table, limit)
    shown = to_json(preview)
    assert isinstance(shown, dict)
    return call.answer(shown, lambda s: show(s, preview))


def show(screen: Screen, preview: Preview) -> None:
    screen.table([f"{name} {kind}" for name, kind in preview.columns], preview.rows)
    screen.line(f"{counted(len(preview.rows), 'row')} of {preview.stream}")
