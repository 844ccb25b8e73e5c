"""A fake etlmon server on a real socket, and the command line run in this process against it."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

FINAL = ("completed", "failed", "cancelled")
METRICS = {
    "recordsTotal": 10000,
    "recordsProcessed": 4500,
    "recordsSuccessful": 4485,
    "recordsFailed": 15,
    "errorRate": 0.0033,
    "bytesProcessed": 1048576,
    "processingRate": 150.5,
    "memoryUsage": 73400320,
    "cpuUsage": 81.5,
    "executionTime": 30000,
}


def make_job(job_id: str, name: str, status: str = "running", **more: Any) -> dict[str, Any]:
    """A Job as interface.md shows it."""
    return {
        "id": job_id,
        "name": name,
        "type": "csv_processing",
        "status": status,
        "outcome": None,
        "durable": True,
        "progressPercent": 45.0,
        "currentStep": "Processing data",
        "stepIndex": 1,
        "steps": ["Validating file", "Processing data"],
        "owner": "ana",
        "tags": {"env": "prod"},
        "host": "etl-3",
        "source": "sdk",
        "priority": 0,
        "attempt": 1,
        "retryOf": None,
        "parentId": None,
        "after": [],
        "createdAt": "2026-01-02T03:02:00.000Z",
        "runAt": None,
        "startedAt": "2026-01-02T03:02:01.000Z",
        "finishedAt": "2026-01-02T03:05:00.000Z" if status in FINAL else None,
        "updatedAt": "2026-01-02T03:05:00.000Z",
        "executionTimeMs": 179000,
        "expectedDurationMs": 240000,
        "timeoutMs": None,
        "remainingMs": None,
        "estimatedCompletion": None,
        "estimate": {"low": None, "high": None, "basis": None},
        "health": "good",
        "metrics": dict(METRICS),
        "failure": None,
        "lastFailure": None,
        "controlPending": None,
        "config": {},
        "summary": None,
        "recentLogs": [],
        "seq": 10,
        **more,
    }


def make_failure(message: str) -> dict[str, Any]:
    """A Failure as interface.md shows it."""
    return {
        "kind": "error",
        "message": message,
        "errorType": "ConnectionError",
        "exitCode": 1,
        "signal": None,
        "step": "load",
        "stderrTail": ["last words"],
        "traceback": None,
        "fingerprint": "f1",
        "suggestedActions": ["Check that db-7 is up"],
    }


def make_line(seq: int, job: dict[str, Any], message: str, level: str = "info") -> dict[str, Any]:
    """A LogEntry as interface.md shows it."""
    return {
        "seq": seq,
        "jobId": job["id"],
        "name": job["name"],
        "at": "2026-01-02T03:02:02.000Z",
        "level": level,
        "message": message,
        "logger": None,
        "step": None,
        "fields": None,
        "attempt": 1,
    }


@dataclass
class Request:
    """What the fake server was asked."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


