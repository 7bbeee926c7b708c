"""One attempt at one split, in a process of its own: orders come pickled on stdin, the report goes out as JSON."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from collections.abc import Iterator
from typing import Any

from penstock.testing.engines import Counts, shaped
from penstock.values import Batch
from penstock.values.wire import piece_to_json, split_from_json, ticket_from_json


def main() -> None:
    orders: dict[str, Any] = pickle.load(sys.stdin.buffer)
    split, fate = split_from_json(json.loads(orders["split"])), orders["fate"]
    writer = orders["open_writer"](ticket_from_json(json.loads(orders["ticket"])))
    counts = Counts()
    batches = shaped(orders["reader"].read(split), orders["shape"], counts)
    piece = writer.write(split.id, orders["attempt"], dying(batches) if fate == "killed while writing" else batches)
    if fate == "killed after writing":
        os.kill(os.getpid(), signal.SIGKILL)
    report = {
        "piece": piece_to_json(piece),
        "read": counts.read,
        "written": counts.written,
        "reached": counts.reached.to_json() if counts.reached else None,
    }
    print(json.dumps(report))


def dying(batches: Iterator[Batch]) -> Iterator[Batch]:
    yield from batches
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
