"""The world that a test acts in: a real etlmon server in its own process, reports to send it, facts to wait for."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etlmon.core.ids import uuid7

DEADLINE_S = 30.0


def new_id() -> str:
    """A fresh job id."""
    return uuid7(time.time_ns() // 1_000_000, secrets.token_bytes(10))


def wait_until(holds: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Wait for a fact: the first true value of ``holds``; the test fails with ``what`` when it never comes."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        value = holds()
        if value:
            return value
        time.sleep(0.01)
    pytest.fail(f"waited {deadline_s:.0f} s in vain: {what}")


class ServerProcess:
    """``etlmon server`` over a data directory; after ``kill`` (SIGKILL) or ``stop`` (SIGTERM) it may start again."""

    def __init__(self, data_dir: Path, *, args: tuple[str, ...] = ()) -> None:
        self.data_dir = data_dir
        self.args = args
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.token = ""
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("ETLMON_")} | {
            "ETLMON_DATA_DIR": str(data_dir)
        }

    def start(self) -> ServerProcess:
        """Start it (on the same port as before) and wait until it serves."""
        (self.data_dir / "server.json").unlink(missing_ok=True)
        argv = [sys.executable, "-m", "etlmon", "server", "--data-dir", str(self.data_dir), "--port", str(self.port)]
        with open(self.data_dir / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [*argv, "--no-worker", *self.args], env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(self._serves, "the server serves")
        return self

    def _serves(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.fail(f"the server ended with {self.process.returncode}: {self.log()[-2000:]}")
        try:
            found = json.loads((self.data_dir / "server.json").read_text())
        except (OSError, ValueError):
            return False
        if found["pid"] != self.process.pid:
            return False
        self.url = found["url"].rstrip("/")
        self.port = int(self.url.rsplit(":", 1)[1])
        self.token = (self.data_dir / "admin.token").read_text().strip()
        return True

    def log(self) -> str:
        """What it has printed."""
        return (self.data_dir / "server.log").read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes, dict[str, str]]:
        """One request: status, body, headers. ``token`` is the admin's unless given ("" for none)."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        token = self.token if token is None else token
        if token:
            sent["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=sent | (headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                return answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as fault:
            with fault:
                return fault.code, fault.read(), dict(fault.headers)

    def api(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """One request that must succeed; its JSON."""
        status, answer, _ = self.raw(method, path, body, **more)
        assert 200 <= status < 300, (method, path, status, answer[:500])
        return json.loads(answer) if answer else None

    def report(self, *reports: dict[str, Any], **envelope: Any) -> Any:
        """Post reports; the receipt."""
        return self.api("POST", "/api/reports", {"reports": list(reports), **envelope})

    def cli(self, *args: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """Run ``etlmon ARGS`` against this server, as a script would."""
        env = self.env | more.pop("env", {})
        return subprocess.run(
            [sys.executable, "-m", "etlmon", *args], env=env, capture_output=True, timeout=60, check=False, **more
        )


def started(job_id: str, name: str = "orders_nightly", **fields: Any) -> dict[str, Any]:
    """A job_started report."""
    return {"kind": "job_started", "jobId": job_id, "name": name, "type": "csv_processing", **fields}


def log(job_id: str, message: str, level: str = "info", **fields: Any) -> dict[str, Any]:
    """A log report."""
    return {"kind": "log", "jobId": job_id, "message": message, "level": level, **fields}
