"""The reference page of the command line, made from the commands themselves."""

from __future__ import annotations

from typing import Any

from penstock.cli.group import ABOUT, COMMANDS, build_group, load_command

EXIT_CODES = (
    (0, "done"),
    (1, "a table failed, a connection or a transform's case failed, or something unexpected happened"),
    (2, "the command line or the project is wrong, or a question was not answered with yes"),
    (3, "`verify` found a difference"),
    (4, "refused: another owner, another run, or a table that is not ours"),
    (5, "the outcome of a commit is not known yet; the next run finds out"),
    (130, "stopped by SIGINT"),
    (143, "stopped by SIGTERM"),
)
ABOUT_CODES = (
    "The same error has the same code in every command: what `plan`, `status` or `verify` end with, `run` would end",
    "with. Of several tables or connections the gravest counts: 130, 143, 5, 3, 4, 1, 2 before 0. A second signal ends",
    "the process at once, by that signal.",
)


def reference_markdown() -> str:
    """The whole page; docs/reference/cli.md holds exactly this."""
    exits = [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES]
    lines = [
        "# Command line",
        "",
        ABOUT,
        "",
        "`-h` is `--help`. With `--json` a command prints exactly one JSON object on standard output; an error is an",
        "object with the key `error`. Progress, warnings and log lines go to standard error.",
        "",
        *("| command | purpose |", "|---|---|"),
        *(f"| [`{name}`](#penstock-{name}) | {purpose} |" for name, purpose in COMMANDS.items()),
        "",
        *("## Exit codes", "", "| code | meaning |", "|---|---|", *exits, "", *ABOUT_CODES),
        "",
        *("## penstock", "", *_options_table(build_group())),
    ]
    for name, purpose in COMMANDS.items():
        lines += _command_section(name, purpose)
    return "\n".join(lines).rstrip() + "\n"


def _command_section(name: str, purpose: str) -> list[str]:
    command = load_command(name)
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join(["penstock", name, "[OPTIONS]", *(_argument_usage(a) for a in arguments)])
    described = [f"- `{_metavar(a)}`: {a.help}" for a in arguments]
    epilog = [command.epilog, ""] if command.epilog else []
    parts = [f"## penstock {name}", "", purpose, "", "```text", usage, "```", "", *epilog]
    return [*parts, *described, *([""] if described else []), *_options_table(command)]


def _argument_usage(argument: Any) -> str:
    return _metavar(argument) if argument.required else f"[{_metavar(argument)}]"


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _options_table(command: Any) -> list[str]:
    rows = [_option_row(p) for p in command.params if p.param_type_name == "option"]
    return ["| option | meaning | default |", "|---|---|---|", *rows, ""]


def _option_row(option: Any) -> str:
    spellings = ", ".join(f"`{spelling}`" for spelling in option.opts)
    value = "" if option.is_flag else f" {option.metavar or option.name.upper()}"
    default = "" if option.is_flag or option.default in {None, ""} else f"`{option.default}`"
    return f"| {spellings}{value} | {option.help} | {default} |"
