"""The columns of `<target>__quarantine`: which rows were set aside, why, and where they stood."""

from __future__ import annotations

from penstock.values import Field, TableSchema

QUARANTINE_SCHEMA = TableSchema(
    (
        Field("_penstock_rule", "string", nullable=False),
        Field("_penstock_position", "int64", nullable=False),
        Field("row", "json", nullable=False),
    )
)
