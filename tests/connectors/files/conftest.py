"""Fixtures of the tests of local files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.connectors.files.lake import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    root = tmp_path / "lake"
    root.mkdir()
    return Lake(root)
