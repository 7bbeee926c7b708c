"""`penstock runs`: past runs, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from penstock.cli.options import MOST_ROWS
from penstock.cli.project_options import ProjectCall, project_command
from penstock.cli.screen import Screen
from penstock.cli.show import state_text
from penstock.pipeline.results import to_json
from penstock.protocols import Backend
from penstock.values import RunRecord


@project_command
def command(
    call: ProjectCall, limit: Annotated[int, typer.Option("--limit", min=1, max=MOST_ROWS, help="How many runs.")] = 20
) -> int:
    with call.project(warn=False) as project:
        backend = project.backend()
        runs = backend.runs(limit)
        states = [_state(backend, run) for run in runs]
    return call.answer({"runs": to_json(runs)}, lambda s: show(s, runs, states))


def _state(backend: Backend, run: RunRecord) -> str:
    found = backend.run(run.run_id) if run.state == "running" else None
    return state_text(run, found[1] if found else ())


def show(screen: Screen, runs: Sequence[RunRecord], states: Sequence[str]) -> None:
    if not runs:
        screen.line("no runs yet")
    rows = [
        (run.run_id, state, run.started_at, run.seconds, run.environment, run.command, _first_line(run.error))
        for run, state in zip(runs, states, strict=True)
    ]
    screen.table(("run", "state", "started", "seconds", "environment", "command", "error"), rows)


def _first_line(text: str | None) -> str | None:
    return text.splitlines()[0] if text else None
