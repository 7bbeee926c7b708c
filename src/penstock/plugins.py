"""Connectors, backends and secret providers, found by entry point and loaded when first asked for.

Penstock's own stand in a table as well: reading the metadata of everything installed costs a short run 0.05 s, so that
is done only for a name that is not among them.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from operator import attrgetter
from typing import TYPE_CHECKING

from penstock.errors import ConfigError, PluginNotFoundError
from penstock.records import dataclass

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

    from pydantic import BaseModel

    from penstock.protocols import Backend, Destination, Jdbc, JdbcDestination, Source
    from penstock.values import Connection, Jar

CONNECTORS = "penstock.connectors"
BACKENDS = "penstock.backends"
SECRETS = "penstock.secrets"

OWN: Mapping[str, Mapping[str, str]] = {
    CONNECTORS: {
        "sqlite": "penstock.connectors.sqlite:CONNECTOR",
        "duckdb": "penstock.connectors.duckdb:CONNECTOR",
        "postgres": "penstock.connectors.postgres:CONNECTOR",
        "postgresql": "penstock.connectors.postgres:CONNECTOR",
        "file": "penstock.connectors.files:CONNECTOR",
    },
    BACKENDS: {
        "sqlite": "penstock.state.sqlite:open_backend",
        "postgres": "penstock.connectors.postgres.backend:open_backend",
    },
    SECRETS: {},
}
"""Group -> name -> `module:object`: the entry points of the package itself."""


@dataclass(frozen=True, slots=True)
class Connector:
    """What an entry point of the group `penstock.connectors` names.

    `options` is the pydantic model (extra="forbid") of the connection's keys: it validates, makes the JSON Schema and
    the docs page. `modules` are third-party imports that the extra brings; they are checked before opening. `configure`
    is told, before anything opens, how many bytes the system may use in this process, where it may spill, and how many
    seconds it may wait for another process. `keeps_files`: what a connection names are files of this machine.
    `open_jdbc` gives what Spark's JDBC source is told, `open_jdbc_destination` what its writer is told, and `jars` are
    the driver they need.
    """

    variant: str
    title: str
    options: Callable[[], type[BaseModel]]
    open_source: Callable[[Connection], Source] | None = None
    open_destination: Callable[[Connection], Destination] | None = None
    extra: str | None = None
    modules: tuple[str, ...] = ()
    configure: Callable[[int | None, str | None, float | None], None] | None = None
    keeps_files: bool = False
    open_jdbc: Callable[[Connection], Jdbc] | None = None
    open_jdbc_destination: Callable[[Connection], JdbcDestination] | None = None
    jars: tuple[Jar, ...] = ()


@dataclass(slots=True)
class Registry:
    """The plugins of one group; loading errors are raised when the plugin is asked for, never swallowed."""

    group: str
    _loaded: dict[str, object] = field(default_factory=dict)
    _found: dict[str, str] = field(default_factory=dict)
    _searched: tuple[str, ...] | None = None

    def names(self) -> Sequence[str]:
        return sorted({*OWN[self.group], *self._points()})

    def has(self, name: str) -> bool:
        return name in OWN[self.group] or name in self._points()

    def load(self, name: str) -> object:
        """Raises PluginNotFoundError for a name nobody registered, or whose import fails."""
        if name not in self._loaded:
            self._loaded[name] = _import(name, self._find(name))
        return self._loaded[name]

    def _find(self, name: str) -> str:
        """`module:object` of the plugin."""
        found = OWN[self.group].get(name) or self._points().get(name)
        if found is not None:
            return found
        raise PluginNotFoundError(
            f"no plugin {name!r} in {self.group}",
            fix=f"installed: {', '.join(self.names()) or 'none'}; plugins register by an entry point of that group",
        )

    def _points(self) -> Mapping[str, str]:
        """Looked up once: it opens a file of every installed package, and a project may name thousands of plugins."""
        if self._searched != tuple(sys.path):
            points = tuple(_entry_points(self.group))
            self._found = {point.name: point.value for point in reversed(points)}  # the first of a name wins
            self._searched = tuple(sys.path)
        return self._found


def _entry_points(group: str) -> EntryPoints:
    from importlib.metadata import entry_points

    return entry_points(group=group)


def _import(name: str, value: str) -> object:
    module, _, path = value.partition(":")
    try:
        found: object = importlib.import_module(module)
    except ImportError as error:
        raise PluginNotFoundError(
            f"the plugin {name!r} cannot be imported: {error}", where=value, fix=_install_line(name)
        ) from error
    return attrgetter(path)(found) if path else found


_connectors = Registry(CONNECTORS)
_backends = Registry(BACKENDS)


def connector(variant: str) -> Connector:
    """The connector of that variant. Raises PluginNotFoundError with the exact install line."""
    found = _connectors.load(variant)
    if not isinstance(found, Connector):
        raise PluginNotFoundError(f"the entry point of variant {variant!r} is not a Connector", where=repr(found))
    return found


def connector_names() -> Sequence[str]:
    return _connectors.names()


def open_source(connection: Connection) -> Source:
    found = connector(connection.variant)
    if found.open_source is None:
        raise PluginNotFoundError(
            f"variant {connection.variant!r} cannot be read from", where=f"connections.{connection.name}"
        )
    require_modules(found)
    return found.open_source(connection)


def open_destination(connection: Connection) -> Destination:
    found = connector(connection.variant)
    if found.open_destination is None:
        raise PluginNotFoundError(
            f"variant {connection.variant!r} cannot be written to", where=f"connections.{connection.name}"
        )
    require_modules(found)
    return found.open_destination(connection)


def open_jdbc(connection: Connection) -> Jdbc:
    """Raises ConfigError for a system that is not read through JDBC."""
    found = connector(connection.variant)
    if found.open_jdbc is None:
        raise ConfigError(
            f"variant {connection.variant!r} is not read through JDBC",
            where=f"connections.{connection.name}",
            fix="leave out spark: {io: jdbc}; spark: {write: jdbc} is for the destination alone",
        )
    return found.open_jdbc(connection)


def open_jdbc_destination(connection: Connection) -> JdbcDestination:
    """Raises ConfigError for a system that is not written through JDBC."""
    found = connector(connection.variant)
    if found.open_jdbc_destination is None:
        raise ConfigError(
            f"variant {connection.variant!r} is not written through JDBC",
            where=f"connections.{connection.name}",
            fix="leave out spark: {write: jdbc}; spark: {io: jdbc} asks for it where there is one",
        )
    return found.open_jdbc_destination(connection)


def require_modules(found: Connector) -> None:
    """Raises PluginNotFoundError with the pip line when a module of the connector's extra is missing."""
    missing = [name for name in found.modules if importlib.util.find_spec(name) is None]
    if missing:
        raise PluginNotFoundError(
            f"variant {found.variant!r} needs {', '.join(missing)}", fix=f"pip install 'penstock[{found.extra}]'"
        )


def open_backend(variant: str, options: Mapping[str, object]) -> Backend:
    """The control database of that variant; `options` are the keys under settings.backend, paths absolute."""
    opener = _backends.load(variant)
    if not callable(opener):
        raise PluginNotFoundError(f"the entry point of backend {variant!r} is not callable", where=repr(opener))
    backend: Backend = opener(options)
    return backend


def has_backend(variant: str) -> bool:
    return _backends.has(variant)


def backend_names() -> Sequence[str]:
    return _backends.names()


def _install_line(name: str) -> str:
    return f"pip install 'penstock[{name}]'"
