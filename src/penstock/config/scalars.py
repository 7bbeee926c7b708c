"""Reads one scalar: YAML 1.2, numbers where numbers go, and an error where YAML 1.1 would have read something else."""

from __future__ import annotations

import re

from penstock.config.document import Node
from penstock.config.expectations import Expected
from penstock.records import dataclass

_BOOLEANS = {"true": True, "false": False}
_SWITCHES = {"yes": True, "no": False, "on": True, "off": False}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_HEX = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_OLD_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_GROUPED = re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?")
_BINARY = re.compile(r"[-+]?0b[01_]+")
_MOST_DIGITS = 400


@dataclass(frozen=True, slots=True)
class Trap:
    """Text that YAML readers disagree about, or no text where text goes. `lenient`: what mkpipe makes of it."""

    what: str
    fix: str
    lenient: str | int | float | bool | None = None


def read_scalar(node: Node, expected: Expected) -> str | int | float | bool | Trap:
    """The value, or why it cannot be told."""
    text = node.text
    if not node.plain:
        return text
    if text.lower() in _BOOLEANS and text in (text.lower(), text.upper(), text.capitalize()):
        return _read_boolean(text, expected)
    if text.lower() in _SWITCHES and text in (text.lower(), text.upper(), text.capitalize()):
        return _read_switch(text, expected)
    trap = _find_trap(text, expected)
    if trap is not None:
        return trap
    number = _read_number(text)
    if number is None:
        return text
    if expected.number_as_text:
        return text
    if (expected.text or expected.secret) and not (expected.number or expected.anything):
        return Trap("expected text, found a number", "put it in quotes")
    return number


def _read_boolean(text: str, expected: Expected) -> bool | Trap:
    if (expected.text or expected.secret) and not (expected.flag or expected.anything):
        return Trap(f"expected text, found the boolean {_shown(text, expected)}", "put it in quotes to mean the word")
    return _BOOLEANS[text.lower()]


def _read_switch(text: str, expected: Expected) -> bool | Trap:
    if expected.flag:
        return _SWITCHES[text.lower()]
    shown = _shown(text, expected)
    return Trap(
        f"{shown} is a boolean to some YAML readers and a word to others",
        "put it in quotes",
        lenient=text,
    )


def _find_trap(text: str, expected: Expected) -> Trap | None:
    shown = _shown(text, expected)
    if _OLD_OCTAL.fullmatch(text):
        digits = text.replace("_", "")
        octal = int(digits, 8) if not set(digits) & set("89") and len(digits) < _MOST_DIGITS else None
        plain = digits.lstrip("-+").lstrip("0") or "0"
        return Trap(
            f"{shown} is octal to some YAML readers and decimal to others",
            "put it in quotes to mean the text, or write the number without the leading zero"
            if expected.secret
            else f"put it in quotes to mean the text, or write {plain}",
            lenient=octal if expected.number and octal is not None else text,
        )
    if _BASE_60.fullmatch(text):
        return Trap(
            f"{shown} is a base-60 number to some YAML readers and text to others", "put it in quotes", lenient=text
        )
    if _BINARY.fullmatch(text):
        return Trap(f"{shown} is a number to some YAML readers and text to others", "put it in quotes", lenient=text)
    if _GROUPED.fullmatch(text) and not expected.number:
        return Trap(f"{shown} is a number to some YAML readers and text to others", "put it in quotes", lenient=text)
    return None


def _shown(text: str, expected: Expected) -> str:
    return "the value" if expected.secret else repr(text)


def _read_number(text: str) -> int | float | None:
    if len(text) > _MOST_DIGITS:
        return None
    if _GROUPED.fullmatch(text):
        text = text.replace("_", "")
    if _INTEGER.fullmatch(text):
        return int(text)
    if _HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", ""))
    return None
