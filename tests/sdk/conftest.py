"""A tiny server on a real socket that keeps interface.md's rules for reports and commands, and misbehaves when told."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from etlmon.host.endpoint import Endpoint
from etlmon.sdk import guard, process
from etlmon.sdk.reporter import Reporter
from etlmon.sdk.tail import Limits

Fault = Callable[[int, dict[str, Any]], str | None]


class TinyServer:
    """What it took, in order, and how it answers. ``fault(n, body)`` names a misbehaviour for request n."""

    def __init__(self, port: int = 0) -> None:
        self.token: str | None = "t0ken"
        self.reports: list[dict[str, Any]] = []
        self.marks: dict[str, tuple[int, str]] = {}
        self.batches: list[tuple[str, int, int]] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.now_states: list[list[dict[str, Any]]] = []
        self.commands: list[dict[str, Any]] = []
        self.polled = threading.Event()
        self.fault: Fault = lambda n, body: None
        self.changed = threading.Condition()
        self._numbers = itertools.count()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._http.daemon_threads = True
        self._sockets: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._http.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def endpoint(self, token: str | None = "t0ken") -> Endpoint:
        return Endpoint(url=self.url, token=token, origin="test")

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        for open_socket in list(self._sockets):
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    # -- what tests ask ------------------------------------------------------------------------------------------

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [report for report in list(self.reports) if report["kind"] == kind]

    def messages(self) -> list[str]:
        return [report["message"] for report in self.of("log")]

    def wait_for(self, predicate: Callable[[], Any], timeout_s: float = 20.0) -> Any:
        """Wait until ``predicate`` holds; looked at after each request."""
        deadline = time.monotonic() + timeout_s
        with self.changed:
            while not (found := predicate()):
                left = deadline - time.monotonic()
                assert left > 0, (
                    f"never came true; {len(self.reports)} reports, {Counter(r['kind'] for r in self.reports)}"
                )
                self.changed.wait(min(left, 0.1))
        return found

    # -- the rules -----------------------------------------------------------------------------------------------

    def take(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """One batch, by interface.md: 200 with an ack, or 409."""
        producer, seq, reports = body["producer"], body["seq"], body["reports"]
        digest = hashlib.sha256(json.dumps(reports).encode()).hexdigest()
        with self.changed:
            ack, last = self.marks.get(producer, (0, ""))
            if seq > ack + 1:
                return 409, {"title": "Conflict", "detail": "a hole", "ack": ack}
            if seq == ack and last != digest:
                return 409, {"title": "Conflict", "detail": "other content", "ack": ack}
            if seq <= ack:
                return 200, self._receipt(ack, 0, len(reports))
            self.marks[producer] = (seq, digest)
            self.reports.extend(reports)
            self.batches.append((producer, seq, len(reports)))
            self.changed.notify_all()
            return 200, self._receipt(seq, len(reports), 0)

    def _receipt(self, ack: int, accepted: int, duplicates: int) -> dict[str, Any]:
        return {"ack": ack, "accepted": accepted, "duplicates": duplicates, "rejected": [], "commands": []}

    def _handler(server) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                server._sockets.add(self.request)

            def finish(self) -> None:
                server._sockets.discard(self.request)
                with contextlib.suppress(OSError):
                    super().finish()

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    super().handle()

            def log_message(self, *args: Any) -> None:
                pass

            def answer(self, status: int, body: Any, kind: str = "application/json", **headers: str) -> None:
                raw = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", kind if status < 400 else "application/problem+json")
                self.send_header("Content-Length", str(len(raw)))
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(raw)

            def reset(self) -> None:
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.request.close()

            def note(self) -> None:
                with server.changed:
                    server.requests.append((self.command, self.path, dict(self.headers)))
                    server.changed.notify_all()

            def allowed(self) -> bool:
                return server.token is None or self.headers.get("Authorization") == f"Bearer {server.token}"

            def do_GET(self) -> None:
                self.note()
                if not self.allowed():
                    return self.answer(401, {"detail": "no"})
                server.polled.set()
                deadline = time.monotonic() + 2
                with server.changed:
                    while not server.commands and time.monotonic() < deadline:
                        server.changed.wait(0.05)
                    items = list(server.commands)
                return self.answer(200, {"items": items})

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                body = json.loads(raw)
                fault = server.fault(next(server._numbers), body)
                self.note()
                if fault == "reset":
                    return self.reset()
                if not self.allowed():
                    return self.answer(401, {"detail": "no"})
                if "now" in body:
                    server.now_states.append(body["now"])
                if fault and fault.startswith("status:"):
                    _, status, *retry = fault.split(":")
                    headers = {"Retry_After": retry[0]} if retry else {}
                    return self.answer(
                        int(status), {"detail": "as told", "title": "t", "status": int(status)}, **headers
                    )
                if fault == "html":
                    return self.answer(200, b"<html>Please log in</html>", "text/html")
                if fault == "garbage":
                    return self.answer(200, b"{]")
                if fault == "empty":
                    return self.answer(204, b"")
                if fault and fault.startswith("redirect:"):
                    return self.answer(307, b"", Location=fault.removeprefix("redirect:"))
                status, answer = server.take(body)
                if fault == "commit_and_reset":
                    return self.reset()
                return self.answer(status, answer)

        return Handler


@pytest.fixture
def make_server() -> Iterator[Callable[..., TinyServer]]:
    """Starts tiny servers and stops them at the end."""
    running: list[TinyServer] = []

    def start(port: int = 0) -> TinyServer:
        server = TinyServer(port)
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def server(make_server: Callable[..., TinyServer]) -> TinyServer:
    return make_server()


@pytest.fixture
def spool_dir(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def make_reporter(spool_dir: Path) -> Iterator[Callable[..., Reporter]]:
    """Makes reporters on one spool directory and closes them at the end."""
    made: list[Reporter] = []

    def make(endpoint: Any, **options: Any) -> Reporter:
        options.setdefault("spool_dir", spool_dir)
        reporter = Reporter(endpoint, **options)
        made.append(reporter)
        return reporter

    yield make
    for reporter in made:
        reporter.close(0, away_s=0)


@pytest.fixture
def reporter(server: TinyServer, make_reporter: Callable[..., Reporter]) -> Iterator[Reporter]:
    """A reporter to the tiny server, in use as the process's own."""
    reporter = make_reporter(server.endpoint())
    before = process.use_reporter(reporter)
    yield reporter
    process.use_reporter(before)


@pytest.fixture(autouse=True)
def _fresh_guest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No warning counts as told, and nothing of this machine's own etlmon is found."""
    guard._told.clear()
    monkeypatch.setenv("ETLMON_DATA_DIR", str(tmp_path / "data"))
    for name in ("ETLMON_URL", "ETLMON_TOKEN", "ETLMON_PROFILE", "ETLMON_JOB_ID", "ETLMON_FENCING_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def small() -> Limits:
    """Bounds that a test reaches in no time."""
    return Limits(max_bytes=64 * 1024, reserve_bytes=16 * 1024, memory_bytes=16 * 1024, segment_bytes=8 * 1024)
