"""Every flag of the command line and every failpoint is named by a test, and the page of features is current."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from penstock.cli.reference import reference_markdown
from penstock.failpoints import FAILPOINTS
from penstock.testing.features import PAGE, Marked, collect, render

ROOT = Path(__file__).resolve().parents[2]
ITS_OWN_PROOF = {"--help", "--version"}  # every test of the command line passes through them


@pytest.fixture(scope="module")
def marked() -> Marked:
    return collect(ROOT)


def test_every_flag_is_claimed_by_a_test(marked: Marked) -> None:
    flags = set(re.findall(r"`(?:-\w, )?(--[a-z-]+)", reference_markdown()))
    assert len(flags) > 10
    assert flags - set(marked.claims) - ITS_OWN_PROOF == set()


def test_every_failpoint_is_claimed_by_a_test(marked: Marked) -> None:
    assert set(FAILPOINTS) - set(marked.claims) == set()


def test_the_page_of_features_is_current(marked: Marked) -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == render(marked.features), "run `make docs` and commit the page"
