"""The options that commands share, and the calls that carry them."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.cli.screen import Screen
from penstock.errors import ConfigError
from penstock.records import dataclass
from penstock.telemetry.logs import logging_to, redactor
from penstock.values import Json

EngineName = Annotated[
    str | None, typer.Option("--engine", metavar="NAME", help="The engine to run on: arrow or spark.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on standard output.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Write log lines in JSON to standard error.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; it may quote rows.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="The project file; else penstock.yaml, else mkpipe_project.yaml."
    ),
]
Environment = Annotated[str | None, typer.Option("--env", metavar="NAME", help="The environment of the project file.")]
Legacy = Annotated[bool, typer.Option("--legacy", help="Turn unknown keys of the project file into warnings.")]
PipelineName = Annotated[str | None, typer.Option("--pipeline", "-p", metavar="NAME", help="Only this pipeline.")]
TableOption = Annotated[
    str | None, typer.Option("--table", "-t", metavar="NAME", help="Only this table, by source or target name.")
]
Tags = Annotated[str | None, typer.Option("--tags", metavar="A,B", help="Only tables with any of these tags.")]

MOST_ROWS = 2**63 - 1  # what any system takes after LIMIT
# Keys whose text comes from systems and people; the others hold values that are typed and cannot hold a secret.
FREE_TEXT = frozenset({"error", "message", "what", "where", "fix", "notes", "warnings"})


@dataclass(frozen=True, slots=True)
class Call:
    """What every command is told."""

    as_json: bool = False
    verbose: bool = False
    debug: bool = False

    def answer(self, payload: Mapping[str, Json], show: Callable[[Screen], None], *, exit_code: int = 0) -> int:
        """Print the answer, for a program or for people, on standard output; returns `exit_code`."""
        if self.as_json:
            sys.stdout.write(json.dumps(_without_secrets(dict(payload))) + "\n")
        else:
            show(Screen(sys.stdout))
        sys.stdout.flush()
        return exit_code


def _without_secrets(value: Json, *, free: bool = False) -> Json:
    if isinstance(value, dict):
        return {k: _without_secrets(v, free=free or k in FREE_TEXT) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_secrets(v, free=free) for v in value]
    return redactor.redact(value) if free and isinstance(value, str) else value


def plain_command(function: Callable[..., int]) -> Callable[..., int]:
    """A command without a project: adds the options every command has, and hands them over as a Call."""

    def call(*, as_json: AsJson = False, verbose: Verbose = False, debug: Debug = False, **own: Any) -> int:
        with logging_to(verbose=sys.stderr if verbose else None):
            return function(Call(as_json, verbose, debug), **own)

    return merge_options(call, function)


def merge_options(call: Callable[..., int], function: Callable[..., int]) -> Callable[..., int]:
    """Give `call` the options of both: first those of `function` (its first parameter aside), then its own."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    shared = [
        parameter
        for parameter in inspect.signature(call, eval_str=True).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *shared)]
    call.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    call.__doc__ = function.__doc__
    return call


def tags_of(text: str | None) -> tuple[str, ...]:
    """`a, b` as two tags. Raises ConfigError for a filter without any: an empty variable must not select everything."""
    if text is None:
        return ()
    tags = tuple(tag.strip() for tag in text.split(",") if tag.strip())
    if not tags:
        raise ConfigError("--tags names no tag", fix="name one or more, or leave the option out")
    return tags
