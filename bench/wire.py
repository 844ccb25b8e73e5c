"""Raw peers for the benchmarks: an HTTP poster and a WebSocket viewer that cost as little as Python allows."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import selectors
import socket
import struct
import time
import urllib.parse
from multiprocessing.connection import Connection


class Poster:
    """One kept-alive HTTP/1.1 connection that posts bodies; ``post`` waits for the whole answer."""

    def __init__(self, url: str, token: str, path: str = "/api/reports") -> None:
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()

    async def open(self) -> Poster:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(self.host, self.port, limit=2**20)
        return self

    async def post(self, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        self._writer.write(self._head + str(len(body)).encode() + b"\r\n\r\n" + body)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        return int(head[9:12]), await self._reader.readexactly(length)

    def close(self) -> None:
        """Let go of the connection."""
        self._writer.close()


def open_viewer(url: str, token: str, query: str = "batch=1") -> socket.socket:
    """A WebSocket over a plain socket, after its handshake; the bytes that follow are frames."""
    parts = urllib.parse.urlsplit(url)
    sock = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80))
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET /ws?{query} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        piece = sock.recv(1)  # byte by byte: what follows the head is already frames
        if not piece:
            raise ConnectionError(f"the server closed during the handshake: {head[:200]!r}")
        head += piece
    if b" 101 " not in head.split(b"\r\n", 1)[0]:
        raise ConnectionError(head.split(b"\r\n", 1)[0].decode())
    return sock


def send_text(sock: socket.socket, text: str) -> None:
    """One masked text frame (RFC 6455 §5.2)."""
    body, mask = text.encode(), b"\0\0\0\0"
    length = struct.pack("!B", 0x80 | len(body)) if len(body) < 126 else struct.pack("!BH", 0xFE, len(body))
    sock.sendall(b"\x81" + length + mask + body)


def keep_reading(socks: list[socket.socket], sampled: int, pipe: Connection) -> list[list[tuple[float, bytes]]]:
    """Say ``ready``, then read all to the full until told to stop: what the first ``sampled`` read, and when."""
    selector = selectors.DefaultSelector()
    for n, sock in enumerate(socks):
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, n)
    kept: list[list[tuple[float, bytes]]] = [[] for _ in range(sampled)]
    pipe.send("ready")
    while not pipe.poll(0):
        for key, _ in selector.select(0.05):
            with contextlib.suppress(BlockingIOError):
                piece = key.fileobj.recv(1 << 18)  # type: ignore[union-attr]
                if key.data < sampled:
                    kept[key.data].append((time.time(), piece))
    pipe.recv()
    return kept


def split_frames(data: bytearray) -> list[bytes]:
    """The whole text frames at the beginning of ``data``, which keeps the rest."""
    frames, at = [], 0
    while len(data) - at >= 2:
        opcode, length, head = data[at] & 0x0F, data[at + 1] & 0x7F, 2
        if length == 126:
            if len(data) - at < 4:
                break
            length, head = struct.unpack_from("!H", data, at + 2)[0], 4
        elif length == 127:
            if len(data) - at < 10:
                break
            length, head = struct.unpack_from("!Q", data, at + 2)[0], 10
        if len(data) - at < head + length:
            break
        if opcode == 1:
            frames.append(bytes(data[at + head : at + head + length]))
        at += head + length
    del data[:at]
    return frames
