"""Names of tables and columns as SQL, and stream names as people write them."""

from __future__ import annotations

from penstock.errors import ConfigError


def quote(name: str) -> str:
    """The name as a quoted identifier. Raises ConfigError for a name the server cannot hold."""
    if not name or "\0" in name:
        raise ConfigError(f"{name!r} cannot be the name of a table or column", fix="name it without NUL characters")
    if len(name.encode()) > 63:  # the server would cut it off, and mean another table
        raise ConfigError(f"{name!r} is longer than the 63 bytes of a name", fix="choose a shorter name")
    return '"' + name.replace('"', '""') + '"'


def quote_table(schema: str, name: str) -> str:
    return f"{quote(schema)}.{quote(name)}"


def to_stream_name(schema: str, name: str, default_schema: str) -> str:
    """How a table is named in a project: plain where that is unambiguous, else with quotes."""
    plain = _plain(name)
    if schema == default_schema:
        return plain
    return f"{_plain(schema)}.{plain}"


def _plain(name: str) -> str:
    return quote(name) if '"' in name or "." in name else name


def candidates(stream: str, default_schema: str) -> tuple[tuple[str, str], ...]:
    """(schema, table) pairs that a stream name may mean, the likeliest first."""
    parts = _unquoted_parts(stream)
    if parts is None:
        return ((default_schema, stream),)
    if len(parts) == 1:
        return ((default_schema, parts[0]),)
    if '"' in stream:
        return ((parts[0], ".".join(parts[1:])),)
    return (*((".".join(parts[:i]), ".".join(parts[i:])) for i in range(1, len(parts))), (default_schema, stream))


def _unquoted_parts(stream: str) -> list[str] | None:
    """The dotted parts, quotes removed; None where the quotes do not pair up."""
    parts: list[str] = []
    rest = stream
    while True:
        if rest.startswith('"'):
            end = _closing_quote(rest)
            if end is None:
                return None
            parts.append(rest[1:end].replace('""', '"'))
            rest = rest[end + 1 :]
            if rest and not rest.startswith("."):
                return None
        else:
            head, _, _ = rest.partition(".")
            parts.append(head)
            rest = rest[len(head) :]
        if not rest:
            return parts if all(parts) else None
        rest = rest[1:]


def _closing_quote(text: str) -> int | None:
    index = 1
    while index < len(text):
        if text[index] == '"' and text[index : index + 2] != '""':
            return index
        index += 2 if text[index] == '"' else 1
    return None
