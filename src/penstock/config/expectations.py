"""What a field expects, read off its annotation: decides how a scalar is read and which keys a mapping may have."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import field
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from penstock.config.kinds import NumberAsText
from penstock.records import dataclass
from penstock.values import Secret


@dataclass(slots=True)
class Expected:
    """The kinds of value a place takes; all false: anything."""

    flag: bool = False
    number: bool = False
    text: bool = False
    secret: bool = False
    secret_value: bool = False  # the field's type is Secret itself
    number_as_text: bool = False
    anything: bool = False
    item: Expected | None = None
    value: Expected | None = None
    fields: Mapping[str, Expected] | None = None
    model: type[BaseModel] | None = None
    path: bool = False
    choices: tuple[str, ...] = field(default=())


ANYTHING = Expected(anything=True)


@cache
def fields_of(model: type[BaseModel]) -> Mapping[str, Expected]:
    """What each key of the model takes, by the key as it is written."""
    return {info.alias or name: expect_field(info) for name, info in model.model_fields.items()}


def expect_field(info: FieldInfo) -> Expected:
    found = Expected()
    _add(info.annotation, found)
    for item in info.metadata:
        found.number_as_text |= isinstance(item, NumberAsText)
    extra = info.json_schema_extra
    if isinstance(extra, dict) and (extra.get("secret") or extra.get("format") == "password"):
        found.secret = True
    if isinstance(extra, dict) and extra.get("anyOf") and {"type": "boolean"} in _listed(extra["anyOf"]):
        found.flag = True
    return found


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []


def _add(annotation: Any, found: Expected) -> None:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        found.number_as_text |= any(isinstance(m, NumberAsText) for m in metadata)
        _add(inner, found)
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            _add(part, found)
    elif origin is Literal:
        _add_choices(get_args(annotation), found)
    elif origin in (list, tuple, set, frozenset):
        found.item = _expect(get_args(annotation)[0])
    elif origin in (dict, Mapping):
        found.value = _expect(get_args(annotation)[1])
    else:
        _add_plain(annotation, found)


def _add_choices(choices: tuple[Any, ...], found: Expected) -> None:
    found.choices += tuple(c for c in choices if isinstance(c, str))
    found.flag |= any(isinstance(c, bool) for c in choices)
    found.text |= bool(found.choices)


def _add_plain(annotation: Any, found: Expected) -> None:
    if annotation is Any:
        found.anything = True
    elif annotation is type(None):
        return
    elif annotation is bool:
        found.flag = True
    elif annotation in (Secret, SecretStr):
        found.secret = True
        found.secret_value |= annotation is Secret
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        found.model, found.fields = annotation, fields_of(annotation)
    elif isinstance(annotation, type) and issubclass(annotation, int | float):
        found.number = True
    else:
        found.text = True
        found.path |= isinstance(annotation, type) and annotation.__name__ == "Path"


def _expect(annotation: Any) -> Expected:
    found = Expected()
    _add(annotation, found)
    return found
