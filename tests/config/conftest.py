"""Projects as text, and plugins of these tests' own, registered the way an installed package registers its own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from penstock.config import ProjectConfig, load_project

Load = Callable[..., ProjectConfig]

ENTRY_POINTS = """\
[penstock.connectors]
river = tests.config.plugins:RIVER
tank = tests.config.plugins:TANK
dry = tests.config.plugins:DRY
broken = tests.config.no_such_module:CONNECTOR
postgres = penstock.connectors.postgres:CONNECTOR
sqlite = penstock.connectors.sqlite:CONNECTOR
duckdb = penstock.connectors.duckdb:CONNECTOR
file = penstock.connectors.files:CONNECTOR

[penstock.backends]
sqlite = penstock.state.sqlite:open_backend

[penstock.secrets]
vault = tests.config.plugins:vault
leaky = tests.config.plugins:leaky
"""


@pytest.fixture(scope="session", autouse=True)
def plugins_installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A distribution of these tests: `river` is a server, `tank` a file, `vault` a secret provider."""
    folder = tmp_path_factory.mktemp("site")
    info = folder / "penstock_config_tests-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: penstock-config-tests\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    sys.path.append(str(folder))
    importlib.invalidate_caches()
    yield
    sys.path.remove(str(folder))
    importlib.invalidate_caches()


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a project given as text, as penstock.yaml of the current folder, with no variables but those given."""
    monkeypatch.chdir(tmp_path)

    def load_text(
        text: str,
        *,
        environ: Mapping[str, str] | None = None,
        environment: str | None = None,
        legacy: bool = False,
        dotenv: str | None = None,
    ) -> ProjectConfig:
        (tmp_path / "penstock.yaml").write_text(dedent(text), encoding="utf-8")
        if dotenv is not None:
            (tmp_path / ".env").write_text(dotenv, encoding="utf-8")
        return load_project(environ=environ or {}, environment=environment, legacy=legacy)

    return load_text
