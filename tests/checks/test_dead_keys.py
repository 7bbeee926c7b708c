"""No key of the project file is dead: each is read outside of config/, or waits for a feature that is named."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

import penstock.config
from penstock.config import waiting

SOURCE = Path(__file__).resolve().parents[2] / "src" / "penstock"


def models() -> Iterator[type[BaseModel]]:
    """The pydantic models of the project file."""
    for found in pkgutil.walk_packages(penstock.config.__path__, "penstock.config."):
        module = importlib.import_module(found.name)
        for value in vars(module).values():
            own = isinstance(value, type) and value.__module__ == found.name
            if own and issubclass(value, BaseModel):
                yield value


def names_read() -> set[str]:
    """Every attribute and every text that the product outside of config/ and testing/ mentions."""
    names: set[str] = set()
    for file in SOURCE.rglob("*.py"):
        if file.relative_to(SOURCE).parts[0] in ("config", "testing"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                names.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                names.add(node.value)
    return names


READ = names_read()
WAITING = " ".join([*waiting.KEYS, *(str(key) for key in waiting.EXTRAS)])


@pytest.mark.feature("M1")
@pytest.mark.parametrize("model", list(models()), ids=lambda model: model.__name__)
def test_every_key_is_read_or_waits_for_a_feature(model: type[BaseModel]) -> None:
    dead = {name for name in model.model_fields if name not in READ}
    assert {name for name in dead if name not in WAITING} == set()
