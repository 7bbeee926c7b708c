"""The package's own plugins: the table that spares reading metadata, and the entry points others see."""

from __future__ import annotations

import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from penstock import plugins

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.mark.parametrize("group", plugins.OWN)
def test_the_table_of_own_plugins_is_what_the_package_registers(group: str) -> None:
    registered = tomllib.loads(PROJECT.read_text())["project"]["entry-points"][group]
    assert dict(plugins.OWN[group]) == registered


@pytest.mark.parametrize("group", plugins.OWN)
def test_plugins_of_other_packages_are_listed_beside_the_own(group: str) -> None:
    others = {point.name for point in entry_points(group=group)}
    assert set(plugins.Registry(group).names()) == others | set(plugins.OWN[group])
