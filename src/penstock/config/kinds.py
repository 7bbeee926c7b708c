"""The base of every model of the project file, and the kinds of value its fields share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from penstock.config.units import DURATION_PATTERN, SIZE_PATTERN, parse_duration, parse_lookback, parse_size
from penstock.config.units import Lookback as LookbackValue
from penstock.records import dataclass

_LOOKBACK_PATTERN = DURATION_PATTERN.removesuffix("$") + r"$|^all$"


class ConfigModel(BaseModel):
    """Unknown keys are mistakes; input values never show in errors, since one of them may be a secret."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True, protected_namespaces=()
    )


@dataclass(frozen=True, slots=True)
class NumberAsText:
    """Marks text that is often written as a number: it is taken as it is spelled."""


def _number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, {"type": "number", "minimum": 0}]}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": SIZE_PATTERN}, {"type": "integer", "minimum": 0}]}),
]
Lookback = Annotated[
    LookbackValue,
    BeforeValidator(parse_lookback),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _LOOKBACK_PATTERN}, {"type": "number", "minimum": 0}]}),
]
Bound = Annotated[
    str,
    NumberAsText(),
    BeforeValidator(_number_as_text),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]}),
]
