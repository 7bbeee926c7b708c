"""What an engine is told about the rows between reader and writer, and what it reports back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime

from penstock.records import dataclass
from penstock.values.loads import Boundary
from penstock.values.streams import Cursor, TableSchema


@dataclass(frozen=True, slots=True)
class BoundaryRule:
    """Rows with cursor >= `lower` whose digest is in `known` were delivered before (so many times) and are dropped.

    Digests of all rows read with cursor >= `keep_from` are reported back (`keep_from` None: of rows at the highest
    cursor only, found while reading). More than `limit` digests is a ConfigError. `types` are the columns as they are
    read now: where `known` was made of others, rows up to `reached`, the last cursor delivered, are compared as those.
    """

    known: Boundary = field(default_factory=Boundary)
    lower: Cursor | None = None
    keep_from: Cursor | None = None
    limit: int = 100_000
    types: Mapping[str, str] = field(default_factory=dict)
    reached: Cursor | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What happens to rows on the way, in this order: boundary, transform, added columns, names, casts.

    `schema` is what the writer is given. `dedup_columns` name columns as they leave the transform. `ingested_at` is
    None where the destination fills the column itself. `renames` maps source names to destination names; added columns
    keep their own. `order_column` asks for the batch's cursors as a column of that name.
    """

    schema: TableSchema
    boundary: BoundaryRule | None = None
    dedup_columns: tuple[str, ...] = ()
    id_column: str = "mkpipe_id"
    ingested_at: tuple[str, datetime] | None = None
    renames: Mapping[str, str] = field(default_factory=dict)
    order_column: str | None = None
    digest: bool = True
    on_bad_value: str = "fail"  # or "quarantine"


@dataclass(frozen=True, slots=True)
class Tally:
    """Row counts of one move: read = deduplicated_in + given; returned by the transform = written + quarantined.

    `unrecognised` names columns that changed at the source such that rows given on may have been delivered before.
    Rows that the source set aside go round the transform, and count as given and returned.
    """

    read: int = 0
    deduplicated_in: int = 0
    given: int = 0
    returned: int = 0
    written: int = 0
    quarantined: int = 0
    size_bytes: int = 0
    reached: Cursor | None = None
    boundary: Boundary | None = None
    digest: str | None = None
    unrecognised: tuple[str, ...] = ()
