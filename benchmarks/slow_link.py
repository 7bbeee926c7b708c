"""A TCP proxy that holds every answer of the server back, as a long line would."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType


class SlowLink:
    """Listens on a free loopback port while the context lasts."""

    def __init__(self, host: str, port: int, *, delay_seconds: float) -> None:
        self._target = (host, port)
        self._delay = delay_seconds
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def __enter__(self) -> SlowLink:
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.port = server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        await asyncio.gather(
            self._pump(reader, server_writer, delay=0.0), self._pump(server_reader, writer, delay=self._delay)
        )

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, delay: float) -> None:
        """Chunks keep their order; each leaves `delay` after it came, however many are under way."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        sending = asyncio.create_task(self._send(under_way, writer))
        while chunk := await reader.read(1 << 16):
            under_way.put_nowait((self._loop.time() + delay, chunk))
        under_way.put_nowait((self._loop.time() + delay, b""))
        await sending

    async def _send(self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            due, chunk = await under_way.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            if not chunk:
                writer.close()
                return
            writer.write(chunk)
            await writer.drain()
