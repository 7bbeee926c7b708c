"""One read feeding two destinations: each has its own ledger and drops what it holds; one failing leaves the other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field

from penstock.errors import ExtractionError
from penstock.protocols import Chunks, Reader, ReadSession
from penstock.records import dataclass
from penstock.values import Batch, CommitReceipt, Cursor, Split, SplitId, StreamName

DEPTH = 4  # batches a branch may lag behind


@dataclass
class SharedRead:
    """Reads every split once for `afters` branches. Branches take the splits in the same order."""

    reader: Reader
    splits: Sequence[Split]
    afters: Sequence[Cursor | None]
    reads: list[SplitId] = field(default_factory=list)
    branches: list[Branch] = field(init=False)

    def __post_init__(self) -> None:
        self.branches = [Branch(after) for after in self.afters]

    def pump(self) -> None:
        """Run on a thread of its own: read, and hand each batch to the branches that still listen."""
        try:
            for split in self.splits:
                self.reads.append(split.id)
                for batch in self.reader.read(split):
                    self._hand_out(batch)
                self._hand_out(split.id)
        except Exception as error:  # noqa: BLE001 - it is raised again in every branch
            self._hand_out(error)

    def _hand_out(self, item: Batch | SplitId | Exception) -> None:
        for branch in self.branches:
            branch.take(item)


class Branch:
    """A Reader for one destination: the shared batches without the rows below what its ledger holds."""

    def __init__(self, after: Cursor | None) -> None:
        self._after = after
        self._items: queue.Queue[Batch | SplitId | Exception] = queue.Queue(DEPTH)
        self._gone = threading.Event()

    def take(self, item: Batch | SplitId | Exception) -> None:
        while not self._gone.is_set():
            try:
                self._items.put(item, timeout=0.05)
            except queue.Full:
                continue
            return

    def leave(self) -> None:
        """The other branches go on without this one."""
        self._gone.set()

    def read(self, split: Split) -> Iterator[Batch]:
        while True:
            item = self._items.get()
            if isinstance(item, Exception):
                raise ExtractionError(f"the shared read failed: {item}", where=split.stream) from item
            if isinstance(item, str):
                return
            yield self._above(item)

    def _above(self, batch: Batch) -> Batch:
        import pyarrow.compute as pc

        if self._after is None or batch.cursors is None:
            return batch
        keep = pc.fill_null(pc.greater_equal(batch.cursors, self._after.value), fill_value=False)
        return Batch(batch.stream, batch.rows.filter(keep), batch.cursors.filter(keep), batch.reached)

    def relay(self, split: Split) -> Chunks:
        raise ExtractionError(f"{split.stream}: a shared read relays nothing")


Delivery = Callable[[Reader], CommitReceipt]


def deliver_to_all(
    shared: SharedRead, deliveries: Sequence[Delivery], session: ReadSession, stream: StreamName
) -> Mapping[int, CommitReceipt | Exception]:
    """Run one delivery per branch; acknowledge, when all have committed, what the slowest of them holds."""
    results: dict[int, CommitReceipt | Exception] = {}
    threads = [threading.Thread(target=shared.pump)]
    for index, delivery in enumerate(deliveries):
        arguments = (index, delivery, shared.branches[index], results)
        threads.append(threading.Thread(target=_deliver, args=arguments))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [result.position.cursor for result in results.values() if isinstance(result, CommitReceipt)]
    cursors = [cursor for cursor in held if cursor is not None]
    if len(cursors) == len(deliveries):
        session.acknowledge({stream: min(cursors, key=lambda cursor: cursor.value)})
    return results


def _deliver(index: int, delivery: Delivery, branch: Branch, results: dict[int, CommitReceipt | Exception]) -> None:
    try:
        results[index] = delivery(branch)
    except Exception as error:  # noqa: BLE001 - it is this destination's result
        results[index] = error
    finally:
        branch.leave()
