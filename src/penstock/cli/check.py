"""`penstock check`: try every connection."""

from __future__ import annotations

from penstock.cli.project_options import ProjectCall, project_command
from penstock.cli.screen import Screen
from penstock.errors import EXIT_DONE, EXIT_TABLE_FAILED
from penstock.pipeline.results import CheckResult, to_json


@project_command
def command(call: ProjectCall) -> int:
    with call.project() as project:
        results = project.check()
    exit_code = EXIT_DONE if all(result.ok for result in results) else EXIT_TABLE_FAILED
    return call.answer({"connections": to_json(results)}, lambda s: show(s, results), exit_code=exit_code)


def show(screen: Screen, results: tuple[CheckResult, ...]) -> None:
    for result in results:
        state = "ok" if result.ok else "failed"
        screen.line(f"{result.connection} ({result.variant}): {state}", style="green" if result.ok else "bold red")
        for line in result.message.splitlines():
            screen.line(f"  {line}")
