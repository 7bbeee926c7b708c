"""What a PySpark transform may not do without a JVM, told with its line before anything is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from penstock.engines.spark.sail.lint import Finding, lint
from penstock.errors import ConfigError
from penstock.testing.project import ProjectFolder
from tests.engines.spark.lab import make_lab
from tests.engines.spark.test_frames import KEEPS, lab_with
from tests.engines.spark.test_golden import write_transform

pytestmark = pytest.mark.feature("M9")

REFUSED = {
    "df.rdd.map(str)": ".rdd",
    "df.sparkSession.sparkContext.parallelize([])": ".sparkContext",
    "df.observe('o', F.count('*'))": ".observe",
    "df.approxQuantile('id', [0.5], 0)": ".approxQuantile",
    "df.stat.approxQuantile('id', [0.5], 0)": ".approxQuantile",
    "df.withColumn('f', F.input_file_name())": ".input_file_name",
    "df.withColumn('f', input_file_name())": "input_file_name",
    "df.selectExpr('input_file_name() AS f')": "input_file_name",
    "df.select('_metadata.file_path')": "_metadata",
    "df.sparkSession.readStream.format('rate')": ".readStream",
    "df.writeStream.start()": ".writeStream",
    "DeltaTable.forPath(df.sparkSession, 'x')": "DeltaTable",
    "df.write.parquet('x')": ".write",
    "df.writeTo('x').append()": ".writeTo",
    "df.write.saveAsTable('x')": ".saveAsTable",
    "df.checkpoint()": ".checkpoint",
    "df.localCheckpoint()": ".localCheckpoint",
    "df.foreachPartition(print)": ".foreachPartition",
    "df.withWatermark('t', '1 hour')": ".withWatermark",
    "df.sparkSession.sql('INSERT INTO t VALUES (1)')": "sql(INSERT ...)",
    "df.sparkSession.sql(f'create or replace table {1} (a int)')": "sql(CREATE ...)",
    "df.sparkSession.sql('OPTIMIZE t')": "sql(OPTIMIZE ...)",
    "df.select(F.rint('a'))": ".rint",
    "df.select(bround('a'))": "bround",
    "df.selectExpr('1 + timestamp_seconds(a)')": "timestamp_seconds",
}
ALLOWED = (
    "df.sparkSession.sql('SELECT 1 AS written')",
    "df.sparkSession.sql('CREATE OR REPLACE TEMP VIEW v AS SELECT 1')",
    "open('log').write('x')",
    "df.select('metadata', 'my_metadata', 'write', 'update')",
    "df.withColumnRenamed('a', 'rdd')",
    "df.selectExpr('print(a)', 'rint')",
)


@pytest.mark.parametrize("expression", REFUSED)
def test_a_construct_that_sail_lacks_is_found_in_its_line(expression: str) -> None:
    found = lint(f"def f(df):\n    x = 1\n    y = {expression}\n    return df\n".encode(), 1)
    assert Finding(REFUSED[expression], 3) in found


@pytest.mark.parametrize("expression", ALLOWED)
def test_what_sail_has_is_let_through(expression: str) -> None:
    assert lint(f"def f(df):\n    y = {expression}\n    return df\n".encode(), 1) == []


def test_functions_that_the_transform_calls_are_looked_at_and_no_others() -> None:
    text = b"""
def unused(df):
    return df.rdd

def deeper(df):
    return (
        df.where("a")
        .observe("o")
    )

def helper(df):
    return deeper(df)

@decorated
def f(df):
    return helper(df)
"""
    assert lint(text, 14) == [Finding(".observe", 8)]


def test_a_lambda_is_looked_at() -> None:
    assert lint(b"f = lambda df: df.rdd\n", 1) == [Finding(".rdd", 1)]


def test_a_transform_that_another_file_holds_is_looked_at_there(tmp_path: Path) -> None:
    lab = lab_with("from held import f\n", tmp_path / "lab", "sqlite")
    (lab.folder / "steps" / "held.py").write_text("\n\ndef f(df: 'pyspark.sql.DataFrame'):\n    return df.rdd.toDF()\n")
    with pytest.raises(ConfigError, match=r"uses \.rdd \(line 4\)[^$]*held\.py:4"):
        lab.open().plan()


@pytest.mark.parametrize("command", [("check",), ("plan",), ("run",)], ids=lambda command: command[0])
def test_every_command_names_the_construct_its_line_and_the_way_out(command: tuple[str], tmp_path: Path) -> None:
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy", "transform": "steps/t.py::f"}])
    write_transform(lab, "def f(df):\n    df.cache()\n    return df.rdd.toDF()")
    lab.write()
    ended = ProjectFolder(lab.folder).run(*command)
    assert ended.exit_code == 2, ended.said
    assert "uses .rdd (line 3)" in ended.said
    assert f"{lab.folder}/steps/t.py:3" in ended.said
    assert "engine: spark" in ended.said
    assert lab.rows() is None


def test_the_spark_engine_takes_what_sail_lacks(tmp_path: Path) -> None:
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy", "transform": "steps/t.py::f"}])
    write_transform(lab, "def f(df):\n    return df.rdd.toDF()")
    lab.settings = {"engine": "spark"}
    assert lab.open().plan()


def test_without_pysail_the_install_line_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pysail", None)
    lab = lab_with(KEEPS, tmp_path / "lab", "sqlite")
    with pytest.raises(ConfigError, match=r"pip install 'penstock\[pyspark\]', or use engine: spark"):
        lab.open().plan()


WITHOUT_PYSPARK = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "pyspark":
            raise ModuleNotFoundError("No module named 'pyspark'", name=name)

sys.meta_path.insert(0, Missing())
sys.argv = ["penstock", "plan"]
from penstock.__main__ import start
sys.exit(start())
"""


def test_without_pyspark_the_install_line_is_told(tmp_path: Path) -> None:
    lab = lab_with(KEEPS, tmp_path / "lab", "sqlite")
    lab.write()
    command = [sys.executable, "-c", WITHOUT_PYSPARK]
    ended = subprocess.run(command, cwd=lab.folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended
    assert "pip install 'penstock[pyspark]'" in ended.stderr


def test_a_version_of_pyspark_that_sail_refuses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = tmp_path / "site" / "pyspark_client-4.3.0.dist-info"
    newer.mkdir(parents=True)
    (newer / "METADATA").write_text("Metadata-Version: 2.1\nName: pyspark-client\nVersion: 4.3.0\n")
    monkeypatch.syspath_prepend(newer.parent)
    lab = lab_with(KEEPS, tmp_path / "lab", "sqlite")
    with pytest.raises(ConfigError, match=r"Sail does not take pyspark 4\.3\.0"):
        lab.open().plan()
