"""`${VAR}`, `${VAR:-default}` and `$${`, from the environment and from `.env` beside the project file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from penstock.errors import ConfigError
from penstock.records import dataclass

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[^}:]*)(?P<default>:-(?P<text>[^}]*))?(?P<end>\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


class UnsetVariableError(LookupError):
    """A variable is neither set nor given a default. `name` is its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables as they are now: the process's first, then those of `.env`, read again at each look."""

    variables: Mapping[str, str]
    dotenv: Path | None = None

    def find(self, name: str) -> str | None:
        """Raises ConfigError for a `.env` that cannot be read."""
        value = self.variables.get(name)
        if value is not None or self.dotenv is None or not self.dotenv.is_file():
            return value
        return read_dotenv(self.dotenv).get(name)

    def substitute(self, text: str) -> str:
        """Raises UnsetVariableError, and ValueError for a reference that is not well formed."""
        return _REFERENCE.sub(self._value_of, text)

    def substitute_known(self, text: str) -> str:
        """The same, the text itself where it cannot be filled in."""
        try:
            return self.substitute(text)
        except (UnsetVariableError, ValueError):
            return text

    def _value_of(self, match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name = match["name"]
        if not match["end"] or not _NAME.fullmatch(name):
            raise ValueError("a variable is written ${NAME} or ${NAME:-default}; for the text ${ write $${")
        value = self.find(name)
        if match["default"] is not None:
            return value or match["text"]
        if value is None:
            raise UnsetVariableError(name)
        return value


def has_variables(text: str) -> bool:
    return "${" in text


def only_variable(text: str) -> str | None:
    """The name, when the whole text is one reference."""
    match = _REFERENCE.fullmatch(text)
    return match["name"] if match and match["name"] else None


def read_dotenv(path: Path) -> dict[str, str]:
    """`NAME=value` lines; single quotes are literal, double quotes know \\n \\t \\" \\\\. Raises ConfigError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        # a decoding error carries the whole file
        raise ConfigError(f"the file .env cannot be read: {reason}", where=str(path)) from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        value = _dotenv_value(match[2]) if match else None
        if match is None or value is None:
            raise ConfigError(
                "a line of .env is not NAME=value", where=f"{path}:{number}:1", fix="quote values with spaces or #"
            )
        found[match[1]] = value
    return found


def _dotenv_value(text: str) -> str | None:
    """The value as written; None for a quote that is not closed."""
    if text[:1] == "'":
        match = re.fullmatch(r"'([^']*)'\s*(?:#.*)?", text)
        return match[1] if match else None
    if text[:1] == '"':
        match = re.fullmatch(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?', text)
        return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), match[1]) if match else None
    return re.split(r"\s+#", text, maxsplit=1)[0].strip()
