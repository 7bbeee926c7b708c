"""Splits, pieces and tickets as JSON, for readers and writers in other processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, cast

from penstock.values.loads import Piece, WriteTicket
from penstock.values.names import Json, LoadId, SplitId, StreamName
from penstock.values.streams import Field, Split, TableSchema


def schema_to_json(schema: TableSchema) -> dict[str, Json]:
    return {
        "fields": [cast("Json", asdict(f)) for f in schema.fields],
        "key": list(schema.key),
        "system": schema.system,
    }


def schema_from_json(data: Mapping[str, Json]) -> TableSchema:
    """Raises ValueError for columns that are not described as `schema_to_json` does."""
    known = {f.name for f in fields(Field)}
    columns = []
    for column in _list(data["fields"]):
        if not isinstance(column, dict) or not known >= set(column):
            raise ValueError("not a stored schema: a column is not described by the fields of Field")
        columns.append(Field(**cast("dict[str, Any]", column)))
    system = data["system"]
    return TableSchema(tuple(columns), tuple(str(k) for k in _list(data["key"])), str(system) if system else None)


def split_to_json(split: Split) -> dict[str, Json]:
    return {
        "id": split.id,
        "stream": split.stream,
        "schema": schema_to_json(split.schema),
        "work": dict(split.work),
        "rows_estimate": split.rows_estimate,
    }


def split_from_json(data: Mapping[str, Json]) -> Split:
    rows = data["rows_estimate"]
    return Split(
        SplitId(str(data["id"])),
        StreamName(str(data["stream"])),
        schema_from_json(_dict(data["schema"])),
        _dict(data["work"]),
        rows if isinstance(rows, int) else None,
    )


def piece_to_json(piece: Piece) -> dict[str, Json]:
    schema = schema_to_json(piece.schema) if piece.schema else None
    return {
        "split": piece.split,
        "attempt": piece.attempt,
        "rows": piece.rows,
        "size_bytes": piece.size_bytes,
        "into": piece.into,
        "work": dict(piece.work),
        "schema": schema,
    }


def piece_from_json(data: Mapping[str, Json]) -> Piece:
    schema = data["schema"]
    return Piece(
        split=SplitId(str(data["split"])),
        attempt=_int(data["attempt"]),
        rows=_int(data["rows"]),
        size_bytes=_int(data["size_bytes"]),
        into="quarantine" if data["into"] == "quarantine" else "target",
        work=_dict(data["work"]),
        schema=schema_from_json(schema) if isinstance(schema, dict) else None,
    )


def ticket_to_json(ticket: WriteTicket) -> dict[str, Json]:
    return {"load_id": ticket.load_id, "work": dict(ticket.work)}


def ticket_from_json(data: Mapping[str, Json]) -> WriteTicket:
    return WriteTicket(LoadId(str(data["load_id"])), _dict(data["work"]))


def _dict(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, not {type(value).__name__}")
    return value


def _list(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise ValueError(f"expected a JSON array, not {type(value).__name__}")
    return value


def _int(value: Json) -> int:
    if not isinstance(value, int):
        raise ValueError(f"expected a whole number, not {type(value).__name__}")
    return value
