"""The commands by name: a command's module is imported when the command is asked for, and not before."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from penstock import __version__

COMMANDS: dict[str, str] = {
    "init": "Write a sample project that runs without any server.",
    "check": "Try every connection: what failed, and why.",
    "preview": "Show the first rows of a table as its source holds them.",
    "plan": "Show what a run would do; change nothing.",
    "run": "Move the selected tables.",
    "test": "Run the transforms on the fixture rows kept beside them.",
    "status": "Show where each table stands, by its destination's ledger.",
    "runs": "List past runs, newest first.",
    "show": "Show one run, table by table.",
    "verify": "Compare targets with their ledgers and sources; exit 3 on a difference.",
    "schema": "Print the JSON Schema of a project file, for editors.",
    "install-jars": "Fetch the JDBC drivers that spark: {io: jdbc} needs, for runs without a network.",
    "connectors": "Show what each connector can read and write.",
}

ABOUT = "Penstock moves tables between databases and files, exactly once."
HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


class LazyCommands(MutableMapping[str, Any]):
    """Looks like a dictionary of commands; an entry is made when it is taken."""

    def __init__(self) -> None:
        self._made: dict[str, TyperCommand] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        if name not in self._made:
            self._made[name] = load_command(name)
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class LazyGroup(TyperGroup):
    """The root: its help is made from the table above."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": None})
        self.commands = LazyCommands()

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:  # typer would end without a word
            raise typer.Abort from stop

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the base class's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def load_command(name: str) -> Any:
    """Import `penstock.cli.<name>` and make its function `command` a command of that name."""
    module = importlib.import_module(f"penstock.cli.{name.replace('-', '_')}")
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    epilog = getattr(module, "EPILOG", None)
    app.command(name, help=COMMANDS[name], epilog=epilog, context_settings=HELP)(module.command)
    return typer.main.get_command(app)


def build_group() -> Any:
    app = typer.Typer(
        cls=LazyGroup, name="penstock", help=ABOUT, add_completion=False, rich_markup_mode=None, no_args_is_help=True
    )
    app.callback(context_settings=HELP)(_root)
    return typer.main.get_command(app)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if wanted:
        typer.echo(f"penstock {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[  # noqa: FBT002 - an eager option: its callback does the work
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass
