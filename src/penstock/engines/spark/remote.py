"""The two ends of a load as a task opens them: by connection, since nothing that is open can travel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Literal

from penstock import plugins
from penstock.errors import ConfigError
from penstock.protocols import Chunks, Writer
from penstock.records import dataclass
from penstock.values import Batch, Connection, Secret, Split, WriteTicket

Fetching = Literal["driver", "executor"]  # where secrets become values


@dataclass(frozen=True, slots=True)
class RemoteReader:
    """A Reader that opens its source where it is used."""

    connection: Connection

    def read(self, split: Split) -> Iterator[Batch]:
        return plugins.open_source(self.connection).reader().read(split)

    def relay(self, split: Split) -> Chunks:
        return plugins.open_source(self.connection).reader().relay(split)


@dataclass(frozen=True, slots=True)
class RemoteWriter:
    """Opens a Writer for a load's ticket where it is called."""

    connection: Connection

    def __call__(self, ticket: WriteTicket) -> Writer:
        return plugins.open_destination(self.connection).writer(ticket)


def travelling(connection: Connection, secrets: Fetching = "driver") -> Connection:
    """The connection with its secrets fetched here, or, by `executor`, as references that tasks fetch.

    Raises ConfigError where a secret is no reference.
    """
    packed = _fetched if secrets == "driver" else partial(_unresolved, connection.name)
    password = packed(connection.password) if connection.password is not None else None
    extra = {name: packed(v) if isinstance(v, Secret) else v for name, v in connection.extra.items()}
    return replace(connection, password=password, extra=extra)


def _unresolved(name: str, secret: Secret) -> Secret:
    reference = secret.unresolved()
    if reference is None:
        raise ConfigError(
            f"a secret of connection {name!r} is written in the project itself: executors cannot fetch it",
            where=f"connections.{name}",
            fix="write a reference, such as ${NAME} or env:NAME, or leave out settings.spark.secrets",
        )
    return reference


def _fetched(secret: Secret) -> Secret:
    return Secret(secret.reference, partial(str, secret.reveal()))


def keeps_files(connection: Connection) -> bool:
    """Whether what it names are files of the machine that opens it."""
    return plugins.connector(connection.variant).keeps_files


def limit_systems(variants: frozenset[str], memory_bytes: int, staging: str | None) -> None:
    """Tell the systems of these variants, in the process of a task, how much of it is theirs."""
    for variant in variants:
        configure = plugins.connector(variant).configure
        if configure is not None:
            configure(memory_bytes, staging, None)
