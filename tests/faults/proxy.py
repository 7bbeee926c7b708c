"""A TCP proxy in front of a server: passes everything through until the trigger bytes go by, then cuts the line.

The trigger is forwarded and the server's answer awaited, and neither reaches the client: the reply to COMMIT is lost.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """`swallow` the answer to the next client bytes that hold it; `swallowed` counts. `shut` lets no one in after."""

    def __init__(self, host: str, port: int, swallow: bytes | None) -> None:
        self._host, self._port = host, port
        self.swallow = swallow
        self.swallowed = 0
        self.shut = False
        self.connections = 0
        self.address = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=self._run, name="proxy")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await task

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.shut and self.swallowed:
            writer.close()
            return
        server_reader, server_writer = await asyncio.open_connection(self._host, self._port)
        line = Line()
        upward = asyncio.create_task(self._upward(reader, server_writer, line))
        downward = asyncio.create_task(self._downward(server_reader, writer, line))
        with suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.wait({upward, downward}, return_when=asyncio.FIRST_COMPLETED)
        for task in (upward, downward):
            task.cancel()
        for end in (writer, server_writer):
            end.close()

    async def _upward(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, line: Line) -> None:
        while data := await reader.read(1 << 16):
            if self.swallow is not None and self.swallow in data:
                self.swallow = None
                line.cut_at_answer = True
            server.write(data)
            await server.drain()

    async def _downward(self, server: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line) -> None:
        while data := await server.read(1 << 16):
            if line.cut_at_answer:
                self.swallowed += 1
                return
            writer.write(data)
            await writer.drain()

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


class Line:
    """One connection through the proxy."""

    def __init__(self) -> None:
        self.cut_at_answer = False


@contextmanager
def proxied(host: str, port: int, swallow: bytes | None = None) -> Iterator[Proxy]:
    proxy = Proxy(host, port, swallow)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
