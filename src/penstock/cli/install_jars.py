"""`penstock install-jars`: fetch the JDBC drivers of connectors, for runs without a network."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.options import Call, plain_command
from penstock.cli.screen import Screen
from penstock.engines.spark.jars import FOLDER, MIRROR, Installed, Installer, install_all, jars_folder
from penstock.errors import EXIT_TABLE_FAILED, ConfigError, PluginNotFoundError
from penstock.pipeline.results import to_json
from penstock.plugins import Connector, connector, connector_names
from penstock.values import Jar


@plain_command
def command(
    call: Call,
    variants: Annotated[
        list[str] | None, typer.Argument(help="Connectors, as `postgres`. Unwritten: all that have a driver.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help=f"The folder. Unwritten: {FOLDER}, else among the user's data.")
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option("--mirror", help=f"A Maven repository's URL. Unwritten: {MIRROR}, else Ivy's own defaults."),
    ] = None,
) -> int:
    folder = (to or jars_folder()).absolute()
    installer = Installer(folder, mirror or os.environ.get(MIRROR) or None)
    found = install_all(_wanted(variants), installer, lambda text: _tell(call, text))
    failed = any(jar.state == "failed" for jar in found)
    payload = {"folder": str(folder), "jars": to_json(tuple(found))}
    return call.answer(payload, lambda s: show(s, folder, found), exit_code=EXIT_TABLE_FAILED if failed else 0)


def _wanted(variants: Sequence[str] | None) -> Mapping[str, Sequence[Jar]]:
    if not variants:
        return {found.variant: found.jars for found in _importable() if found.jars}
    wanted = {connector(name).variant: connector(name).jars for name in variants}
    without = [variant for variant, jars in wanted.items() if not jars]
    if without:
        raise ConfigError(f"{', '.join(without)}: no JDBC driver is known", fix="leave it out")
    return wanted


def _importable() -> Iterator[Connector]:
    """A connector of somebody else's that is broken is no reason to fetch nothing."""
    for name in connector_names():
        with contextlib.suppress(PluginNotFoundError):
            yield connector(name)


def _tell(call: Call, text: str) -> None:
    if not call.as_json:
        sys.stderr.write(f"fetching {text}\n")
        sys.stderr.flush()


def show(screen: Screen, folder: Path, found: Sequence[Installed]) -> None:
    for jar in found:
        screen.line(f"{jar.file}: {jar.state}", style="bold red" if jar.state == "failed" else "green")
        for line in (jar.error or "").splitlines():
            screen.line(f"  {line}")
    if folder != jars_folder().absolute() and any(jar.state != "failed" for jar in found):
        screen.line(f"runs find them by {FOLDER}={folder}")
