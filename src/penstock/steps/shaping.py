"""From the source's columns to the columns of the target: names, added columns, evolution, relay."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime

from penstock.errors import ConfigError, TransformError
from penstock.protocols import Destination
from penstock.records import dataclass
from penstock.schema.evolution import Evolution, evolve, refuse_text
from penstock.schema.names import apply_case, check_table_name, fold_name, map_names
from penstock.schema.types import list_item, struct_fields
from penstock.steps.replicate_step import ReplicateStep
from penstock.values import BoundaryRule, Cursor, Field, Limits, Shape, TableSchema

ORDER_COLUMN = "_penstock_order"


@dataclass(frozen=True, slots=True)
class Shaping:
    """`schema` is what the writer gets; `key`, `cursor_column` and `partition_by` are names at the destination."""

    schema: TableSchema
    renames: dict[str, str]
    evolution: Evolution
    key: tuple[str, ...]
    order: tuple[str, ...]
    order_column: str | None
    cursor_column: str | None
    source_key_is_unique: bool
    fills_ingested_at: bool


def shape_table(
    step: ReplicateStep,
    source_schema: TableSchema,
    table: TableSchema | None,
    destination: Destination,
    upper: Cursor | None,
    *,
    rebuilt: bool = False,
) -> Shaping:
    """Raises ConfigError for columns the config names and the stream does not have, ContractError for a bad fit.

    A table that is rebuilt takes the stream's columns as they are, but for text where it has another type.
    """
    limits = destination.limits
    check_table_name(step.writing.target.name, limits, where=step.where)
    after_transform = _transformed(step, source_schema)
    added = {step.adding.ingested_at_column, *([step.adding.id_column] if step.adding.dedup_columns else [])}
    kept = after_transform.without(*added)
    renames = dict(map_names(kept.names, limits, step.adding.case, where=step.where, added=len(added)))
    _require_columns(step, after_transform)
    _require_view(step, destination)
    fields = [_writable(replace(f, name=renames[f.name]), destination) for f in kept.fields]
    if step.adding.dedup_columns:
        fields.append(Field(step.adding.id_column, "int64"))
    fills = "ingested_at" in destination.operations
    if not fills:
        fields.append(Field(step.adding.ingested_at_column, "timestamptz"))
    incoming = TableSchema(tuple(fields), system=source_schema.system)
    to_text = {renames[c] for c, kind in step.reading.types.items() if kind == "string" and c in renames}
    evolution = _evolve(incoming, table, step, destination, to_text, rebuilt=rebuilt)
    renames = _settle_names(renames, evolution, destination)
    key = tuple(_renamed(column, renames, step) for column in step.writing.key)
    cursor_column = _cursor_column(step, renames)
    order, order_column, order_field = _ordering(step, cursor_column, upper)
    schema = evolution.written
    if order_field is not None:
        schema = replace(schema, fields=(*schema.fields, order_field))
    unique = is_key_unique(step, source_schema)
    return Shaping(schema, renames, evolution, key, order, order_column, cursor_column, unique, fills)


def is_key_unique(step: ReplicateStep, source_schema: TableSchema) -> bool:
    """Whether the source itself promises that no two rows share the write key."""
    return step.transform is None and bool(source_schema.key) and set(source_schema.key) <= set(step.writing.key)


def _transformed(step: ReplicateStep, schema: TableSchema) -> TableSchema:
    if step.transform is None:
        return schema
    try:
        return step.transform.output_schema(schema)
    except TransformError as error:  # the transform knows its own file; whose it is, the step does
        table = f"table {str(step.writing.target)!r} ({step.where})"
        error.locate(f"{error.where}, {table}" if error.where else table)
        raise


def _writable(field: Field, destination: Destination) -> Field:
    """Lists and structs become JSON text where the destination has no such columns."""
    nested = list_item(field.type) is not None or struct_fields(field.type) is not None
    if not nested or "nested" in destination.operations:
        return field
    return replace(field, type="json", native=None)


def _evolve(
    incoming: TableSchema,
    table: TableSchema | None,
    step: ReplicateStep,
    destination: Destination,
    to_text: Collection[str],
    *,
    rebuilt: bool,
) -> Evolution:
    if table is None:
        return Evolution(incoming)
    known = table.without(step.adding.ingested_at_column) if "ingested_at" in destination.operations else table
    name, limits = str(step.writing.target), destination.limits
    if rebuilt:
        refuse_text(incoming, known, limits, where=name, to_text=to_text)
        return Evolution(incoming)
    evolution = evolve(incoming, known, step.writing.evolution, limits, where=name, to_text=to_text)
    return replace(evolution, written=replace(evolution.written, system=incoming.system))


def expected_types(step: ReplicateStep, stream: TableSchema, table: TableSchema, limits: Limits) -> Mapping[str, str]:
    """What the stream's columns are at the target, for a source that would guess. A rebuilt table only keeps text out.

    Nothing is expected of what a transform makes columns of, and of binary: only its owner knows how it is spelled.
    """
    if step.transform is not None or step.starts_anew:
        return {}
    there = {fold_name(f.name, limits): f.type for f in table.fields}
    rebuilt = step.writing.strategy == "replace" and step.writing.evolution == "evolve"
    expected = {}
    for field in stream.fields:
        kind = there.get(fold_name(apply_case(field.name, step.adding.case), limits))
        if kind in (None, "binary") or field.name in step.reading.types:
            continue
        if not rebuilt or (field.type in ("string", "json") and kind != "string"):
            expected[field.name] = kind
    return expected


def _settle_names(renames: dict[str, str], evolution: Evolution, destination: Destination) -> dict[str, str]:
    """A column that is already in the table keeps the table's spelling of its name."""
    settled = {fold_name(f.name, destination.limits): f.name for f in evolution.written.fields}
    return {source: settled.get(fold_name(name, destination.limits), name) for source, name in renames.items()}


