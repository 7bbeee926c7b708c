"""The laboratory of the attacks: any source, any destination, in a folder of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.lab import Lab, make_place

MakeLab = Callable[[str, str], Lab]


@pytest.fixture
def make_lab(tmp_path: Path, request: pytest.FixtureRequest) -> MakeLab:
    """`make_lab(source system, destination system)`; the server is asked for only where one of them needs it."""

    def postgres() -> str:
        url: str = request.getfixturevalue("postgres_url")
        return url

    def make(source: str, destination: str) -> Lab:
        return Lab(
            tmp_path,
            make_place(source, tmp_path, "src", postgres),
            make_place(destination, tmp_path, "dst", postgres),
        )

    return make
