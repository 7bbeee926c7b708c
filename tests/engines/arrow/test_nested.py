"""Nested columns on their way to destinations that have none."""

from __future__ import annotations

import pyarrow as pa

from penstock.engines.arrow.types import fit_rows
from penstock.values import Field, TableSchema


def test_lists_and_structs_become_json_text() -> None:
    rows = pa.RecordBatch.from_pydict({"tags": [["x", None], None, []], "at": [{"lat": 1.5}, None, {"lat": None}]})
    fitted = fit_rows(rows, TableSchema((Field("tags", "json"), Field("at", "json")))).rows
    assert fitted.column("tags").to_pylist() == ['["x", null]', None, "[]"]
    assert fitted.column("at").to_pylist() == ['{"lat": 1.5}', None, '{"lat": null}']
