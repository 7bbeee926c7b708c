"""What a transform's author says and is told: the scope of the function, and where it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Protocol, TypeVar, runtime_checkable

from penstock.errors import ConfigError
from penstock.protocols import Scope, Transform
from penstock.records import dataclass
from penstock.values import RunId

SCOPE_ATTRIBUTE = "__penstock_scope__"
KEYS_ATTRIBUTE = "__penstock_keys__"
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


def transform(*, scope: Scope = "rows", keys: Sequence[str] = ()) -> Callable[[Function], Function]:
    """Declare which rows a transform must see together.

    `rows`: any cut will do, the default; `keys`: all rows that are equal in the columns `keys`, as they come from the
    source; `table`: all there are. Raises ConfigError.
    """
    if scope not in ("rows", "keys", "table"):
        raise ConfigError(f"unknown transform scope {scope!r}", fix="one of rows, keys, table")
    named = () if isinstance(keys, str) else tuple(keys)
    if bool(named) != (scope == "keys"):
        raise ConfigError(
            f"a transform of scope {scope!r} was given keys {keys!r}",
            fix='write scope="keys" with a list of column names, keys=["customer_id"], and no keys with other scopes',
        )

    def declare(function: Function) -> Function:
        setattr(function, SCOPE_ATTRIBUTE, scope)
        setattr(function, KEYS_ATTRIBUTE, named)
        return function

    return declare


def scope_of(function: Callable[..., Any], *, undeclared: Scope = "rows") -> Scope:
    """What the function declares.

    PySpark frames hold all rows of a load where nothing is declared, as they always did on Spark; others a batch.
    """
    declared: Scope = getattr(function, SCOPE_ATTRIBUTE, undeclared)
    return declared


def keys_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The columns a function of scope `keys` names."""
    declared: tuple[str, ...] = getattr(function, KEYS_ATTRIBUTE, ())
    return declared


def require_keys(keys: Sequence[str], columns: Sequence[str], *, what: str, where: str | None) -> None:
    """Raises ConfigError where a key is none of the columns that the transform is given."""
    missing = [key for key in keys if key not in columns]
    if missing:
        close = get_close_matches(missing[0], columns, 1)
        raise ConfigError(
            f"{what} names keys that its rows do not have: {', '.join(missing)}",
            where=where,
            fix=f"did you mean {close[0]!r}?" if close else f"columns there: {', '.join(columns)}",
        )
