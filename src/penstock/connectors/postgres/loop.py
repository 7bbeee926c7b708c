"""The process's one event loop, on a thread of its own: both ends of a relay meet on it."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from penstock.records import dataclass

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Running:
    pid: int
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread


_guard = threading.Lock()
_running: _Running | None = None


def get() -> asyncio.AbstractEventLoop:
    """The loop, started when first asked for; a forked child gets its own."""
    return _current().loop


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it on the loop and wait. An exception in the waiting thread (Ctrl-C) cancels it, and waits for its end."""
    current = _current()
    if threading.current_thread() is current.thread:
        coroutine.close()
        raise RuntimeError("loop.run() was called on the event loop's own thread")
    ended = threading.Event()
    future = asyncio.run_coroutine_threadsafe(_signalling(coroutine, ended), current.loop)
    try:
        return future.result()
    except BaseException:
        if not future.done():
            future.cancel()
            ended.wait(timeout=10)
        raise


async def _signalling(coroutine: Coroutine[Any, Any, T], ended: threading.Event) -> T:
    try:
        return await coroutine
    finally:
        ended.set()


def _current() -> _Running:
    global _running  # noqa: PLW0603 - one loop per process is the point of this file
    with _guard:
        if _running is None or _running.pid != os.getpid():
            _running = _start()
        return _running


def _start() -> _Running:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="penstock-postgres-loop", daemon=True)
    thread.start()
    running = _Running(os.getpid(), loop, thread)
    atexit.register(_stop, running)
    return running


def _stop(running: _Running) -> None:
    if running.pid != os.getpid():
        return
    running.loop.call_soon_threadsafe(running.loop.stop)
    running.thread.join(timeout=5)
    if not running.thread.is_alive():
        running.loop.close()


__all__ = ["get", "run"]
