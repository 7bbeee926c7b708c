"""Has a model validate shaped values and says its errors in the project's own words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from penstock.config.problems import FOUND, Path, suggest
from penstock.config.shape import Shaper
from penstock.config.waiting import EXTRA_VALUES, REFUSED_VALUES
from penstock.values import Secret

M = TypeVar("M", bound=BaseModel)

_KINDS = (
    ("string_", "text"),
    ("int_", "a whole number"),
    ("float_", "a number"),
    ("decimal_", "a number"),
    ("bool_", "true or false"),
    ("list_", "a list"),
    ("tuple_", "a list"),
    ("dict_", "a mapping"),
    ("model_", "a mapping"),
    ("is_instance_of", "a secret"),
)
_LIMITS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}
_EMPTY = ("too_short", "string_too_short")


def validate(model: type[M], data: Mapping[str, Any], path: Path, shaper: Shaper) -> M | None:
    """The model, or None with the mistakes reported; each place once."""
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        grouped: dict[Path, list[Any]] = {}
        for item in error.errors(include_url=False, include_input=False):
            grouped.setdefault(_place(item, data), []).append(item)
    for place, items in grouped.items():
        _report(items, place, path, data, shaper)
    return None


def _place(item: Any, data: Any) -> Path:
    """The part of the error's location that is in the file; branches of unions are not."""
    place: list[str | int] = []
    for part in item["loc"]:
        inside = part in data if isinstance(data, Mapping) else isinstance(data, list) and isinstance(part, int)
        if not inside:
            return (*place, part) if item["type"] in ("missing", "extra_forbidden") else tuple(place)
        data = data[part]
        place.append(part)
    return tuple(place)


def _report(items: Sequence[Any], place: Path, base: Path, data: Any, shaper: Shaper) -> None:
    path = (*base, *place)
    if any(path[:length] in shaper.failed for length in range(len(base), len(path) + 1)):
        return
    if not place and any(failed[: len(base)] == base for failed in shaper.failed):
        return  # what a whole is missing may be what one of its keys failed to say
    first = items[0]
    if first["type"] == "missing":
        shaper.fail(f"{place[-1]} is required", path, fix=f"write {place[-1]}: ... there")
        return
    what, fix = _say(items, path, _value_at(data, place), shaper)
    shaper.fail(what, path, fix=fix)


def _value_at(data: Any, place: Path) -> Any:
    for part in place:
        data = data[part] if isinstance(part, int) else data.get(part)
    return data


def _say(items: Sequence[Any], path: Path, value: Any, shaper: Shaper) -> tuple[str, str | None]:
    key = next((p for p in reversed(path) if isinstance(p, str)), "value")
    shown = _shown(value, path, shaper)
    errors = {item["type"]: item for item in items}
    if "value_error" in errors:
        text, _, fix = str(errors["value_error"]["ctx"]["error"]).partition("; ")
        return text.replace(FOUND, shown), fix or None
    if "literal_error" in errors and isinstance(value, str):
        return _unknown_word(key, value, shown, errors["literal_error"])
    for kind, (word, limit) in _LIMITS.items():
        if kind in errors:
            return f"{key} must be {word} {errors[kind]['ctx'][limit]}, found {shown}", None
    if "string_pattern_mismatch" in errors:
        return f"{key} is not of the form path.py::function, found {shown}", "name the file and its function"
    if any(kind in errors for kind in _EMPTY):
        return f"{key} must not be empty", None
    expected = list(dict.fromkeys(_expected(kind) for kind in errors))
    if None not in expected:
        way_out = f"write [{shown}]" if "a list" in expected and isinstance(value, str) else None
        return f"{key}: expected {' or '.join(str(e) for e in expected)}, found {shown}", way_out
    return f"{key}: {items[0]['msg']}", None


def _unknown_word(key: str, value: str, shown: str, item: Any) -> tuple[str, str]:
    feature = REFUSED_VALUES.get((key, value)) or EXTRA_VALUES.get((key, value))
    choices = re.findall(r"'([^']*)'", str(item["ctx"]["expected"]))
    if feature is not None:
        return (
            f"{key} {value} is not available in this release: it comes with {feature}",
            f"one of {', '.join(choices)}",
        )
    return f"unknown {key} {shown}", suggest(value, choices)


def _expected(kind: str) -> str | None:
    return next((words for start, words in _KINDS if kind.startswith(start)), None)


def _shown(value: Any, path: Path, shaper: Shaper) -> str:
    """The value as written in the file: never what a variable held, never a secret."""
    if isinstance(value, Secret):
        return "a secret"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    source = shaper.sources.get(path)
    if source is None:
        return "the value"
    text = source if isinstance(value, int | float) else repr(source)
    return text if len(text) <= 80 else f"{text[:77]}...'"
