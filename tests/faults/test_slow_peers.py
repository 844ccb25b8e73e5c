"""Peers that stop reading, stop writing or never begin: they wait alone (F17, W46, R29)."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from typing import Any

import pytest

from world import log, new_id, wait_until

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
FAT = "x" * 1000


class Stalled:
    """A viewer of all lines that reads only when it is told to."""

    def __init__(self, server: Any) -> None:
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(60)
        self.sock.connect(("127.0.0.1", server.port))
        head = (
            f"GET /ws?topics=logs HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {server.token}\r\n\r\n"
        )
        self.sock.sendall(head.encode())
        self.held = b""
        while b"\r\n\r\n" not in self.held:
            self.held += self.sock.recv(1024)
        self.held = self.held.partition(b"\r\n\r\n")[2]
        while self.frame()[1].get("type") != "live":
            pass

    def frame(self) -> tuple[int, dict[str, Any]]:
        """The next frame: its opcode and its message, or its close code."""
        first, size = self._take(2)
        if size == 126:
            (size,) = struct.unpack(">H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._take(8))
        payload = self._take(size)
        if first & 15 == 8:
            return 8, {"code": struct.unpack(">H", payload[:2])[0]}
        if first & 15 == 9:
            self.sock.sendall(bytes([0x8A, 0x80 | size]) + bytes(4) + payload)
            return 9, {}
        return first & 15, json.loads(payload)

    def _take(self, n: int) -> bytes:
        while len(self.held) < n:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionResetError
            self.held += data
        found, self.held = self.held[:n], self.held[n:]
        return found

    def lines(self, n: int) -> list[str]:
        """The next ``n`` lines."""
        found: list[str] = []
        while len(found) < n:
            _, message = self.frame()
            if message.get("type") == "log_message":
                found.append(message["data"]["message"].split()[0])
        return found


def pour(server: Any, job: str, first: int, n: int) -> None:
    """Post ``n`` fat lines, numbered from ``first``."""
    for at in range(first, first + n, 500):
        server.report(*[log(job, f"{k} {FAT}") for k in range(at, min(at + 500, first + n))])


def rss(server: Any) -> int:
    """Resident bytes of the server."""
    with open(f"/proc/{server.process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_viewer_that_stops_reading_holds_up_nobody_and_misses_nothing_when_it_reads_on(
    server: Any, view: Any
) -> None:
    stalled, others = Stalled(server), [view(server, topics="logs") for _ in range(3)]
    job = new_id()
    pour(server, job, 0, 1000)
    before = rss(server)
    pour(server, job, 1000, 9000)
    for viewer in others:
        wait_until(lambda viewer=viewer: len(viewer.messages) and len(viewer.lines()) == 10_000, "all lines came")
    (view_of_it,) = [
        item for item in server.api("GET", "/api/monitor/connections")["items"] if item["state"] == "lagging"
    ]
    assert view_of_it["lag"] > 5000
    assert rss(server) - before < 64 << 20
    assert stalled.lines(10_000) == [str(n) for n in range(10_000)]
    pour(server, job, 10_000, 1)
    assert stalled.lines(1) == ["10000"]
    stalled.sock.close()


def test_a_viewer_that_never_read_a_byte_and_leaves_is_forgotten(server: Any) -> None:
    stalled = Stalled(server)
    pour(server, new_id(), 0, 3000)
    stalled.sock.close()
    wait_until(lambda: server.api("GET", "/api/monitor/connections")["items"] == [], "it is gone")


@pytest.mark.slow
def test_a_viewer_that_takes_nothing_for_half_a_minute_is_cut_and_may_resume_where_it_was(
    server: Any, view: Any
) -> None:
    stalled = Stalled(server)
    job = new_id()
    pour(server, job, 0, 5000)
    began = time.monotonic()
    wait_until(lambda: server.api("GET", "/api/monitor/connections")["items"] == [], "it is cut", deadline_s=60)
    assert time.monotonic() - began > 20
    last, epoch = 0, ""
    try:
        while True:
            _, message = stalled.frame()
            last = message.get("seq") or last
    except (ConnectionError, KeyError):
        stalled.sock.close()
    epoch = json.loads((server.data_dir / "server.json").read_text())["epoch"]
    resumed = view(server, topics="logs", since=f"{epoch}:{last}")
    first = int(server.api("GET", f"/api/jobs/{job}/logs?limit=1")["items"][0]["seq"])
    wait_until(lambda: len(resumed.lines()) == 5000 - (last - first + 1), "the rest came")
    assert resumed.resets == []


def test_half_requests_and_silent_connections_hold_up_nobody(server: Any, dial: Any) -> None:
    beginnings = [
        b"", b"G", b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
        b"POST /api/reports HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        + f"Authorization: Bearer {server.token}\r\n".encode() + b"Content-Length: 1000\r\n\r\n{",
        b"POST /api/reports HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ]  # fmt: skip
    for n in range(300):
        dial(server, beginnings[n % len(beginnings)])
    took = []
    for _ in range(30):
        began = time.monotonic()
        assert server.raw("GET", "/api/health", token="")[0] == 200
        took.append(time.monotonic() - began)
    assert sorted(took)[15] < 0.5
    assert server.report(log(new_id(), "taken"))["accepted"] == 1


@pytest.mark.slow
def test_half_requests_are_given_up_by_our_own_deadline(server: Any, dial: Any) -> None:
    head = b"POST /api/reports HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" + (
        f"Authorization: Bearer {server.token}\r\nContent-Length: 100000\r\n\r\n".encode()
    )
    dribble = dial(server, b"", timeout_s=60)
    socks = [dial(server, b"GET / HTTP/1.1\r\nX: ", timeout_s=60), dial(server, head + b"{", timeout_s=60)]
    began = time.monotonic()

    def is_cut() -> bool:
        try:
            dribble.sendall(b"G")
        except OSError:
            return True
        return False

    for sock in socks:
        answer = b""
        while data := receive(sock):
            answer += data
        assert answer == b"" or b" 408 " in answer.split(b"\r\n")[0] or b" 400 " in answer.split(b"\r\n")[0]
    wait_until(is_cut, "who dribbles is cut as well")
    assert time.monotonic() - began < 30


def receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(4096)
    except ConnectionError:
        return b""
