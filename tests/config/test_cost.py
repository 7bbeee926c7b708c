"""Starting the command line does not pay for reading projects."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHECK = "import sys, penstock.cli; print(sorted({'pydantic', 'ruamel.yaml', 'penstock.config'} & set(sys.modules)))"
LIGHT = "import sys, penstock.config; print(sorted({'pyarrow', 'duckdb', 'asyncpg', 'polars'} & set(sys.modules)))"


@pytest.mark.parametrize("check", [CHECK, LIGHT], ids=["the command line", "the project file"])
def test_what_is_not_needed_is_not_imported(check: str) -> None:
    ended = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