@dataclass
class FakeServer:
    """Answers as interface.md says, from lists that a test fills; ``overrides`` answer first."""

    url: str = ""
    jobs: list[dict[str, Any]] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[dict[str, Any]] = field(default_factory=list)
    audit: list[dict[str, Any]] = field(default_factory=list)
    connections: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    health: dict[str, Any] = field(
        default_factory=lambda: {"status": "ok", "version": "0.1.0", "uptimeMs": 1, "checks": {}}
    )
    overrides: dict[tuple[str, str], Callable[[Request], tuple[int, Any, dict[str, str]]]] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)

    def answer(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        """Status, body (bytes or a value to encode), headers."""
        self.asked.append(request)
        override = self.overrides.get((request.method, request.path))
        if override is not None:
            return override(request)
        return self._routed(request)

    def _routed(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        path, query = request.path, request.query
        if request.headers.get("authorization") == "Bearer bad":
            return problem(401, "This token is not one of this server's.")
        if found := re.fullmatch(r"/api/jobs/([^/]+)(?:/(\w+))?", path):
            return self._job(request, found[1], found[2])
        match request.method, path:
            case "GET", "/api/health":
                return 200, self.health, {}
            case "GET", "/api/jobs" | "/api/monitor/jobs":
                return self._list([job for job in self.jobs if _matches(job, query)], query)
            case "GET", "/api/history":
                return self._list([job for job in self.jobs if job["status"] in FINAL], query)
            case "GET", "/api/history/export":
                return ndjson([job for job in self.jobs if job["status"] in FINAL])
            case "GET", "/api/logs":
                return self._lines(self.lines, query)
            case "GET", "/api/tokens":
                return self._list(self.tokens, {})
            case "POST", "/api/tokens":
                return 201, {"id": "tok-9", "token": "etl_secret", **request.body}, {}
            case "GET", "/api/audit":
                return self._list(self.audit, query)
            case "GET", "/api/monitor/connections":
                return self._list(self.connections, {})
            case "GET", "/api/analytics/summary":
                return 200, self.summary, {}
            case "GET", "/api/system/health":
                return 200, {**self.health, "host": {"cpu": 0.5}}, {}
            case "DELETE", _ if path.startswith("/api/tokens/"):
                return 204, b"", {}
        return problem(404, f"There is no {path} here.")

    def _job(self, request: Request, job_id: str, part: str | None) -> tuple[int, Any, dict[str, str]]:
        job = next((job for job in self.jobs if job["id"] == job_id), None)
        if job is None:
            return problem(404, f"There is no job {job_id}.")
        match part:
            case None | "status":
                return 200, job, {}
            case "events":
                return self._list(self.events, request.query)
            case "metrics":
                return 200, {"current": job["metrics"], "series": []}, {}
            case "logs":
                return self._lines([line for line in self.lines if line["jobId"] == job_id], request.query)
            case "pause" | "resume" | "cancel" if job["status"] in FINAL:
                return problem(409, f"The job has {job['status']} already.")
            case "pause" | "resume" | "cancel":
                control = {
                    "action": part,
                    "by": "ana",
                    "at": "2026-01-02T03:05:00.000Z",
                    "reason": request.body.get("reason"),
                }
                return 202, {**job, "controlPending": control}, {}
        return problem(404, "There is no such part.")

    def _list(self, items: list[Any], query: dict[str, list[str]]) -> tuple[int, Any, dict[str, str]]:
        first, limit = int(query.get("cursor", ["0"])[0]), int(query.get("limit", ["50"])[0])
        following = str(first + limit) if len(items) > first + limit else None
        return 200, {"items": items[first : first + limit], "nextCursor": following}, {}

    def _lines(self, lines: list[dict[str, Any]], query: dict[str, list[str]]) -> tuple[int, Any, dict[str, str]]:
        cursor = int(query.get("cursor", ["0"])[0])
        found = [line for line in lines if line["seq"] > cursor]
        if "tail" in query:
            found = found[-int(query["tail"][0]) :]
        if "stream" in query or "follow" in query:
            return ndjson(found)
        if query.get("order") == ["desc"]:
            found = list(reversed(lines))
        return 200, {"items": found[: int(query.get("limit", ["100"])[0])], "nextCursor": None}, {}


def _matches(job: dict[str, Any], query: dict[str, list[str]]) -> bool:
    """The few filters that these tests need."""
    if "status" in query and job["status"] not in query["status"]:
        return False
    for q in query.get("q", []):
        if found := re.search(r"id:(\S+)", q):
            patterns = [re.escape(word).replace(r"\*", ".*") for word in found[1].split(",")]
            if not any(re.fullmatch(pattern, job["id"]) for pattern in patterns):
                return False
        if (found := re.search(r"status:(\S+)", q)) and job["status"] not in found[1].split(","):
            return False
    return True


def problem(status: int, detail: str, **more: Any) -> tuple[int, Any, dict[str, str]]:
    """An RFC 9457 answer."""
    body = {"type": "about:blank", "title": "Problem", "status": status, "detail": detail, **more}
    return status, body, {"Content-Type": "application/problem+json"}


def ndjson(items: list[Any]) -> tuple[int, bytes, dict[str, str]]:
    """An answer of one JSON object per line."""
    return 200, b"".join(json.dumps(item).encode() + b"\n" for item in items), {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    """A fake server that serves until the test ends."""
    server = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {key.lower(): value for key, value in self.headers.items()}
            request = Request(
                self.command, parts.path, parse_qs(parts.query), headers, json.loads(raw) if raw else None
            )
            status, body, more = server.answer(request)
            encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for key, value in {"Content-Type": "application/json", **more}.items():
                self.send_header(key, value)
            if status != 204:
                self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            if status != 204:
                self.wfile.write(encoded)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    http.handle_error = lambda *args: None  # a client that leaves in the middle is no fault of the test
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, name="fake server")
    thread.start()
    yield server
    http.shutdown()
    http.server_close()
    thread.join()


@dataclass
class Result:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


class _Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def etlmon(fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command line against the fake server: ``etlmon("jobs", "list", terminal=True, columns=100)``."""
    for name in [name for name in os.environ if name.startswith("ETLMON")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ETLMON_URL", fake.url)
    monkeypatch.setenv("ETLMON_TOKEN", "good")
    monkeypatch.setenv("ETLMON_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()

    def run(*words: str, terminal: bool = False, columns: int = 100, encoding: str = "utf-8") -> Result:
        from etlmon.cli import main

        raw_out, raw_err = io.BytesIO(), io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", str(columns))
            out = (_Terminal if terminal else io.TextIOWrapper)(raw_out, encoding=encoding, newline="")
            err = io.TextIOWrapper(raw_err, encoding=encoding, newline="")
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            code = main(list(words))
        out.flush()
        err.flush()
        return Result(code, raw_out.getvalue().decode(encoding), raw_err.getvalue().decode(encoding))

    return run


@pytest.fixture
def cast(fake: FakeServer) -> FakeServer:
    """The small cast: orders_nightly runs, crm_sync failed, ledger_close completed."""
    orders = make_job("0190f6a2-7c1e-7000-8000-00000000000a", "orders_nightly")
    crm = make_job(
        "0190f6b1-7c1e-7000-8000-00000000000b",
        "crm_sync",
        "failed",
        type="api_upload",
        failure=make_failure("HTTP 401: key revoked"),
        owner=None,
        seq=11,
    )
    ledger = make_job(
        "0190f6b1-7c1e-7000-8000-00000000000c",
        "ledger_close",
        "completed",
        progressPercent=100.0,
        currentStep=None,
        seq=12,
    )
    fake.jobs = [orders, crm, ledger]
    fake.lines = [
        make_line(21, orders, "chunk 0413: 5,000 rows"),
        make_line(22, crm, "401 Unauthorized", "error"),
        make_line(23, orders, "row 2,066,104: amount is no number", "warning"),
    ]
    fake.events = [
        {
            "seq": 5,
            "kind": "job_started",
            "jobId": orders["id"],
            "at": "2026-01-02T03:02:01.000Z",
            "by": "ana",
            "detail": {},
        },
        {
            "seq": 9,
            "kind": "control_requested",
            "jobId": orders["id"],
            "at": "2026-01-02T03:04:00.000Z",
            "by": "bo",
            "detail": {"action": "pause", "reason": "disk on etl-2"},
        },
    ]
    return fake
