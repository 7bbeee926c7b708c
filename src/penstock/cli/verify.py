"""`penstock verify`: are the targets what the ledgers and the sources say."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.cli.options import PipelineName, TableOption, Tags, tags_of
from penstock.cli.project_options import ProjectCall, project_command
from penstock.cli.screen import STYLES, Screen
from penstock.errors import gravest
from penstock.pipeline.results import Selection, TableVerdict, to_json


@project_command
def command(call: ProjectCall, *, pipeline: PipelineName = None, table: TableOption = None, tags: Tags = None) -> int:
    with call.project() as project:
        verdicts = project.verify(Selection(pipeline, table, tags_of(tags)))
    exit_code = gravest(verdict.exit_code for verdict in verdicts)
    return call.answer({"tables": to_json(verdicts)}, lambda s: show(s, verdicts), exit_code=exit_code)


def show(screen: Screen, verdicts: Sequence[TableVerdict]) -> None:
    for verdict in verdicts:
        screen.line(f"{verdict.target}: {verdict.state}", style=STYLES[verdict.state])
        if verdict.error is not None:
            screen.line("  error     " + verdict.error.replace("\n", "\n" + " " * 12), style="bold red")
            continue
        screen.line(f"  rows      {verdict.rows_target:,} in the target{_beside(verdict)}")
        if verdict.state == "different":
            screen.line(
                f"  differ    {verdict.missing:,} missing, {verdict.extra:,} extra, {verdict.different:,} different"
            )
        if verdict.changed_since:
            screen.line(f"  newer     {verdict.changed_since:,} changed at the source since the last load")
        for line in verdict.sample:
            screen.line(f"  sample    {line}")
        for note in verdict.notes:
            screen.line(f"  note      {note}", style="yellow")


def _beside(verdict: TableVerdict) -> str:
    ledger = f", {verdict.rows_ledger:,} by the ledger" if verdict.rows_ledger is not None else ""
    source = f", {verdict.rows_source:,} at the source" if verdict.rows_source is not None else ""
    return ledger + source
