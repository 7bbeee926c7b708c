"""dlt on the same table, in an environment of its own under the cache folder: it is never a dependency."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.measure import Reading, measure
from benchmarks.servers import database_url

HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penstock-bench" / "dlt"
PACKAGES = ("dlt[postgres]", "sqlalchemy", "connectorx", "pyarrow", "numpy")
# its fastest way between two PostgreSQL servers: connectorx reads Arrow, csv files go in by COPY
PROGRAM = """
import sys
import dlt
from dlt.sources.sql_database import sql_table

source, target, folder = sys.argv[1:]
rows = sql_table(credentials=source.replace("postgresql:", "postgresql+psycopg2:"), table="orders", schema="public",
                 backend="connectorx", backend_kwargs={"conn": source, "protocol": "binary"})
pipeline = dlt.pipeline("bench", pipelines_dir=folder, dataset_name="public",
                        destination=dlt.destinations.postgres(target))
loaded = pipeline.run(rows, table_name="orders", write_disposition="replace", loader_file_format="csv")
loaded.raise_on_failed_jobs()
"""


def has_dlt() -> bool:
    """Make the environment where it is missing; without a way to the package index there is no row of dlt."""
    if (HOME / ".ready").exists():
        return True
    HOME.parent.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True)
        subprocess.run([str(HOME / "bin" / "pip"), "install", "--quiet", *PACKAGES], check=True)
    except subprocess.CalledProcessError as error:
        print(f"dlt is left out, it could not be installed: {error}", file=sys.stderr)
        return False
    (HOME / ".ready").touch()
    return True


def forget() -> None:
    """Drop what an earlier run remembered."""
    shutil.rmtree(HOME / "state", ignore_errors=True)


def run_dlt() -> Reading:
    source, target = database_url("bench_source"), database_url("bench_target")
    python = str(HOME / "bin" / "python")
    settings = {"RUNTIME__DLTHUB_TELEMETRY": "false"}
    if urlsplit(target).password is None:
        settings["CREDENTIALS__PASSWORD"] = "none"  # it insists on one; the server does not ask
    return measure([python, "-c", PROGRAM, source, target, str(HOME / "state")], env=settings)
