"""A room for one job (attempts in this process or in one that may be killed), and an endpoint that misbehaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from etlmon.host.endpoint import Endpoint
from etlmon.pipelines.main import attempt
from etlmon.pipelines.spec import Spec
from etlmon.sdk.process import use_reporter
from etlmon.sdk.reporter import Reporter

NOWHERE = "http://127.0.0.1:9"


class Room:
    """``run`` is an attempt here; ``start`` one in a process of its own. Both keep the work directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.work = path / "work"
        self.files = path / "files"
        self.files.mkdir()

    def write(self, name: str, content: str | bytes) -> Path:
        """A file of the job."""
        path = self.files / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def read(self, name: str) -> bytes:
        """A file of the job."""
        return (self.files / name).read_bytes()

    def text(self, name: str) -> str:
        """A file of the job as text."""
        return self.read(name).decode()

    def rejects(self, name: str = "out.csv.rejects.jsonl") -> list[dict[str, Any]]:
        """The rejects."""
        return [json.loads(line) for line in self.text(name).splitlines()]

    def left(self) -> list[str]:
        """The names of all files of the job, hidden ones too."""
        return sorted(path.name for path in self.files.iterdir())

    def spec(self, kind: str, config: dict[str, Any], **more: Any) -> dict[str, Any]:
        """The spec of an attempt, as a worker writes it."""
        known = {"type": kind, "name": "orders_nightly", "config": config, "workDir": str(self.work)}
        return known | {"allowedRoots": [str(self.files)], "allowedHosts": ["127.0.0.1"], "cwd": str(self.files)} | more

    def run(self, kind: str, config: dict[str, Any], **more: Any) -> dict[str, Any]:
        """One attempt in this process; its result."""
        import msgspec

        return attempt(msgspec.convert(self.spec(kind, config, **more), Spec))

    def start(self, kind: str, config: dict[str, Any], *, code: str = "", **more: Any) -> subprocess.Popen[bytes]:
        """One attempt in a process of its own; ``code`` is run in it first. Its result comes on stdout."""
        text = f"{code}\nimport sys\nfrom etlmon.pipelines.main import main\nsys.exit(main([]))"
        env = {key: value for key, value in os.environ.items() if not key.startswith("ETLMON_")}
        env |= {"ETLMON_URL": NOWHERE, "ETLMON_TOKEN": "none", "ETLMON_DATA_DIR": str(self.path / "data")}
        process = subprocess.Popen(
            [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(self.spec(kind, config, **more)).encode())
        process.stdin.close()
        process.stdin = None
        return process

    def finish(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """The result of ``start``."""
        out, err = process.communicate(timeout=120)
        assert out, err.decode()
        result: dict[str, Any] = json.loads(out)
        return result


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """A job's room; reports go to a directory and nowhere else."""
    reporter = Reporter(Endpoint(url=NOWHERE, token=None, origin="test"), spool_dir=tmp_path / "spool")
    before = use_reporter(reporter)
    yield Room(tmp_path)
    use_reporter(before)
    reporter.close(timeout_s=0, away_s=0)


Answerer = Callable[["FakeApi", str, list[Any]], tuple[int, dict[str, str], Any]]


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, or is killed, is part of the play."""


class FakeApi:
    """``batches`` are those that were answered with 2xx, by key; ``tries`` all that came, in order."""

    def __init__(self, answer: Answerer | None = None) -> None:
        self.tries: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.batches: dict[str, list[Any]] = {}
        self.lock = threading.Lock()
        self.answer: Answerer = answer or (lambda endpoint, key, records: (200, {}, {}))
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.take(self)

            def log_message(self, *args: Any) -> None:
                """Nothing."""

        self.server = _Quiet(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/records"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        raw = handler.rfile.read(int(handler.headers["Content-Length"]))
        if handler.headers["Content-Type"] == "application/x-ndjson":
            records = [json.loads(line) for line in raw.splitlines()]
        else:
            body = json.loads(raw)
            records = body if isinstance(body, list) else body["records"]
        key = handler.headers["Idempotency-Key"]
        with self.lock:
            self.tries.append(key)
            self.headers.append(dict(handler.headers))
        status, headers, answer = self.answer(self, key, records)
        if status == 0:  # hang up
            handler.close_connection = True
            if isinstance(answer, bytes):
                handler.wfile.write(answer)
            return
        if 200 <= status < 300:
            with self.lock:
                self.batches.setdefault(key, records)
        content = json.dumps(answer).encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def taken(self) -> list[Any]:
        """All the records that were taken."""
        with self.lock:
            return [record for records in self.batches.values() for record in records]

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """An endpoint that takes everything, until it is told otherwise."""
    running = FakeApi()
    yield running
    running.close()
