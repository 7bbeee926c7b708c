"""The golden suite on pyspark 3.5, in an environment of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.environments import ROOT, make_environment, run

GOLDEN = "tests/engines/spark/test_golden.py"


@pytest.mark.faults
@pytest.mark.postgres
@pytest.mark.timeout(1800)
@pytest.mark.feature("M9")
@pytest.mark.usefixtures("postgres_server")
def test_the_golden_suite_passes_on_pyspark_35(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "env", "pyspark==3.5.9", "pandas>=2.2", extras="all,test")
    version = run(python, "-c", "import pyspark; print(pyspark.__version__)", cwd=tmp_path)
    assert version.strip() == "3.5.9"
    # it brings no Connect server; warnings of a library this old about newer ones are no errors
    said = run(python, "-m", "pytest", "-q", "-W", "default", "-k", "not connect", GOLDEN, cwd=ROOT)
    assert " passed" in said
    assert "skipped" not in said
