"""Flags, exit codes, errors, failpoints, cells of the support matrix: a test names each; and the features page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.pages.connectors_page import is_own

from penstock import errors
from penstock.cli.connectors import support_of
from penstock.cli.reference import EXIT_CODES, reference_markdown
from penstock.errors import PenstockError
from penstock.failpoints import FAILPOINTS
from penstock.plugins import connector_names
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


def subclasses(base: type[PenstockError]) -> set[str]:
    return {name for one in base.__subclasses__() for name in (one.__name__, *subclasses(one))}


def test_every_error_that_is_documented_is_claimed_by_a_test(marked: Marked) -> None:
    documented = subclasses(PenstockError) & set(errors.__all__)
    assert len(documented) > 10
    assert {f"error:{name}" for name in documented} - set(marked.claims) == set()


def test_every_exit_code_is_claimed_by_a_test(marked: Marked) -> None:
    assert {f"exit:{code}" for code, _ in EXIT_CODES} - set(marked.claims) == set()


def test_every_cell_of_the_support_matrix_is_claimed_by_a_test(marked: Marked) -> None:
    cells = {cell for name in connector_names() if is_own(name) for cell in cells_of(name)}
    assert len(cells) > 20
    assert cells - set(marked.claims) == set()


def cells_of(variant: str) -> set[str]:
    """`variant:reads`, `variant:writes` and `variant:STRATEGY`, as `penstock connectors` shows them."""
    support = support_of(variant)
    sides = {"reads": support.reads, "writes": support.writes}
    return {f"{variant}:{word}" for word in (*(side for side, able in sides.items() if able), *support.strategies)}


def test_the_page_of_features_is_current(marked: Marked) -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == render(marked.features), "run `make docs` and commit the page"
