"""On a cluster, whose executors share nothing with the driver but the network: arrow's tables, or a clear refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.testing.project import Ended, ProjectFolder
from tests.engines.spark.cluster import Cluster
from tests.engines.spark.conftest import CHEAP
from tests.engines.spark.lab import INCREMENTAL, Lab, make_lab

pytestmark = [
    pytest.mark.feature("M9"),
    pytest.mark.postgres,
    pytest.mark.faults,  # a JVM for the master, and one for each driver, worker and executor
    pytest.mark.timeout(600),
]

REPLACE = {
    "target_name": "copy",
    "write_strategy": "replace",
    "partitions_column": "id",
    "partitions_count": 3,
    "write_partitions": 3,
}
UPSERT = {"target_name": "copy", **INCREMENTAL, "write_strategy": "upsert", "write_key": ["id"]}


def settings_for(cluster: Cluster) -> dict[str, Any]:
    spark = {"master": cluster.master, "executor_memory": "512m", "extra_config": CHEAP}
    return {"engine": "spark", "spark": spark}


def run(lab: Lab) -> Ended:
    """In a process of its own, whose session nobody else shares."""
    lab.write()
    return ProjectFolder(lab.folder).run("run", timeout_seconds=400)


@pytest.mark.parametrize("table", [REPLACE, UPSERT], ids=["replace", "upsert"])
def test_two_rounds_on_a_cluster_leave_what_arrow_leaves(
    table: dict[str, Any], cluster: Cluster, tmp_path: Path, postgres_url: str
) -> None:
    left = []
    for engine, settings in (("arrow", {}), ("spark", settings_for(cluster))):
        lab = make_lab(
            tmp_path / engine, [table], source="postgres", destination="postgres", url=postgres_url, settings=settings
        )
        for changed in ((), ((3, 30, "changed"), (41, 41, None))):
            if changed:
                lab.fill(*changed)
            done = run(lab)
            assert done.exit_code == 0, done.said
        assert lab.destination.litter() == []
        assert lab.rows() == lab.source.rows("rows")
        left.append(lab.rows())
    assert left[0] == left[1]


@pytest.mark.parametrize("destination", ["sqlite", "duckdb", "file"])
def test_what_would_need_the_drivers_disk_is_refused_before_anything_is_written(
    destination: Any, cluster: Cluster, tmp_path: Path, postgres_url: str
) -> None:
    lab = make_lab(
        tmp_path / "lab",
        [REPLACE],
        source="postgres",
        destination=destination,
        url=postgres_url,
        settings=settings_for(cluster),
    )
    done = run(lab)
    assert done.exit_code == 2, done.said
    assert "the executors are on others" in done.stderr
    assert "use a master of this machine (local[*])" in done.stderr
    assert not lab.rows()
