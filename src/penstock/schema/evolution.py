"""How a table's columns follow its stream: what fits, what widens, what is refused."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Literal

from penstock.errors import ContractError
from penstock.records import dataclass
from penstock.schema.types import FLOATS, SIGNED, TEXTUAL, UNSIGNED, decimal_of, list_item, struct_fields
from penstock.values import Field, Limits, TableSchema

EvolutionPolicy = Literal["evolve", "freeze", "ignore"]

_DIGITS = {
    "int8": 3,
    "int16": 5,
    "int32": 10,
    "int64": 19,
    "uint8": 3,
    "uint16": 5,
    "uint32": 10,
    "uint64": 20,
}
_FLOAT_EXACT_INTS = {
    "float32": ("int8", "int16", "uint8", "uint16"),
    "float64": ("int8", "int16", "int32", *UNSIGNED[:3]),
}


@dataclass(frozen=True, slots=True)
class Evolution:
    """What a load does to the columns: `written` is the schema of the rows as they must arrive."""

    written: TableSchema
    added: tuple[Field, ...] = ()
    widened: tuple[Field, ...] = ()
    ignored: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def evolve(
    incoming: TableSchema,
    table: TableSchema,
    policy: EvolutionPolicy,
    limits: Limits,
    *,
    where: str,
    to_text: Collection[str] = (),
) -> Evolution:
    """Compare a stream with its table. Raises ContractError, naming every column, where the policy forbids a change.

    A column of numbers becomes text only if `to_text` names it: what is text once, no later load makes a number again.
    """
    folded = {_fold(f.name, limits): f for f in table.fields}
    written: list[Field] = []
    added: list[Field] = []
    widened: list[Field] = []
    ignored: list[str] = []
    problems: list[str] = []
    texts: list[Field] = []
    for field in incoming.fields:
        existing = folded.get(_fold(field.name, limits))
        if existing is None:
            _take_new(field, policy, written, added, ignored, problems)
            continue
        target = _reconcile(field, existing, policy, limits, asked=field.name in to_text)
        if target is None:
            problems.append(_misfit(field, existing))
            texts += [existing] if _may_become_text(field, existing, policy, limits) else []
            continue
        written.append(target)
        if target.type != existing.type:
            widened.append(target)
    names = {_fold(f.name, limits) for f in incoming.fields}
    missing = tuple(f.name for f in table.fields if _fold(f.name, limits) not in names)
    problems += [
        f"{f.name}: NOT NULL in the table, absent from the stream"
        for f in table.fields
        if _is_demanded(f, names, limits)
    ]
    if problems:
        raise _refusal(problems, texts, where)
    return Evolution(replace(incoming, fields=tuple(written)), tuple(added), tuple(widened), tuple(ignored), missing)


def refuse_text(
    incoming: TableSchema, table: TableSchema, limits: Limits, *, where: str, to_text: Collection[str]
) -> None:
    """Raises ContractError where a table that is made anew would have text in the place of another type, unasked."""
    folded = {_fold(f.name, limits): f for f in table.fields}
    met = [(f, folded[name]) for f in incoming.fields if (name := _fold(f.name, limits)) in folded]
    wrong = [(f, there) for f, there in met if f.name not in to_text and _turns_to_text(there.type, f.type, limits)]
    if wrong:
        raise _refusal([_misfit(f, there) for f, there in wrong], [there for _, there in wrong], where)


def _misfit(field: Field, existing: Field) -> str:
    return f"{field.name}: {field.type} does not fit the table's {existing.type}"


def _refusal(problems: list[str], texts: list[Field], where: str) -> ContractError:
    fix = "name a type under columns:, set schema_evolution: evolve, alter the table, or use --full-refresh"
    if texts:
        kept = ", ".join(f"{f.name}: {_quoted(f.type)}" for f in texts if f.type != "enum")
        named = f" name the type to read it as, columns: {{{kept}}};"
        text = ", ".join(f"{f.name}: string" for f in texts)
        fix = f"correct the source;{named if kept else ''} or make it text from now on, columns: {{{text}}}"
    return ContractError(f"{where}: the stream does not fit the table: " + "; ".join(problems), where=where, fix=fix)


def _quoted(spelling: str) -> str:
    """As YAML wants it inside braces."""
    return f'"{spelling}"' if "," in spelling else spelling


def _take_new(
    field: Field,
    policy: EvolutionPolicy,
    written: list[Field],
    added: list[Field],
    ignored: list[str],
    problems: list[str],
) -> None:
    if policy == "ignore":
        ignored.append(field.name)
        return
    if policy == "freeze":
        problems.append(f"{field.name}: new column, and schema_evolution is freeze")
        return
    # Rows already there have no value for it.
    new = replace(field, nullable=True)
    written.append(new)
    added.append(new)


def _reconcile(field: Field, existing: Field, policy: EvolutionPolicy, limits: Limits, *, asked: bool) -> Field | None:
    if fits(field.type, existing.type):
        return replace(existing, name=existing.name, nullable=existing.nullable)
    wider = common_type(field.type, existing.type) if asked else widened_type(field.type, existing.type, limits)
    if wider is None or policy != "evolve":
        return None
    # The stream's own spelling may hold less than its house type (oid, money): rows already there need all of it.
    return replace(existing, type=wider, native=None)


def _may_become_text(field: Field, existing: Field, policy: EvolutionPolicy, limits: Limits) -> bool:
    wider = common_type(field.type, existing.type)
    return policy == "evolve" and wider is not None and _turns_to_text(existing.type, wider, limits)


def widened_type(incoming: str, existing: str, limits: Limits = Limits()) -> str | None:  # noqa: B008 - frozen
    """What a column of type `existing` becomes so that it holds `incoming` too; None where it would lose its kind."""
    wider = common_type(incoming, existing)
    return None if wider is not None and _turns_to_text(existing, wider, limits) else wider


def _turns_to_text(existing: str, wider: str, limits: Limits) -> bool:
    inner, outer = list_item(existing), list_item(wider)
    if inner is not None and outer is not None:
        return _turns_to_text(inner, outer, limits)
    return existing not in ("string", "null", wider) and (wider == "string" or _lies_as_text(wider, limits))


def _lies_as_text(spelling: str, limits: Limits) -> bool:
    decimal = decimal_of(spelling)
    return limits.digits is not None and (spelling == "numeric" or (decimal is not None and decimal[0] > limits.digits))


def _is_demanded(field: Field, names: set[str], limits: Limits) -> bool:
    return not field.nullable and _fold(field.name, limits) not in names and not field.has_default


def _fold(name: str, limits: Limits) -> str:
    return name.lower() if limits.fold == "lower" else name


def fits(incoming: str, existing: str) -> bool:
    """Whether every value of type `incoming` is exactly a value of type `existing`."""
    if incoming in (existing, "null"):
        return True
    if existing == "string":
        return incoming in TEXTUAL or incoming in _DIGITS or decimal_of(incoming) is not None
    if existing == "numeric":
        return incoming in _DIGITS or decimal_of(incoming) is not None
    if existing == "json":
        return list_item(incoming) is not None or struct_fields(incoming) is not None
    if existing in FLOATS:
        return incoming in _FLOAT_EXACT_INTS[existing] or (incoming == "float32" and existing == "float64")
    if existing in _DIGITS and incoming in _DIGITS:
        return _int_fits(incoming, existing)
    return _sized_fits(incoming, existing)


def _sized_fits(incoming: str, existing: str) -> bool:
    target = decimal_of(existing)
    if target is not None:
        whole, scale = _digits(incoming)
        return whole is not None and whole <= target[0] - target[1] and scale <= target[1]
    inner, outer = list_item(incoming), list_item(existing)
    if inner is not None and outer is not None:
        return fits(inner, outer)
    return False


def _int_fits(incoming: str, existing: str) -> bool:
    bits: dict[str, int] = {name: 8 * 2**i for names in (SIGNED, UNSIGNED) for i, name in enumerate(names)}
    if (incoming in SIGNED) == (existing in SIGNED):
        return bits[incoming] <= bits[existing]
    return existing in SIGNED and bits[incoming] < bits[existing]


def _digits(spelling: str) -> tuple[int | None, int]:
    """(digits before the point, digits after it) that a type needs; (None, 0) where it is not an exact number."""
    if spelling in _DIGITS:
        return _DIGITS[spelling], 0
    decimal = decimal_of(spelling)
    return (decimal[0] - decimal[1], decimal[1]) if decimal else (None, 0)


def common_type(left: str, right: str) -> str | None:
    """The narrowest type that holds every value of both exactly, None where only a lossy one would."""
    if fits(left, right):
        return right
    if fits(right, left):
        return left
    if left in _DIGITS and right in _DIGITS:
        return next((name for name in (*SIGNED, "decimal(20,0)") if fits(left, name) and fits(right, name)), None)
    (whole_left, scale_left), (whole_right, scale_right) = _digits(left), _digits(right)
    if whole_left is not None and whole_right is not None:
        scale = max(scale_left, scale_right)
        precision = max(whole_left, whole_right) + scale
        return f"decimal({precision},{scale})" if precision <= 38 else "numeric"
    inner_left, inner_right = list_item(left), list_item(right)
    if inner_left is not None and inner_right is not None:
        inner = common_type(inner_left, inner_right)
        return f"list<{inner}>" if inner else None
    return _common_loose(left, right)


def _common_loose(left: str, right: str) -> str | None:
    pair = {left, right}
    if pair & set(FLOATS) and all(t in FLOATS or t in ("int8", "int16", "int32") for t in pair):
        return "float64"
    if pair == {"date", "timestamp"}:
        return "timestamp"
    # Text holds every number and every text exactly; anything else keeps its own type or is refused.
    plain = {*TEXTUAL, *_DIGITS}
    if all(t in plain or decimal_of(t) is not None for t in pair):
        return "string"
    return None
