"""`penstock test`: transforms on the fixture rows kept beside them."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.cli.project_options import ProjectCall, project_command
from penstock.cli.screen import Screen
from penstock.errors import EXIT_DONE, EXIT_TABLE_FAILED, counted
from penstock.pipeline.results import TransformCheck, to_json


@project_command
def command(call: ProjectCall) -> int:
    with call.project() as project:
        checks = project.test()
    exit_code = EXIT_DONE if all(check.ok for check in checks) else EXIT_TABLE_FAILED
    return call.answer({"checks": to_json(checks)}, lambda s: show(s, checks), exit_code=exit_code)


def show(screen: Screen, checks: Sequence[TransformCheck]) -> None:
    for check in checks:
        state = "ok" if check.ok else "failed"
        screen.line(f"{check.file}::{check.function} {check.case}: {state}", style="green" if check.ok else "bold red")
        for line in check.message.splitlines():
            screen.line(f"  {line}")
    failed = sum(not check.ok for check in checks)
    screen.line(f"{counted(len(checks), 'case')}, {failed} failed" if checks else "no fixtures beside any transform")
