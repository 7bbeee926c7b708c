"""The committed page is the one the commands make."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli.group import COMMANDS, load_command
from penstock.cli.reference import reference_markdown

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"


def test_the_committed_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference_markdown(), (
        "write it anew: python -c 'from penstock.cli.reference import *; print(reference_markdown(), end=\"\")'"
        " > docs/reference/cli.md"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_is_explained(command: str) -> None:
    for parameter in load_command(command).params:
        if parameter.name != "help":
            assert parameter.help, f"{command} {parameter.name}"
