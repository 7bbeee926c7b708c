"""What the tests of both file databases share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.connectors.sql.place import SYSTEMS, Place, open_place


@pytest.fixture(params=sorted(SYSTEMS))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A file of each system in turn."""
    return open_place(request.param, tmp_path)
