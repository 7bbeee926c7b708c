"""Sparks of other makers: their versions are read, and one that is too old is refused before anything is moved."""

from __future__ import annotations

from pathlib import Path

import pyspark
import pytest

from tests.engines.spark.lab import INCREMENTAL, make_lab

pytestmark = pytest.mark.feature("M9")


@pytest.mark.parametrize("version", ["3.3.4-amzn-1", "3.4.1", "2.4"])
def test_a_session_of_a_spark_that_is_too_old_is_refused(
    version: str, tmp_path: Path, spark: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy", **INCREMENTAL}])
    monkeypatch.setattr(pyspark, "__version__", version)
    [error] = lab.run(spark).errors.values()
    assert f"pyspark {version} is too old for the spark engine" in str(error)
    assert "fix: use 3.5 or later" in str(error)
    assert error.exit_code == 2
    assert lab.rows() is None


@pytest.mark.parametrize("version", ["3.5.4-amzn-0", "4.0-next", "4.1.0.dev3", "10.0.0"])
def test_a_version_that_its_maker_has_added_to_is_read(
    version: str, tmp_path: Path, spark: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(tmp_path / "lab", [{"target_name": "copy", **INCREMENTAL}])
    monkeypatch.setattr(pyspark, "__version__", version)
    monkeypatch.setattr(spark, "version", version)
    result = lab.run(spark)
    assert not result.errors, result.errors
    assert lab.rows() == lab.source.rows("rows")
