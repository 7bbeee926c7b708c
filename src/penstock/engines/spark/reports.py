"""What tasks tell the driver, as JSON: pieces and tallies, or an error; and what the driver makes of a failed job."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock import errors
from penstock.engines.spark.connect import lost_server
from penstock.errors import ConfigError, LoadError, PenstockError
from penstock.loading.digest import add_digests
from penstock.protocols import Moved
from penstock.values import Boundary, Cursor, Json, Piece, Tally
from penstock.values.wire import piece_from_json, piece_to_json

_MARK = "penstock task: "
_MARKED = re.compile(re.escape(_MARK) + r"(\{.*\})")
_COUNTS = ("read", "deduplicated_in", "given", "returned", "written", "quarantined", "size_bytes")
_LOST = (
    "Python worker exited",
    "Python worker failed to connect",
    "ExecutorLost",
    "executor lost",
    "FetchFailed",
    "Connection reset",
    "Broken pipe",
)


class TaskFailedError(Exception):
    """Raised in a task, where another attempt may help: its text is the error as JSON, and no row value is in it."""

    def __init__(self, error: PenstockError) -> None:
        super().__init__(_MARK + json.dumps(error_to_json(error)))


def moved_to_json(moved: Moved) -> dict[str, Json]:
    return {"pieces": [piece_to_json(piece) for piece in moved.pieces], "tally": tally_to_json(moved.tally)}


def pieces_of(report: Mapping[str, Any]) -> list[Piece]:
    return [piece_from_json(piece) for piece in report["pieces"]]


def tally_to_json(tally: Tally) -> dict[str, Json]:
    counts: dict[str, Json] = {name: getattr(tally, name) for name in _COUNTS}
    boundary = tally.boundary
    edge: dict[str, Json] | None = None
    if boundary is not None:
        edge = {"rows": dict(boundary.rows), "types": dict(boundary.types)}
    reached = tally.reached.to_json() if tally.reached is not None else None
    unrecognised: list[Json] = list(tally.unrecognised)
    return {**counts, "reached": reached, "boundary": edge, "digest": tally.digest, "unrecognised": unrecognised}


def tally_from_json(data: Mapping[str, Any]) -> Tally:
    counts: dict[str, Any] = {name: int(data[name]) for name in _COUNTS}
    reached, boundary = data["reached"], data["boundary"]
    return Tally(
        **counts,
        reached=Cursor.from_json(reached) if reached is not None else None,
        boundary=Boundary(**boundary) if boundary is not None else None,
        digest=data["digest"],
        unrecognised=tuple(data["unrecognised"]),
    )


def sum_tallies(tallies: Sequence[Tally]) -> Tally:
    """Of the tasks of one move. A boundary comes from one task at most: those moves are not shared out."""
    reached = [tally.reached for tally in tallies if tally.reached is not None]
    boundaries = [tally.boundary for tally in tallies if tally.boundary is not None]
    digests = [tally.digest for tally in tallies if tally.digest is not None]
    counts: dict[str, Any] = {name: sum(getattr(tally, name) for tally in tallies) for name in _COUNTS}
    return Tally(
        **counts,
        reached=max(reached, key=lambda cursor: cursor.value, default=None),
        boundary=boundaries[0] if boundaries else None,
        digest=_sum_digests(digests),
        unrecognised=tuple(sorted({name for tally in tallies for name in tally.unrecognised})),
    )


def _sum_digests(digests: Sequence[str]) -> str | None:
    try:
        return add_digests(digests) if digests else None
    except ValueError as error:  # of another version of what computes them
        raise ConfigError(
            "the executors have another DuckDB than this process, so that what they counted cannot be compared",
            fix="install the same versions on both",
        ) from error


def error_to_json(error: PenstockError) -> dict[str, Json]:
    return {
        "kind": type(error).__name__,
        "what": error.what,
        "where": error.where,
        "fix": error.fix,
        "fault": error.fault,
        "retryable": error.retryable,
    }


def error_from_json(data: Mapping[str, Any]) -> PenstockError:
    kind = getattr(errors, data["kind"], errors.LoadError)
    told = {name: data[name] for name in ("where", "fix", "fault", "retryable")}
    found: PenstockError = kind(data["what"], **told)
    return found


def unforeseen(error: BaseException) -> PenstockError:
    """An exception of a task that nobody expected, told by its place: its own text may hold a row."""
    origin = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" in {Path(origin[0].filename).name}:{origin[0].lineno}" if origin else ""
    return LoadError(f"unexpected {type(error).__name__}{place} in a Spark task", fault="internal")


def error_of_job(error: Exception) -> PenstockError:
    """Why a Spark job failed. Only what tasks of ours said is quoted: Spark's own text may hold values."""
    text = str(error)
    said = _MARKED.search(text)
    if said is not None:
        return error_from_json(json.loads(said[1]))
    if "No module named 'penstock" in text:
        return ConfigError(
            "the Spark executors have no penstock",
            fix="install the same penstock, with the same extras, into the Python that the executors run",
        )
    if "PYTHON_VERSION_MISMATCH" in text:
        return ConfigError(
            "the Spark executors run another version of Python than this process",
            fix="name the same version for both: PYSPARK_PYTHON, or spark.pyspark.python",
        )
    if "stopped SparkContext" in text or "SparkContext was shut down" in text or "SESSION_CLOSED" in text:
        return ConfigError("the Spark session was closed while the load ran", fix="keep it open until the run ends")
    lost = lost_server(error)
    if lost is not None:
        return lost
    if any(word in text for word in _LOST):
        return LoadError(
            "Spark lost the tasks of the load more often than it tries them again",
            fault="transient",
            fix="give the executors more memory if it happens again",
        )
    condition = getattr(error, "getCondition", lambda: None)()
    return LoadError(
        f"the Spark job failed: {condition or type(error).__name__}",
        fault="internal",
        fix="Spark's own log, or --debug, says more; both may quote rows",
    )