def _require_columns(step: ReplicateStep, schema: TableSchema) -> None:
    for option, columns in (
        ("write_key", step.writing.key),
        ("dedup_columns", step.adding.dedup_columns),
        ("partition_by", step.writing.partition_by),
    ):
        missing = [c for c in columns if c not in schema.names]
        if missing:
            raise ConfigError(
                f"{option} names columns that {step.reading.stream} does not have: {', '.join(map(repr, missing))}",
                where=step.where,
                fix=f"columns: {', '.join(schema.names)}",
            )


def _require_view(step: ReplicateStep, destination: Destination) -> None:
    if step.writing.latest_view is not None and "view" not in destination.operations:
        raise ConfigError(
            f"latest_view is not possible at this destination: {step.destination} has no views",
            where=step.where,
            fix="remove latest_view",
        )


def _renamed(column: str, renames: dict[str, str], step: ReplicateStep) -> str:
    if column not in renames:
        raise ConfigError(f"write_key {column!r} is a column Penstock adds", where=step.where, fix="choose another")
    return renames[column]


def _cursor_column(step: ReplicateStep, renames: dict[str, str]) -> str | None:
    cursor = step.reading.cursor
    if cursor is None or len(cursor.columns) != 1:
        return None
    return renames.get(cursor.columns[0])


def _ordering(
    step: ReplicateStep, cursor_column: str | None, upper: Cursor | None
) -> tuple[tuple[str, ...], str | None, Field | None]:
    """What decides between rows of one key: the cursor's own column, or a hidden one where it has none."""
    if step.writing.strategy not in ("upsert", "merge") or step.reading.cursor is None:
        return (), None, None
    if cursor_column is not None:
        return (cursor_column,), None, None
    spelling = _cursor_type(upper)
    if spelling is None or step.transform is not None:
        return (), None, None
    return (ORDER_COLUMN,), ORDER_COLUMN, Field(ORDER_COLUMN, spelling)


def _cursor_type(cursor: Cursor | None) -> str | None:
    if cursor is None or cursor.type == "decimal":
        return None
    if cursor.type == "datetime" and isinstance(cursor.value, datetime):
        return "timestamptz" if cursor.value.tzinfo else "timestamp"
    return {"int": "int64", "date": "date", "string": "string", "datetime": "timestamp"}[cursor.type]


def make_shape(step: ReplicateStep, shaping: Shaping, started_at: datetime, boundary: BoundaryRule | None) -> Shape:
    """The engine's orders for these rows."""
    return Shape(
        schema=shaping.schema,
        boundary=boundary,
        dedup_columns=step.adding.dedup_columns,
        id_column=step.adding.id_column,
        ingested_at=None if shaping.fills_ingested_at else (step.adding.ingested_at_column, started_at),
        renames=shaping.renames,
        order_column=shaping.order_column,
        on_bad_value=step.writing.on_bad_value,
    )


def own_columns(step: ReplicateStep, shaping: Shaping) -> TableSchema:
    """The columns that carry the stream's values: what digests and comparisons look at."""
    return shaping.schema.without(step.adding.ingested_at_column, ORDER_COLUMN)


def schema_signature(schema: TableSchema) -> str:
    """Names and types in short, kept with a digest so that only like is compared with like."""
    text = "\x1f".join(f"{f.name}\x1e{f.type}" for f in schema.fields)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
