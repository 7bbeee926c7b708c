"""A connection that is closed while another thread is inside a statement: SQLite itself would crash the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WRITING = """
import os
import pyarrow as pa
from penstock.connectors.sqlite.link import SqliteLink
from penstock.values import Field, TableName, TableSchema
link = SqliteLink(os.path.abspath("here.db"), writes=True)
link.execute("CREATE TABLE t (id INTEGER)")
link.begin()
rows = pa.record_batch({"id": pa.array(range(600_000), pa.int64())})
schema = TableSchema((Field("id", "int64"),))
def work():
    link.copy_in(TableName(None, "t"), schema, iter([rows]))
"""
READING = """
import os
from penstock.connectors.sqlite.snapshot import SqliteSnapshot
open("here.db", "w").close()
link = SqliteSnapshot(os.path.abspath("here.db"))
def work():
    numbers = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 50000000)"
    link.query(f"{numbers} SELECT count(*) FROM c")
"""
CLOSING = """
import threading
inside = threading.Event()
link._connection.set_progress_handler(inside.set, 1_000)  # SQLite itself says that a statement is under way
def guarded():
    try:
        work()
    except Exception:
        pass
thread = threading.Thread(target=guarded)
thread.start()
if not inside.wait(20):
    print("never inside a statement")
link.close()
link.close()
thread.join(20)
print("ended", thread.is_alive())
"""


@pytest.mark.feature("N2")
@pytest.mark.parametrize("work", [WRITING, READING], ids=["writing", "reading"])
def test_closing_under_a_statement_in_another_thread_ends_it_and_not_the_process(work: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", work + CLOSING], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "ended False\n"), done.stderr
