"""What `plan` says of wishes that a source or a destination has no use for."""

from __future__ import annotations

from pathlib import Path

import pytest

import penstock
from tests.pipeline.conftest import Shop

WISHES = (
    "- {name: orders, target_name: orders, partitions_column: id, partitions_count: 4, "
    "partition_by: [item], write_partitions: 3}"
)


@pytest.mark.feature("M4")
def test_a_wish_without_effect_is_a_note_of_the_plan(shop: Shop) -> None:
    (table,) = penstock.plan(shop.write(WISHES)).tables
    assert table.notes[-3:] == (
        "partitions_column, partitions_count: no effect, shop cuts its reads itself",
        "partition_by: no effect, target holds tables and no folders",
        "write_partitions: no effect, target has one writer",
    )


@pytest.mark.feature("M3")
@pytest.mark.parametrize(
    ("lookback", "note"),
    [
        ("", "rows stamped below the last cursor and committed later are missed: set lookback to cover them"),
        (", lookback: 3", "rows stamped further below the last cursor than lookback and committed later are missed"),
        (", lookback: all", None),
    ],
)
def test_what_a_read_by_cursor_misses_is_a_note_of_the_plan(shop: Shop, lookback: str, note: str | None) -> None:
    table = "- {name: orders, target_name: orders, replication_method: incremental, iterate_column: at"
    (planned,) = penstock.plan(shop.write(f"{table}{lookback}}}")).tables
    assert [n for n in planned.notes if "missed" in n] == ([note] if note else [])


@pytest.mark.feature("M6")
def test_a_view_where_there_are_none_is_refused_before_anything_moves(shop: Shop) -> None:
    file = shop.write("- {name: orders, target_name: orders, dedup_columns: [id], latest_view: true}")
    lake = "target: {variant: file, extra: {path: lake}}"
    file.write_text(file.read_text().replace("target: {variant: sqlite, database: target.db}", lake))
    with pytest.raises(penstock.ConfigError, match="latest_view is not possible at this destination"):
        penstock.run(file)
    assert not Path(shop.folder, "lake", "orders").exists()


@pytest.mark.feature("M7")
def test_an_error_of_a_transform_names_file_line_and_table(shop: Shop) -> None:
    code = "import polars as pl\ndef broken(df: pl.DataFrame) -> pl.DataFrame:\n    return 1 / 0\n"
    (shop.folder / "rows.py").write_text(code)
    project = shop.write('- {name: orders, target_name: orders, transform: "rows.py::broken"}')
    (table,) = penstock.plan(project).tables
    assert table.error is not None
    assert "rows.py:3, in broken, table 'orders' (" in table.error
    with pytest.raises(penstock.TransformError, match=r"(?s)rows\.py:3.*table 'orders' \("):
        penstock.run(project)
