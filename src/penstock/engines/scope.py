"""What a transform's author says and is told: the scope of the function, and where it runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar, runtime_checkable

from penstock.errors import ConfigError
from penstock.protocols import Scope, Transform
from penstock.records import dataclass
from penstock.values import RunId

SCOPE_ATTRIBUTE = "__penstock_scope__"
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class TransformContext:
    """The second parameter of a transform that has one; empty while planning."""

    table: str
    target: str
    pipeline: str
    run_id: RunId
    started_at: datetime


# what a function is told while its output is found on an empty frame, before any run
PLANNING = TransformContext("", "", "", RunId(""), datetime(1970, 1, 1, tzinfo=UTC))


@runtime_checkable
class Contextual(Protocol):
    """A transform that can be told where it runs."""

    def with_context(self, context: TransformContext) -> Transform: ...


def bind(transform: Transform, context: TransformContext) -> Transform:
    """The transform for this run of this table: `(df, ctx)` functions see the context, errors name the table."""
    return transform.with_context(context) if isinstance(transform, Contextual) else transform


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
