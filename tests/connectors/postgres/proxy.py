"""A TCP proxy in front of the server that can pass a COMMIT on and keep the reply to itself."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType


class LosingProxy:
    """Forwards bytes; once armed, the reply to the first message that contains `trigger` reaches nobody.

    After that the client's connection is closed. With `forward=False` the message itself is lost too; with `last=True`
    nobody is let in afterwards.
    """

    def __init__(self, host: str, port: int, trigger: bytes, *, forward: bool = True, last: bool = False) -> None:
        self._server = (host, port)
        self._trigger, self._forward, self._last = trigger, forward, last
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.lost = threading.Event()
        self._armed = threading.Event()

    def arm(self) -> None:
        self._armed.set()

    def __enter__(self) -> LosingProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.shut()

    def shut(self) -> None:
        """Let nobody in from now on."""
        with contextlib.suppress(OSError):  # wakes accept()
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(self._server)
        silent = threading.Event()
        threading.Thread(target=self._answer, args=(server, client, silent), daemon=True).start()
        with client, server, contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if self._armed.is_set() and self._trigger in data and not self.lost.is_set():
                    self._lose(data, server, silent)
                    break
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)  # close() alone says nothing while the other thread reads

    def _lose(self, data: bytes, server: socket.socket, silent: threading.Event) -> None:
        silent.set()
        self.lost.set()
        if self._last:
            self.shut()
        if self._forward:
            server.sendall(data)

    def _answer(self, server: socket.socket, client: socket.socket, silent: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if not silent.is_set():
                    client.sendall(data)
