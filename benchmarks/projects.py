"""The projects the benchmark runs: one small YAML each, in a folder of its own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.measure import Reading, measure
from benchmarks.servers import connection_yaml

OUT = Path(__file__).resolve().parent / "out"
PENSTOCK = [sys.executable, "-m", "penstock"]


def write_project(name: str, table: Mapping[str, object], *, destination: Mapping[str, object] | None = None) -> Path:
    """A project of one pipeline from the database bench_source; by default to bench_target."""
    return write_tables(name, [table], destination=destination)


def write_tables(
    name: str,
    tables: list[Mapping[str, object]],
    *,
    source: Mapping[str, object] | None = None,
    destination: Mapping[str, object] | None = None,
) -> Path:
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    project = {
        "version": 2,
        "default_environment": "bench",
        "bench": {
            "connections": {
                "source": dict(source or connection_yaml("bench_source")),
                "target": dict(destination or connection_yaml("bench_target")),
            },
            "pipelines": [
                {"name": name, "source": "source", "destination": "target", "tables": [dict(t) for t in tables]}
            ],
        },
    }
    with (folder / "penstock.yaml").open("w") as file:
        YAML().dump(project, file)
    return folder


def run_project(folder: Path) -> Reading:
    """One `penstock run`, process start included."""
    return measure([*PENSTOCK, "run", "--quiet"], cwd=folder)
