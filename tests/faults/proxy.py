"""A TCP proxy that misbehaves as networks do: slow, in crumbs, cut at a byte, or silent while it looks open."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of zero: close sends RST, as a peer that crashed does."""


@dataclass(frozen=True)
class Line:
    """What one connection is like. ``up`` counts bytes towards the server: beyond the limit the connection is reset."""

    piece: int = 65536
    delay_s: float = 0.0
    """Each piece is held for so long."""
    up_limit: int | None = None
    down_limit: int | None = None
    swallow_down: bool = False
    """The server is heard by nobody: what it says is lost, and the connection stays open."""


class FaultProxy:
    """Forwards to ``port``. ``line_of`` says what the n-th connection is like (counted from 0)."""

    def __init__(self, port: int) -> None:
        self.upstream = port
        self.line_of: Callable[[int], Line] = lambda n: Line()
        self.n_accepted = 0
        self.n_reset = 0
        self.n_up = self.n_down = 0
        self._holes: set[int] = set()
        self._refuses = False
        self._open: dict[int, tuple[socket.socket, socket.socket]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._thread.start()

    def refuse(self, *, on: bool = True) -> None:
        """From now on reset every new connection at once."""
        self._refuses = on

    def cut(self) -> None:
        """Reset every open connection."""
        with self._lock:
            numbers = list(self._open)
        for number in numbers:
            self._reset(number)

    def vanish(self) -> int:
        """Open connections go on looking open, and nothing passes in either direction; new ones work. How many."""
        with self._lock:
            self._holes |= set(self._open)
            return len(self._open)

    @property
    def n_open(self) -> int:
        """Connections that nobody has closed."""
        return len(self._open)

    def close(self) -> None:
        """Reset everything and stop listening."""
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join(5)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            number, self.n_accepted = self.n_accepted, self.n_accepted + 1
            line = self.line_of(number)
            try:
                if self._refuses:
                    raise OSError
                server = socket.create_connection(("127.0.0.1", self.upstream), timeout=5)
            except OSError:
                _abort(client)
                continue
            server.settimeout(None)
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open[number] = (client, server)
            for source, target, up in ((client, server, True), (server, client, False)):
                pump = threading.Thread(target=self._pump, args=(number, line, source, target, up), daemon=True)
                pump.start()

    def _pump(self, number: int, line: Line, source: socket.socket, target: socket.socket, up: bool) -> None:
        limit, passed = line.up_limit if up else line.down_limit, 0
        try:
            while data := source.recv(line.piece):
                if number in self._holes or (line.swallow_down and not up):
                    continue
                if line.delay_s:
                    time.sleep(line.delay_s)
                if limit is not None and passed + len(data) > limit:
                    target.sendall(data[: limit - passed])
                    raise ConnectionResetError
                passed += len(data)
                if up:
                    self.n_up += len(data)
                else:
                    self.n_down += len(data)
                target.sendall(data)
            if number in self._holes:
                return  # the peer that is left knows nothing of it
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)
            if not up:
                self._forget(number)
        except OSError:
            self._reset(number)

    def _forget(self, number: int) -> None:
        with self._lock:
            pair = self._open.pop(number, None)
        for sock in pair or ():
            sock.close()

    def _reset(self, number: int) -> None:
        with self._lock:
            pair = self._open.pop(number, None)
        if pair is None:
            return
        self.n_reset += 1
        for sock in pair:
            _abort(sock)


def _abort(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RD)  # wakes the thread that reads it
    sock.close()
