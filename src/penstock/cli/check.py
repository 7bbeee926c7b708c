"""`penstock check`: try every connection."""

from __future__ import annotations

from penstock.cli.project_options import ProjectCall, project_command
from penstock.cli.screen import Screen
from penstock.errors import gravest
from penstock.pipeline.results import CheckResult, to_json


@project_command
def command(call: ProjectCall) -> int:
    with call.project() as project:
        results = project.check()
    exit_code = gravest(result.exit_code for result in results)
    return call.answer({"connections": to_json(results)}, lambda s: show(s, results), exit_code=exit_code)


def show(screen: Screen, results: tuple[CheckResult, ...]) -> None:
    for result in results:
        state = "ok" if result.ok else "failed"
        screen.line(f"{result.connection} ({result.variant}): {state}", style="green" if result.ok else "bold red")
        for line in result.message.splitlines():
            screen.line(f"  {line}")
