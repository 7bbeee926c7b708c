"""DuckDB's types and the house's, both ways, and the form in which columns travel as Arrow."""

from __future__ import annotations

import re

from penstock.schema.types import decimal_of, list_item, struct_fields

_NATIVE = {
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "uint8": "UTINYINT",
    "uint16": "USMALLINT",
    "uint32": "UINTEGER",
    "uint64": "UBIGINT",
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "bool": "BOOLEAN",
    "string": "VARCHAR",
    "numeric": "VARCHAR",  # unbounded: no DuckDB number holds 1,000 digits and NaN
    "enum": "VARCHAR",
    "null": "VARCHAR",
    "uuid": "UUID",
    "json": "JSON",
    "binary": "BLOB",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
    "interval": "INTERVAL",
}
_HOUSE = {
    **{native: house for house, native in _NATIVE.items() if native != "VARCHAR"},
    "VARCHAR": "string",
    "TIMESTAMPTZ": "timestamptz",
    "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "HUGEINT": "decimal(38,0)",
    "UHUGEINT": "numeric",
    "BIGNUM": "numeric",
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
_LIST = re.compile(r"(.*)\[\d*\]", re.DOTALL)
_PLAIN_NAME = re.compile(r"\w+")


def native_type(house: str) -> str:
    """The DuckDB type that holds a house type without loss; numbers too wide for it lie as text."""
    decimal = decimal_of(house)
    if decimal is not None:
        fits = decimal[0] <= 38 and decimal[1] >= 0
        return f"DECIMAL({decimal[0]},{decimal[1]})" if fits else "VARCHAR"
    item = list_item(house)
    if item is not None:
        return f"{native_type(item)}[]"
    fields = struct_fields(house)
    if fields is not None:
        inner = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}" {native_type(kind)}' for name, kind in fields)
        return f"STRUCT({inner})"
    return _NATIVE[house]


def house_type(native: str) -> str:
    """The house spelling; what the house has no word for (maps, unions, bits) is read as text."""
    if native in _HOUSE:
        return _HOUSE[native]
    decimal = _DECIMAL.fullmatch(native)
    if decimal is not None:
        return f"decimal({decimal[1]},{decimal[2]})"
    if native.startswith("ENUM("):
        return "enum"
    listed = _LIST.fullmatch(native)
    if listed is not None:
        return f"list<{house_type(listed[1])}>"
    if native.startswith("STRUCT(") and native.endswith(")"):
        return _struct(native[7:-1])
    return "json" if native.startswith(("MAP(", "UNION(")) else "string"


def _struct(inside: str) -> str:
    fields = [_named(part) for part in _parts(inside)]
    if not all(_PLAIN_NAME.fullmatch(name) for name, _ in fields):
        return "json"  # the house cannot spell such field names
    return f"struct<{', '.join(f'{name}: {house_type(kind)}' for name, kind in fields)}>"


def _named(part: str) -> tuple[str, str]:
    """`name TYPE` or `"na""me" TYPE`."""
    text = part.strip()
    if text.startswith('"'):
        match = re.match(r'"((?:[^"]|"")*)"\s+', text)
        if match is not None:
            return match[1].replace('""', '"'), text[match.end() :]
    name, _, kind = text.partition(" ")
    return name, kind


def _parts(text: str) -> list[str]:
    """Split at commas outside brackets and quotes."""
    parts, depth, start, quote = [], 0, 0, ""
    for index, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        else:
            depth += (char in "([") - (char in ")]")
            if char == "," and depth == 0:
                parts.append(text[start:index])
                start = index + 1
    return [*parts, text[start:]]


def travels_as(house: str) -> str:
    """The DuckDB type whose Arrow form is the house's: logical types go as text."""
    item = list_item(house)
    if item is not None:
        return f"{travels_as(item)}[]"
    fields = struct_fields(house)
    if fields is not None:
        return f"STRUCT({', '.join(f'{chr(34)}{name}{chr(34)} {travels_as(kind)}' for name, kind in fields)})"
    return "VARCHAR" if house in ("uuid", "json", "enum", "numeric", "string", "null") else native_type(house)
