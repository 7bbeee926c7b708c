"""dlt on the same table, in an environment of its own under the cache folder: it is never a dependency."""

from __future__ import annotations

import os
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


def prepare_dlt() -> None:
    """Make the environment where it is missing; drop what an earlier run remembered."""
    if not (HOME / ".ready").exists():
        HOME.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True)
        subprocess.run([str(HOME / "bin" / "pip"), "install", "--quiet", *PACKAGES], check=True)
        (HOME / ".ready").touch()
    subprocess.run(["rm", "-rf", str(HOME / "state")], check=True)


def run_dlt() -> Reading:
    source, target = database_url("bench_source"), database_url("bench_target")
    python = str(HOME / "bin" / "python")
    settings = {"RUNTIME__DLTHUB_TELEMETRY": "false"}
    if urlsplit(target).password is None:
        settings["CREDENTIALS__PASSWORD"] = "none"  # it insists on one; the server does not ask
    return measure([python, "-c", PROGRAM, source, target, str(HOME / "state")], env=settings)
