"""Every type of every system into every system: exact, or as the page of types says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pages import types_page


@pytest.mark.postgres
@pytest.mark.feature("M1", "M2", "N3")
def test_every_value_arrives_as_the_page_of_types_says(tmp_path: Path, postgres_url: str) -> None:
    page = types_page.write(tmp_path, postgres_url)
    assert (ROOT / types_page.PAGE).read_text(encoding="utf-8") == page, "run `make docs` and commit the page"
