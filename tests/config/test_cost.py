"""Starting the command line does not pay for reading projects."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from typing import Any

import pytest

from tests.config.conftest import Load

CHECK = "import sys, penstock.cli; print(sorted({'pydantic', 'ruamel.yaml', 'penstock.config'} & set(sys.modules)))"
LIGHT = "import sys, penstock.config; print(sorted({'pyarrow', 'duckdb', 'asyncpg', 'polars'} & set(sys.modules)))"


@pytest.mark.parametrize("check", [CHECK, LIGHT], ids=["the command line", "the project file"])
def test_what_is_not_needed_is_not_imported(check: str) -> None:
    ended = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


PROJECT = """\
version: 2
default_environment: dev
dev:
  connections:
    here: {{variant: sqlite, database: here.db}}
    there: {{variant: duckdb, database: there.duckdb, x-note: y}}
{more}
  pipelines:
    - {{name: p, source: here, destination: there, tables: [{{name: t, target_name: t}}]}}
"""


def test_installed_packages_are_searched_once_however_many_connections_there_are(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches: list[str] = []

    search = importlib.metadata.entry_points

    def counted(*, group: str) -> Any:
        searches.append(group)
        return search(group=group)

    monkeypatch.setattr(importlib.metadata, "entry_points", counted)
    unknown = [f"    c{i}: {{variant: mystery{i}, database: 'vault:x'}}" for i in range(100)]
    secret = [f"    s{i}: {{variant: postgres, host: h, password: 'vault:{i}'}}" for i in range(100)]
    config = load(PROJECT.format(more="\n".join([*unknown, *secret])))
    assert len([w for w in config.warnings if "no connector for the variant" in str(w)]) == 100
    assert len(searches) <= 3  # connectors, backends, secrets
