"""Declared types of SQLite and the house's, both ways.

A declared type only gives a column its affinity; ours are chosen so that no value changes when it is stored: decimals
and JSON lie as text (a NUMERIC column would turn '12.30' into the binary float 12.3), and no name but an integer's
contains INT.
"""

from __future__ import annotations

import re

from penstock.errors import LoadError
from penstock.schema.types import SIGNED, decimal_of, list_item, struct_fields
from penstock.values import Field

_DECLARED = re.compile(
    r"\s*([A-Za-z_][A-Za-z_0-9 ]*)(?:\(\s*(\d+)\s*(?:,\s*(-?\d+)\s*)?\)\s*([A-Za-z ]*))?\s*"
)  # TIMESTAMP (6) WITH TIME ZONE
_NATIVE = {
    **dict.fromkeys((*SIGNED, "uint8", "uint16", "uint32"), "INTEGER"),
    "uint64": "DECIMAL_TEXT(20,0)",
    "bool": "BOOLEAN",
    "float32": "FLOAT32",
    "float64": "REAL",
    "numeric": "NUMERIC_TEXT",
    "string": "TEXT",
    "enum": "TEXT",
    "null": "TEXT",
    "uuid": "UUID_TEXT",
    "json": "JSON_TEXT",
    "binary": "BLOB",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMPTZ",
    "interval": "DURATION_TEXT",
}
_HOUSE = {
    "BOOLEAN": "bool",
    "BOOL": "bool",
    "FLOAT32": "float32",
    "UUID_TEXT": "uuid",
    "UUID": "uuid",
    "GUID": "uuid",
    "JSON_TEXT": "json",
    "JSON": "json",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP": "timestamp",
    "DATETIME": "timestamp",
    "TIMESTAMP WITHOUT TIME ZONE": "timestamp",
    "TIMESTAMPTZ": "timestamptz",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "DURATION_TEXT": "interval",
    "STRING": "string",
    "BYTEA": "binary",
    "VARBINARY": "binary",
    "BINARY": "binary",
}
_DECIMALS = frozenset({"DECIMAL", "NUMERIC", "NUMBER", "DEC", "DECIMAL_TEXT", "NUMERIC_TEXT", "MONEY"})
_AFFINITY = (
    (("INT",), "int64"),
    (("CHAR", "CLOB", "TEXT"), "string"),
    (("BLOB",), "binary"),
    (("REAL", "FLOA", "DOUB"), "float64"),
)


def native_type(field: Field) -> str:
    """The declared type for a house type. Raises LoadError for nested types."""
    decimal = decimal_of(field.type)
    if decimal is not None:
        return f"DECIMAL_TEXT({decimal[0]},{decimal[1]})"
    if list_item(field.type) is not None or struct_fields(field.type) is not None or field.type not in _NATIVE:
        raise LoadError(
            f"SQLite has no type for {field.type}", where=field.name, fix="turn it into JSON text in a transform"
        )
    return _NATIVE[field.type]


def house_type(declared: str) -> str | None:
    """The house spelling of a declared type; None where the declaration says nothing (none, ANY, an unknown word)."""
    match = _DECLARED.fullmatch(declared or "")
    if match is None:
        return None
    name = " ".join(f"{match[1]} {match[4] or ''}".upper().split())
    if name in _HOUSE:
        return _HOUSE[name]
    if name in _DECIMALS:
        return _decimal(match[2], match[3])
    for words, kind in _AFFINITY:
        if any(word in name for word in words):
            return kind
    return None


def _decimal(precision: str | None, scale: str | None) -> str:
    if precision is None:
        return "numeric"
    digits, places = int(precision), int(scale or 0)
    return f"decimal({digits},{places})" if 1 <= digits <= 76 and 0 <= places <= digits else "numeric"
