"""Writes every generated page of docs/: `python -m tests.pages`, or `make docs`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from penstock.cli.reference import reference_markdown as commands
from penstock.config import reference_markdown as project
from penstock.testing.features import PAGE as FEATURES
from penstock.testing.features import collect
from penstock.testing.features import render as features
from tests.conftest import ROOT, _execute, pytest_configure
from tests.pages import connectors_page, types_page


def main() -> int:
    reference = ROOT / "docs" / "reference"
    pages = {
        ROOT / types_page.PAGE: types_text(),
        ROOT / connectors_page.PAGE: connectors_page.render(),
        reference / "cli.md": commands(),
        reference / "project.md": project(),
        ROOT / FEATURES: features(collect(ROOT).features),
    }
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)} written\n")
    return 0


def types_text() -> str:
    """Made in a database of its own on the server the tests use."""
    import os

    pytest_configure()
    server = os.environ["PENSTOCK_TEST_POSTGRES"]
    name = f"penstock_pages_{os.getpid()}"
    asyncio.run(_execute(server, f'CREATE DATABASE "{name}"'))
    try:
        with tempfile.TemporaryDirectory() as folder:
            return types_page.write(Path(folder), f"{server.rpartition('/')[0]}/{name}")
    finally:
        asyncio.run(_execute(server, f'DROP DATABASE "{name}" WITH (FORCE)'))


if __name__ == "__main__":
    sys.exit(main())
