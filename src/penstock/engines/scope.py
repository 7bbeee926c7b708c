"""What a transform's author says and is told: the scope of the function, and where it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from penstock.errors import ConfigError
from penstock.protocols import Scope
from penstock.values import RunId

SCOPE_ATTRIBUTE = "__penstock_scope__"
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class TransformContext:
    """The second parameter of a transform that has one."""

    table: str
    target: str
    pipeline: str
    run_id: RunId
    started_at: datetime


def transform(*, scope: Scope = "rows") -> Callable[[Function], Function]:
    """Declare which rows a transform must see together: `rows` (any cut will do, the default) or the whole `table`."""
    if scope not in ("rows", "table"):
        raise ConfigError(f"unknown transform scope {scope!r}", fix="one of rows, table")

    def declare(function: Function) -> Function:
        setattr(function, SCOPE_ATTRIBUTE, scope)
        return function

    return declare


def scope_of(function: Callable[..., Any]) -> Scope:
    """What the function declares, `rows` when nothing."""
    declared: Scope = getattr(function, SCOPE_ATTRIBUTE, "rows")
    return declared
