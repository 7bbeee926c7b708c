"""The same project on both engines leaves equal tables: every type, every frame, the hashes of `dedup_columns`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest

from penstock.pipeline.results import RunOptions
from penstock.schema.types import decimal_of
from tests.engines.spark.lab import Lab, make_lab
from tests.pages import systems
from tests.pages.moves import SYSTEMS, TABLE, Journey, declared, numbered, stream_of
from tests.pages.torture import Column

pytestmark = pytest.mark.feature("M9")


@dataclass
class ShortJourney(Journey):
    """Without the second run, which asks of each column of a refused table whether it was the one."""

    refused: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def go_one_by_one(self, broken: Mapping[str, Sequence[str]]) -> None:
        self.refused = {source: sorted(destinations) for source, destinations in broken.items()}


@pytest.mark.postgres
@pytest.mark.feature("N3")
def test_every_value_of_every_type_arrives_on_spark_as_on_arrow(
    tmp_path: Path, postgres_url: str, postgres_module_url: str, spark: object
) -> None:
    arrow = ShortJourney(make_folder(tmp_path / "arrow"), postgres_url)
    other = ShortJourney(make_folder(tmp_path / "spark"), postgres_module_url, options=RunOptions(spark=spark))
    assert arrow.go() == other.go()
    assert arrow.refused == other.refused


SAME = "def f(df: 'pyspark.sql.DataFrame'):\n    return df\n"


@dataclass
class FramedJourney(Journey):
    """Through a PySpark transform that returns what it is given, into DuckDB, without what Spark has no type for."""

    def go_through_frames(self) -> int:
        """How many columns arrived. Raises AssertionError naming every value that is another one now."""
        (self.folder / "same.py").write_text(SAME)
        kept = {source: self.fill(source) for source in SYSTEMS}
        pipelines = self.pipelines({source: [TABLE] for source in SYSTEMS}, {source: ["duckdb"] for source in SYSTEMS})
        for pipeline in pipelines:
            for table in pipeline["tables"]:
                source = str(pipeline["name"]).partition("_to_")[0]
                table |= {"name": stream_of(source, KEPT), "target_name": f"from_{source}_{KEPT}"}
                table |= {"transform": "same.py::f", "columns": declared(kept[source])}
        assert not self.failed(self.run(pipelines))
        for source, columns in kept.items():
            self.compare(source, "duckdb", KEPT, columns)
        assert not self.wrong, "\n".join(self.wrong)
        return sum(map(len, kept.values()))

    def fill(self, source: str) -> dict[str, Column]:
        columns = numbered(source)
        systems.fill(source, TABLE, columns, folder=self.folder, url=self.url)
        kinds = {f.name: f.type for f in self.read(self.source(source), stream_of(source, TABLE), source).schema.fields}
        kept = {name: column for name, column in columns.items() if not is_beyond_spark(kinds[name])}
        systems.fill(source, KEPT, kept, folder=self.folder, url=self.url)
        return kept


KEPT = f"{TABLE}_kept"


def is_beyond_spark(kind: str) -> bool:
    digits = decimal_of(kind)
    return (kind.startswith(("time64", "time", "interval", "duration")) and not kind.startswith("timestamp")) or (
        digits is not None and digits[0] > 38
    )


@pytest.mark.postgres
def test_every_value_passes_a_pyspark_transform_whatever_the_sessions_zone(
    tmp_path: Path, postgres_url: str, classic_spark: Any
) -> None:
    before = classic_spark.conf.get("spark.sql.session.timeZone")
    classic_spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        journey = FramedJourney(tmp_path, postgres_url, options=RunOptions(spark=classic_spark))
        assert journey.go_through_frames() > 140
    finally:
        classic_spark.conf.set("spark.sql.session.timeZone", before)


def make_folder(path: Path) -> Path:
    path.mkdir()
    return path


FRAMES = {
    "duckdb": 'def f(df: "duckdb.DuckDBPyRelation"):\n'
    '    return df.project("*, upper(note) AS loud").filter("id <> 7")',
    "polars": 'import polars as pl\ndef f(df: "pl.DataFrame"):\n'
    '    return df.filter(pl.col("id") != 7).with_columns(loud=pl.col("note").str.to_uppercase())',
    "polars_lazy": 'import polars as pl\ndef f(df: "pl.LazyFrame"):\n'
    '    return df.filter(pl.col("id") != 7).with_columns(loud=pl.col("note").str.to_uppercase())',
    "pandas": 'def f(df: "pandas.DataFrame"):\n    return df[df.id != 7].assign(loud=lambda d: d.note.str.upper())',
    "arrow": 'import pyarrow.compute as pc\ndef f(df: "pyarrow.Table"):\n'
    '    df = df.filter(pc.field("id") != 7)\n    return df.append_column("loud", pc.utf8_upper(df["note"]))',
    "batch": 'import pyarrow.compute as pc\nimport beside\ndef f(df: "pyarrow.RecordBatch"):\n'
    '    df = df.filter(pc.field("id") != beside.LEFT_OUT)\n'
    '    return df.append_column("loud", pc.utf8_upper(df["note"]))',
    "context": 'import pyarrow as pa\ndef f(df: "pyarrow.Table", ctx):\n'
    '    return df.append_column("loud", pa.array([f"{ctx.table} {ctx.target}"] * df.num_rows, pa.string()))',
    "whole": 'import penstock\n@penstock.transform(scope="table")\ndef f(df: "duckdb.DuckDBPyRelation"):\n'
    '    return df.aggregate("stamp, count(*) AS n, max(id) AS id, max(note) AS note, max(ratio) AS ratio")',
    "keyed": 'import penstock\n@penstock.transform(scope="keys", keys=["stamp"])\ndef f(df: "pyarrow.Table"):\n'
    '    kept = df.group_by("stamp").aggregate([("id", "max"), ("note", "max"), ("ratio", "sum")])\n'
    '    return kept.rename_columns(["stamp", "id", "note", "ratio"])',
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_transform_of_each_frame_makes_the_same_rows(name: str, tmp_path: Path, spark: object) -> None:
    tables = [{"target_name": "copy", "transform": "steps/t.py::f"}]
    found = []
    for folder, session in (("arrow", None), ("spark", spark)):
        lab = make_lab(tmp_path / folder, tables)
        write_transform(lab, FRAMES[name])
        result = lab.run(session)
        assert not result.errors, result.errors
        found.append((contents(lab), [(t.rows_read, t.rows_written) for t in result.tables]))
    assert found[0] == found[1]


@pytest.mark.postgres
@pytest.mark.feature("M8")
def test_sql_runs_in_tasks_row_by_row_and_whole_in_this_process(
    tmp_path: Path, postgres_url: str, spark: object
) -> None:
    tables: list[dict[str, Any]] = [
        {
            "target_name": "copy",
            "transform_sql": "SELECT id, upper(note) AS note, stamp, ratio FROM input WHERE id > 2",
        },
        {"target_name": "counted", "transform_sql": "SELECT stamp, count(*) AS n FROM input GROUP BY ALL"},
        {"target_name": "hashed", "dedup_columns": ["id", "note", "ratio"]},
        {"target_name": "named", "column_name_case": "upper"},
    ]
    found = []
    for folder, session in (("arrow", None), ("spark", spark)):
        lab = make_lab(tmp_path / folder, tables, source="postgres", url=postgres_url)
        result = lab.run(session)
        assert not result.errors, result.errors
        found.append([contents(lab, str(table["target_name"])) for table in tables])
    assert found[0] == found[1]


def test_the_text_of_a_transform_travels_where_the_disk_is_not_shared(
    tmp_path: Path, spark: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penstock.engines.spark.engine import SparkEngine
    from penstock.engines.spark.transform import TravellingTransform

    seen = []

    def far_away(self: SparkEngine, reference: str, base_dir: str, **options: Any) -> TravellingTransform:
        loaded: Any = self._local.load_transform(reference, base_dir, **options)
        made = TravellingTransform.of_function(loaded, (reference, base_dir, None), shares_disk=False)
        seen.append(made.origin)
        return made

    monkeypatch.setattr(SparkEngine, "load_transform", far_away)
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy", "transform": "steps/t.py::f"}])
    write_transform(lab, FRAMES["batch"])
    project = lab.open()
    steps_folder = lab.folder / "steps"
    original = project.steps

    def then_gone(*arguments: Any) -> Any:
        found = original(*arguments)
        steps_folder.rename(lab.folder / "elsewhere")
        return found

    monkeypatch.setattr(project, "steps", then_gone)
    result = project.run(options=RunOptions(spark=spark))
    assert not result.errors, result.errors
    assert sorted(seen[0].sources or ()) == ["steps/beside.py", "steps/t.py"]
    assert len(contents(lab)[1]) == 19


def write_transform(lab: Lab, text: str) -> None:
    (lab.folder / "steps").mkdir()
    (lab.folder / "steps" / "beside.py").write_text("LEFT_OUT = 7\n")
    (lab.folder / "steps" / "t.py").write_text(text + "\n")


def contents(lab: Lab, table: str = "copy") -> tuple[list[Any], list[str]]:
    """Columns with their types, and the rows in an order of their own, without the time of the load."""
    with duckdb.connect(str(lab.folder / "target.duckdb")) as link:
        columns = link.execute(f"DESCRIBE {table}").fetchall()
        kept = ", ".join(f'"{name}"' for name, *_ in columns if name != "_ingested_at")
        return columns, sorted(map(repr, link.execute(f"SELECT {kept} FROM {table}").fetchall()))
