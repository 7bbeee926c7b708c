"""Columns added on the way: the id of a row's content, and the time of its load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.engines.arrow.text import to_spark_text
from penstock.engines.arrow.xxhash import SEED, hash_column
from penstock.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from penstock.values import Shape


def content_ids(rows: pa.RecordBatch, columns: Sequence[str]) -> pa.Array:
    """Spark's `xxhash64` chained over `coalesce(cast(column as string), '')` of each column, as int64.

    NULL and '' hash alike, as they do there. Raises ConfigError for a column the rows do not have.
    """
    import numpy as np
    import pyarrow as pa

    hashes = np.full(rows.num_rows, SEED, np.uint64)
    for name in columns:
        if name not in rows.schema.names:
            raise ConfigError(
                f"dedup_columns names {name!r}, which the rows do not have",
                fix=f"name any of: {', '.join(rows.schema.names)}",
            )
        column = rows.column(name)
        if pa.types.is_null(column.type):
            column = pa.nulls(rows.num_rows, pa.string())
        hashes = hash_column(to_spark_text(column, name), hashes)
    return pa.array(hashes.view(np.int64))


def with_added(rows: pa.RecordBatch, shape: Shape) -> pa.RecordBatch:
    """Rename the columns, then add the id and the load's time; a column in their place is replaced."""
    import pyarrow as pa

    added: dict[str, pa.Array] = {}
    if shape.dedup_columns:
        added[shape.id_column] = content_ids(rows, shape.dedup_columns)
    if shape.ingested_at is not None:
        name, moment = shape.ingested_at
        added[name] = pa.repeat(pa.scalar(moment, pa.timestamp("us", "UTC")), rows.num_rows)
    named = {shape.renames.get(f.name, f.name): (f, rows.column(i)) for i, f in enumerate(rows.schema)}
    kept = {name: pair for name, pair in named.items() if name not in added}
    fields = [field.with_name(name) for name, (field, _) in kept.items()]
    fields += [pa.field(name, column.type) for name, column in added.items()]
    columns = [column for _, column in kept.values()] + list(added.values())
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields)) if fields else rows
