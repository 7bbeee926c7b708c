"""The manifest of one target: which files belong to it, and the ledger. Replacing it is the commit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from penstock.connectors.files.places import PRIVATE
from penstock.errors import LoadError
from penstock.records import dataclass
from penstock.values import Boundary, Field, Json, LedgerHead, LedgerRow, LoadId, Position, RunId, TableSchema

MANIFEST_FORMAT = 1
MANIFEST = "manifest.json"
HISTORY_ROWS = 200


@dataclass(frozen=True, slots=True)
class Part:
    """One data file. `partition` holds the values its folders stand for, `columns` those of a file without header.

    `own` is False for files that lay here before the first load.
    """

    path: str
    rows: int
    size_bytes: int
    load_id: str
    format: str
    partition: Mapping[str, str | None] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    delimiter: str = ","
    null_value: str = ""
    own: bool = True


@dataclass(frozen=True, slots=True)
class Manifest:
    """`schema` is None until the first load is in; `history` is oldest first."""

    head: LedgerHead
    schema: TableSchema | None = None
    partition_by: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    history: tuple[LedgerRow, ...] = ()
    boundary: Boundary = field(default_factory=Boundary)

    def find(self, load: LoadId) -> LedgerRow | None:
        return next((row for row in reversed(self.history) if row.load_id == load), None)

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)


def manifest_path(folder: Path) -> Path:
    """The manifest of the target kept in `folder`."""
    return folder / PRIVATE / MANIFEST


def read_manifest(folder: Path) -> Manifest | None:
    """None only where there is none; one that cannot be read raises LoadError."""
    path = manifest_path(folder)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LoadError(f"the manifest cannot be read: {error.strerror}", where=str(path), fault="transient") from error
    try:
        return from_json(json.loads(content))
    except (ValueError, KeyError, TypeError) as error:
        raise LoadError(
            "the manifest cannot be understood: it is damaged, or a newer Penstock wrote it",
            where=str(path),
            fix="restore the file from a backup, or upgrade penstock",
        ) from error


def to_bytes(manifest: Manifest) -> bytes:
    document = {
        "format": MANIFEST_FORMAT,
        "head": _head_to_json(manifest.head),
        "schema": _schema_to_json(manifest.schema) if manifest.schema else None,
        "partition_by": list(manifest.partition_by),
        "parts": [asdict(part) for part in manifest.parts],
        "history": [_row_to_json(row) for row in manifest.history[-HISTORY_ROWS:]],
        "boundary": dict(manifest.boundary.rows),
        "boundary_types": dict(manifest.boundary.types),
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")


def from_json(document: Mapping[str, Any]) -> Manifest:
    """Raises ValueError, KeyError or TypeError for a document `to_bytes` did not write."""
    if document["format"] != MANIFEST_FORMAT:
        raise ValueError("another manifest format")
    schema = document["schema"]
    return Manifest(
        head=_head_from_json(document["head"]),
        schema=_schema_from_json(schema) if schema is not None else None,
        partition_by=tuple(document["partition_by"]),
        parts=tuple(Part(**{**part, "columns": tuple(part["columns"])}) for part in document["parts"]),
        history=tuple(_row_from_json(row) for row in document["history"]),
        boundary=_boundary_from_json(document["boundary"], document.get("boundary_types", {})),
    )


def _boundary_from_json(rows: Mapping[str, Any], types: Mapping[str, Any]) -> Boundary:
    """Manifests written before types were kept have none."""
    return Boundary({str(d): int(n) for d, n in rows.items()}, {str(name): str(kind) for name, kind in types.items()})


def _head_to_json(head: LedgerHead) -> dict[str, object]:
    changed = head.changed_at.isoformat() if head.changed_at else None
    return {**asdict(head), "position": head.position.to_json(), "changed_at": changed}


def _head_from_json(data: Mapping[str, Any]) -> LedgerHead:
    head = LedgerHead(**data)
    changed = datetime.fromisoformat(data["changed_at"]) if data["changed_at"] else None
    return replace(head, position=_position(data["position"]), changed_at=changed)


def _row_to_json(row: LedgerRow) -> dict[str, object]:
    return {**asdict(row), "position": row.position.to_json(), "committed_at": row.committed_at.isoformat()}


def _row_from_json(data: Mapping[str, Any]) -> LedgerRow:
    row = LedgerRow(**{**data, "run_id": RunId(data["run_id"]), "load_id": LoadId(data["load_id"])})
    committed = datetime.fromisoformat(data["committed_at"])
    return replace(row, position=_position(data["position"]), committed_at=committed)


def _position(data: object) -> Position:
    return Position.from_json(cast("Mapping[str, Json]", data))


def _schema_to_json(schema: TableSchema) -> dict[str, object]:
    return {"fields": [asdict(f) for f in schema.fields], "key": list(schema.key), "system": schema.system}


def _schema_from_json(data: Mapping[str, Any]) -> TableSchema:
    return TableSchema(tuple(Field(**f) for f in data["fields"]), tuple(data["key"]), data["system"])
