"""Source column names to destination column names: one pure function, recorded in the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from penstock.errors import ConfigError
from penstock.values import Limits

NameCase = Literal["as_is", "lower", "upper"]


def map_names(
    names: Sequence[str], limits: Limits, case: NameCase = "as_is", *, where: str = "", added: int = 0
) -> Mapping[str, str]:
    """Destination name of each source name, within the destination's limits; `added` columns of ours come beside them.

    Raises ConfigError where two columns would become one, a name is too long for the destination, or there are more
    columns than it takes: nothing is shortened or merged silently.
    """
    if len(names) + added > limits.columns:
        ours = f" and {added} of Penstock's own" if added else ""
        raise ConfigError(
            f"{len(names)} columns{ours}, the destination takes at most {limits.columns}",
            where=where,
            fix="choose fewer columns by custom_query or a transform",
        )
    mapped = {name: apply_case(name, case) for name in names}
    taken: dict[str, str] = {}
    for source, target in mapped.items():
        _refuse_unusable(target, limits, where)
        folded = fold_name(target, limits)
        if folded in taken:
            raise ConfigError(
                f"columns {taken[folded]!r} and {source!r} would both become {target!r}",
                where=where,
                fix="rename one by custom_query or a transform, or set column_name_case: as_is",
            )
        taken[folded] = source
    return mapped


def apply_case(name: str, case: NameCase) -> str:
    if case == "lower":
        return name.lower()
    return name.upper() if case == "upper" else name


def fold_name(name: str, limits: Limits) -> str:
    """The form under which the destination compares names."""
    return name.lower() if limits.fold == "lower" else name


def check_table_name(name: str, limits: Limits, *, where: str = "") -> None:
    """Raises ConfigError for a table name the destination would cut or refuse, or one of our own."""
    if name.startswith("_penstock_"):
        raise ConfigError(f"{name!r} is a name of Penstock's own tables", where=where, fix="choose another target_name")
    _refuse_unusable(name, limits, where)


def check_schema_name(name: str, limits: Limits, *, where: str = "") -> None:
    """Raises ConfigError for the name of a schema that the destination would cut or refuse."""
    _refuse_unusable(name, limits, where)


def _refuse_unusable(name: str, limits: Limits, where: str) -> None:
    if not name or "\x00" in name:
        raise ConfigError(f"{name!r} cannot be a name at the destination", where=where, fix="rename it")
    size = len(name.encode())
    if size > limits.identifier_bytes:
        raise ConfigError(
            f"{name!r} has {size} bytes, the destination takes {limits.identifier_bytes}",
            where=where,
            fix="rename it by target_name, custom_query or a transform; it would be cut, and could meet another name",
        )
