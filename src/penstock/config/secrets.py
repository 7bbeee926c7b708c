"""Secrets by reference: `env:NAME`, `file:/path`, a provider plugin, a variable, or the text itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from penstock import plugins
from penstock.config.variables import Environment, UnsetVariableError, has_variables, only_variable
from penstock.errors import ConfigError, PenstockError
from penstock.records import dataclass
from penstock.values import Secret

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

LITERAL = "literal"
HIDDEN = "********"
MAX_FILE_BYTES = 1 << 20
_providers = plugins.Registry(plugins.SECRETS)


class SecretSchema:
    """Lets a pydantic model hold a Secret; text becomes one, and dumps show the reference only."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            to_secret,
            serialization=core_schema.plain_serializer_function_ser_schema(
                shown_reference, when_used="json-unless-none"
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "format": "password", "writeOnly": True}


SecretText = Annotated[Secret, SecretSchema]


def to_secret(value: object) -> Secret:
    """The Secret itself, or text as a literal one."""
    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        return literal_secret(value)
    raise ValueError("expected text or a secret reference (env:NAME, file:/path)")


def shown_reference(secret: Secret) -> str:
    """What a dump may show: where the secret is, never the secret."""
    return HIDDEN if secret.reference == LITERAL else secret.reference


def literal_secret(text: str) -> Secret:
    return Secret(LITERAL, lambda: text)


def read_secret(source: str, environment: Environment, base_dir: Path, place: str) -> Secret:
    """The secret that `source`, as written in the project, stands for; nothing is fetched.

    What a variable holds is never taken for a reference: only the project file says where a secret is.
    """
    kind, colon, rest = source.partition(":")
    fetch = _fetcher(kind, base_dir, place) if colon else None
    if fetch is not None:
        elsewhere = FetchElsewhere(kind, rest, base_dir, place)
        return Secret(source, lambda: fetch(_filled(rest, environment, place), environment), elsewhere)
    if not has_variables(source):
        return literal_secret(source)
    name = only_variable(source)
    elsewhere = FetchElsewhere(None, source, base_dir, place)
    return Secret(f"${{{name}}}" if name else LITERAL, lambda: _filled(source, environment, place), elsewhere)


@dataclass(frozen=True, slots=True)
class FetchElsewhere:
    """Fetches, by the variables, files and providers of the process it is called in, what `text` refers to.

    It is as the project file has it: `kind` is what stands before the colon, None for text with variables.
    """

    kind: str | None
    text: str
    base_dir: Path
    place: str

    def __call__(self) -> str:
        here = Environment(os.environ)
        try:
            filled = _filled(self.text, here, self.place)
            if self.kind is None:
                return filled
            fetch = _fetcher(self.kind, self.base_dir, self.place)
            if fetch is None:
                raise ConfigError(f"no secret provider {self.kind!r} is installed", where=self.place)
            return fetch(filled, here)
        except PenstockError as error:
            raise ConfigError(
                f"where the tasks run, {error.what}",
                where=error.where,
                fix="set the environment, files and secret providers up there too, or leave out settings.spark.secrets",
            ) from None


def _fetcher(kind: str, base_dir: Path, place: str) -> Callable[[str, Environment], str] | None:
    if kind == "env":
        return lambda name, environment: _from_variable(name, environment, place)
    if kind == "file":
        return lambda name, _: _from_file(base_dir / name, place)
    if kind in provider_names():
        return lambda rest, _: _from_provider(kind, rest, place)
    return None


def provider_names() -> Sequence[str]:
    """The installed secret providers, entry points of the group `penstock.secrets`."""
    return _providers.names()


def _filled(text: str, environment: Environment, place: str) -> str:
    try:
        return environment.substitute(text)
    except UnsetVariableError as error:
        raise _unset(error.name, place) from None


def _from_variable(name: str, environment: Environment, place: str) -> str:
    value = environment.find(name.strip())
    if value is None:
        raise _unset(name.strip(), place)
    return value


def _unset(name: str, place: str) -> ConfigError:
    return ConfigError(f"the environment variable {name} is not set", where=place, fix="set it, or put it into .env")


def _from_file(path: Path, place: str) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"the secret's file is larger than {MAX_FILE_BYTES >> 20} MB: {path}", where=place)
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"the secret's file is not UTF-8: {path}", where=place) from None
    except OSError as error:
        raise ConfigError(f"the secret's file cannot be read: {error.strerror}: {path}", where=place) from error
    return text.removesuffix("\n").removesuffix("\r")


def _from_provider(name: str, rest: str, place: str) -> str:
    provider = _providers.load(name)
    if not callable(provider):
        raise ConfigError(f"the secret provider {name!r} is not callable", where=place)
    try:
        value = provider(rest)
    except PenstockError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises becomes a ConfigError
        # its text may hold what it fetched
        raise ConfigError(f"the secret provider {name!r} failed: {type(error).__name__}", where=place) from None
    if not isinstance(value, str):
        raise ConfigError(f"the secret provider {name!r} gave no text", where=place)
    return value
