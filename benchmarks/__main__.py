"""`make bench`: interleaved, the minimum of five, ratios to limits measured in the same run, process start included.

One benchmark at a time on a machine. `--rows`, `--runs` and case names narrow it down; the full table is written to
docs/reference/benchmarks.md. Cases measured by themselves, with the rows and runs of the full table, take the place of
their lines there.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cases import Case, UpsertCase, arrow_cases, beside_cases, csv_case, parquet_case, relay_case, sail_case
from benchmarks.life import life_figures
from benchmarks.measure import Reading, interleave
from benchmarks.projects import OUT
from benchmarks.servers import database_url, fetch_value, make_database, make_orders
from benchmarks.small import small_figures
from benchmarks.spark import spark_figures

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "benchmarks.md"
BIG = ("relay", "arrow", "sail", "beside", "parquet", "csv", "upsert")
FULL_ROWS, FULL_RUNS = 5_000_000, 5
HEADS = ("", "| what", "| ---")
Row = tuple[str, ...]


def main(arguments: Sequence[str]) -> int:
    wishes = _parse(arguments)
    load_before = os.getloadavg()[0]
    with _alone():
        OUT.mkdir(exist_ok=True)
        make_database("bench_source")
        make_database("bench_target")
        rows: list[Row] = []
        if not wishes.only or set(wishes.only) & {*BIG, "life", "spark"}:
            rows = _big(wishes)
        small = life_figures(wishes.rows, wishes.runs) if not wishes.only or "life" in wishes.only else []
        small += small_figures(wishes.runs) if not wishes.only or "small" in wishes.only else []
        small += spark_figures(wishes.runs) if not wishes.only or "spark" in wishes.only else []
    text = _page(wishes, load_before, rows, small)
    print(text)
    if wishes.rows >= FULL_ROWS and wishes.runs >= FULL_RUNS:
        PAGE.write_text(_renewed(PAGE.read_text(), text) if wishes.only else text)
    return 0 if all(row[-1] != "no" for row in [*rows, *small]) else 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--rows", type=int, default=FULL_ROWS)
    parser.add_argument("--runs", type=int, default=FULL_RUNS)
    parser.add_argument("only", nargs="*", help=", ".join((*BIG, "life", "spark", "small")))
    return parser.parse_args(arguments)


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the machine-wide lock: two benchmarks at once would measure each other."""
    with (Path(tempfile.gettempdir()) / "penstock-bench.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _big(wishes: argparse.Namespace) -> list[Row]:
    make_orders("bench_source", wishes.rows)
    found: list[Row] = []
    for name, case in _cases(wishes):
        print(f"measuring {name}: {case.name}", file=sys.stderr, flush=True)
        runs = min(wishes.runs, case.runs or wishes.runs)
        readings = interleave(runs, {"limit": case.limit, "subject": case.subject}, case.between)
        found.append(_row(case, readings["limit"], readings["subject"]))
        print(" | ".join(found[-1]), file=sys.stderr, flush=True)
    return found


def _cases(wishes: argparse.Namespace) -> Iterator[tuple[str, Case]]:
    def wanted(name: str) -> bool:
        return not wishes.only or name in wishes.only

    if wanted("relay"):
        yield "relay", relay_case()
    if wanted("arrow"):
        yield from (("arrow", case) for case in arrow_cases())
    if wanted("sail"):
        yield "sail", sail_case()
    if wanted("beside"):
        yield from (("beside", case) for case in beside_cases())
    if wanted("parquet"):
        yield "parquet", parquet_case()
    if wanted("csv"):
        _write_csv()
        yield "csv", csv_case()
    if wanted("upsert"):
        upsert = UpsertCase(wishes.rows)
        upsert.prepare()
        yield "upsert", upsert.case()


def _write_csv() -> None:
    import subprocess

    with (OUT / "orders.csv").open("wb") as file:
        command = ["psql", "-q", database_url("bench_source"), "-c", "COPY orders TO STDOUT (FORMAT csv, HEADER)"]
        subprocess.run(command, stdout=file, check=True)


def _row(case: Case, limit: Reading, subject: Reading) -> Row:
    ratio = subject.wall_seconds / limit.wall_seconds
    fits = case.most_bytes is None or subject.peak_bytes <= case.most_bytes
    holds = "-" if case.most is None else "yes" if ratio <= case.most and fits else "no"
    return (
        case.name,
        case.limit_name,
        f"{limit.wall_seconds:.2f}",
        f"{subject.wall_seconds:.2f}",
        f"{ratio:.2f}",
        "-" if case.most is None else f"{case.most:.2f}",
        f"{subject.cpu_seconds:.1f}",
        f"{subject.peak_bytes >> 20}",
        holds,
    )


def _page(wishes: argparse.Namespace, load_before: float, big: list[Row], small: list[Row]) -> str:
    version = fetch_value(database_url("bench_source"), "SHOW server_version")
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench`: {wishes.rows:,} rows x 12 columns, best of {wishes.runs}, interleaved with the "
        f"limit in the same run; process start, ledger and count check included. PostgreSQL {version}, Python "
        f"{platform.python_version()}, {platform.machine()}, both ends on one machine of {os.cpu_count()} cores; load "
        f"average when the run began: {load_before:.1f}. CPU and memory are the client process's. "
        "Lines of a part that was measured again by itself are of that later run.",
        "",
        "| what | limit | limit s | s | ratio | at most | CPU s | MB | holds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *("| " + " | ".join(row) + " |" for row in big),
        "",
        "| what | measured | at most | holds |",
        "| --- | --- | --- | --- |",
        *("| " + " | ".join(row) + " |" for row in small),
        "",
    ]
    return "\n".join(lines)


def _renewed(page: str, measured: str) -> str:
    """The page with the lines that were measured anew; each is known by its first cell, new ones end their table."""
    new = {_first_cell(line): line for line in measured.splitlines() if _first_cell(line) not in HEADS}
    lines = [new.pop(_first_cell(line), line) for line in page.splitlines()]
    for line in new.values():
        last = max(at for at, other in enumerate(lines) if other.count(" | ") == line.count(" | ") and other[:1] == "|")
        lines.insert(last + 1, line)
    return "\n".join(lines) + "\n"


def _first_cell(line: str) -> str:
    return line.split(" | ", 1)[0] if line.startswith("| ") else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
