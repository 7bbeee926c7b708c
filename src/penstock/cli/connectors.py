"""`penstock connectors`: the support matrix, asked of the installed connectors themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from penstock.cli.options import Call, plain_command
from penstock.cli.screen import Screen
from penstock.errors import ConfigError, PluginNotFoundError
from penstock.loading.plan import Wish, plan_load
from penstock.pipeline.results import to_json
from penstock.plugins import Connector, connector, connector_names, require_modules
from penstock.records import dataclass
from penstock.values import Connection, DeleteWindow, Operation, Strategy


@dataclass(frozen=True, slots=True)
class Support:
    """What one variant can do. `missing` says what to install where it cannot be asked."""

    variant: str
    title: str
    reads: bool
    writes: bool
    abilities: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    missing: str | None = None


@plain_command
def command(call: Call) -> int:
    found = tuple(support_of(name) for name in connector_names())
    return call.answer({"connectors": to_json(found)}, lambda s: show(s, found))


def support_of(variant: str) -> Support:
    """Opening either side connects to nothing, so a made-up connection is enough to ask."""
    try:
        plugin = connector(variant)
        require_modules(plugin)
    except PluginNotFoundError as error:
        return Support(variant, variant, reads=False, writes=False, missing=error.fix or error.what)
    asked = Connection(variant, variant, host="localhost", database="sample", extra={"path": "."})
    abilities = _abilities(plugin, asked)
    operations = plugin.open_destination(asked).operations if plugin.open_destination else frozenset()
    return Support(
        variant,
        plugin.title if variant == plugin.variant else f"{plugin.title}, as {plugin.variant}",
        reads=plugin.open_source is not None,
        writes=plugin.open_destination is not None,
        abilities=abilities,
        operations=tuple(sorted(operations)),
        strategies=tuple(s for s in get_args(Strategy) if is_possible(s, operations)),
    )


def _abilities(plugin: Connector, asked: Connection) -> tuple[str, ...]:
    return tuple(sorted(plugin.open_source(asked).abilities)) if plugin.open_source else ()


def is_possible(strategy: Strategy, operations: frozenset[Operation]) -> bool:
    """Whether the planner of loads finds a way, by these operations."""
    window = DeleteWindow("at", None, None)
    for key in (("id",), ()):
        if strategy in {"upsert", "merge"} and not key:
            continue
        try:
            plan_load(Wish(strategy, exists=True, key=key, window=window), operations, where=strategy)
        except ConfigError:
            continue
        return True
    return False


def show(screen: Screen, found: Sequence[Support]) -> None:
    rows = [
        (s.variant, s.title, s.reads, s.writes, ", ".join(s.strategies), ", ".join(s.abilities), s.missing)
        for s in found
    ]
    screen.table(("variant", "system", "reads", "writes", "strategies", "abilities", "missing"), rows)
