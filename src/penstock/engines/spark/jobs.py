"""One Spark job at a time, watched: cancelled when the run is to stop, and no other job of the session with it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from contextlib import contextmanager, suppress
from signal import SIGINT
from typing import TYPE_CHECKING, TypeVar

from penstock.engines.spark.connect import is_connect
from penstock.engines.spark.reports import error_of_job
from penstock.errors import Interrupted, PenstockError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Answer = TypeVar("Answer")
_POLL_SECONDS = 0.2
_LET_GO_SECONDS = 10.0  # that cancelled tasks are waited for: abort should find their connections gone


def run_job(
    session: SparkSession,
    job: Callable[[], Answer],
    stop: threading.Event | None,
    look: Callable[[], None] | None = None,
) -> Answer:
    """What the job gives back; `look` is called now and then while it runs.

    Raises Interrupted once `stop` is set, PenstockError where the job fails.
    """
    tag = f"penstock-{uuid.uuid4().hex}"

    def tagged() -> Answer:
        with _tagged(session, tag):
            return job()

    with ThreadPoolExecutor(1, thread_name_prefix="penstock-spark") as pool:
        running = pool.submit(tagged)
        try:
            return _watch(running, stop, look)
        except BaseException:
            if not running.done():
                _cancel(session, tag)
                running.exception(_LET_GO_SECONDS)
            raise


def _watch(running: Future[Answer], stop: threading.Event | None, look: Callable[[], None] | None) -> Answer:
    while True:
        try:
            return running.result(_POLL_SECONDS)
        except NotYetError:
            if stop is not None and stop.is_set():
                raise Interrupted(getattr(stop, "signal_number", SIGINT)) from None
            if look is not None:
                look()
        except PenstockError:
            raise
        except Exception as error:
            raise error_of_job(error) from error


@contextmanager
def _tagged(session: SparkSession, tag: str) -> Iterator[None]:
    """Jobs of this thread bear the tag. A classic session's own tags cancel nothing (Spark 4.2): its context's do."""
    if is_connect(session):
        session.addTag(tag)
        try:
            yield
        finally:
            session.removeTag(tag)
        return
    context = session.sparkContext
    context.addJobTag(tag)
    context.setInterruptOnCancel(True)
    try:
        yield
    finally:
        context.removeJobTag(tag)


def _cancel(session: SparkSession, tag: str) -> None:
    if is_connect(session):
        with suppress(Exception):  # a server that is gone runs no job
            session.interruptTag(tag)
    else:
        session.sparkContext.cancelJobsWithTag(tag)
