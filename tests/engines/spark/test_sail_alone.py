"""The extra `pyspark` in an environment of its own: no Java, no pyspark but its client."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.spark.lab import make_lab
from tests.engines.spark.test_golden import contents, write_transform
from tests.environments import make_environment, run

TRANSFORM = """
from pyspark.sql import DataFrame, functions as F
from pyspark.sql.types import StringType

@F.udf(StringType())
def louder(text):
    return text and text.upper()

def f(df: DataFrame) -> DataFrame:
    return df.where(F.col("id") < 3).withColumn("loud", louder("note"))
"""


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.feature("M9")
def test_a_pyspark_transform_runs_where_there_is_no_java(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "env", extras="pyspark")
    installed = run(
        python, "-c", "from importlib import metadata as m; print(m.version('pyspark-client'))", cwd=tmp_path
    )
    assert installed.startswith("4.2.")
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy", "transform": "steps/t.py::f"}])
    write_transform(lab, TRANSFORM)
    lab.write()
    run(python, "-m", "penstock", "run", cwd=lab.folder, env={"PATH": "", "JAVA_HOME": str(tmp_path / "none")})
    assert [row[:4] for row in contents(lab)[1]] == ["(0, ", "(1, ", "(2, "]
    assert "'NOTE 2'" in contents(lab)[1][2]
