"""The project of an orchestrator's example, in a folder of its own, with trouble where a test wants it."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb

from tests.environments import ROOT

AIRPORTS = "iata,name,country\nOSL,Gardermoen,NO\nBGO,Flesland,NO\nKIX,Kansai,JP\n"
# Counts its calls beside itself; the first fails in a way that another attempt may cure, or none can.
TROUBLE = """
import pathlib
import duckdb
import penstock

@penstock.transform(scope="table")
def by_country(df: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    calls = pathlib.Path(__file__).with_name("calls")
    with calls.open("a") as file:
        file.write("x")
    if calls.read_text() == "x" or {always}:
        raise {error}
    return df.aggregate("country, count(*) AS airports", "country")
"""
PASSING = TROUBLE.format(error='penstock.ExtractionError("the network was gone", fault="transient")', always=False)
LASTING = TROUBLE.format(error='ValueError("row 4711 is wrong")', always=True)


def copied_example(name: str, folder: Path, transforms: str | None = None) -> Path:
    """The example's folder, whose airports are three."""
    copy = folder / name
    shutil.copytree(ROOT / "examples" / name, copy, ignore=shutil.ignore_patterns("out", "__pycache__"))
    (folder / "data").mkdir()
    (folder / "data" / "airports.csv").write_text(AIRPORTS)
    if transforms is not None:
        (copy / "transforms.py").write_text(transforms)
        project = copy / "penstock.yaml"
        project.write_text(project.read_text().replace("settings:\n", "settings:\n    retries: 0\n", 1))
    return copy


def calls_of(copy: Path) -> int:
    return len((copy / "calls").read_text())


def lake_of(copy: Path) -> dict[str, list[tuple[object, ...]]]:
    """The rows of every table that is there, without the times of the loads."""
    tables = sorted((copy / "out" / "lake").glob("*/_penstock/manifest.json"))
    return {
        table.parts[-3]: duckdb.sql(
            f"SELECT * EXCLUDE (_ingested_at) FROM '{table.parents[1]}/*.parquet' ORDER BY ALL"
        ).fetchall()
        for table in tables
    }


WHOLE = {
    "airports": [("BGO", "Flesland", "NO"), ("KIX", "Kansai", "JP"), ("OSL", "Gardermoen", "NO")],
    "countries": [("JP", 1), ("NO", 2)],
}
