"""The worker of a server's own: one, whatever ends the server; drained with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from worker_world import Yard, definitions

from etlmon.server.embedded_worker import holder_of
from world import ServerProcess, wait_until


class Embedding(ServerProcess):
    """A server with its worker."""

    def start(self) -> ServerProcess:
        """Start it as an operator does."""
        (self.data_dir / "server.json").unlink(missing_ok=True)
        argv = [sys.executable, "-m", "etlmon", "server", "--data-dir", str(self.data_dir), "--port", str(self.port)]
        with open(self.data_dir / "server.log", "ab") as log:
            self.process = subprocess.Popen(argv, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._serves, "the server serves")
        return self

    def worker(self) -> int:
        """The pid of the worker that lives."""
        pid: int = wait_until(lambda: holder_of(self.data_dir / "worker.lock"), "its worker lives")
        return pid


@pytest.fixture
def embedding(data_dir: Path, go: Path) -> Iterator[Embedding]:
    """Such a server; nothing of it outlives the test."""
    (data_dir / "config.toml").write_text(definitions(go))
    (data_dir / "config.toml").chmod(0o600)
    made = Embedding(data_dir)
    made.start()
    yield made
    made.stop()
    pid = holder_of(data_dir / "worker.lock")
    if pid is not None:
        os.kill(pid, signal.SIGKILL)


def test_a_killed_server_kills_no_job_and_its_successor_starts_no_second_worker(
    embedding: Embedding, tmp_path: Path, go: Path
) -> None:
    yard: Any = Yard(embedding, tmp_path)
    pid = embedding.worker()
    job_id = yard.submit("polite")
    wait_until(lambda: "started" in yard.said(job_id), "it runs")
    embedding.kill()
    embedding.start()
    go.touch()
    job = yard.ended(job_id)
    assert (job["status"], job["attempt"]) == ("completed", 1)
    assert yard.said(job_id) == ["started", "done"]
    assert embedding.worker() == pid
    workers = embedding.api("GET", "/api/workers")["items"]
    assert [worker["pid"] for worker in workers] == [pid]


def test_a_server_that_is_stopped_gives_its_jobs_back_and_takes_its_worker_along(
    embedding: Embedding, tmp_path: Path, go: Path
) -> None:
    yard: Any = Yard(embedding, tmp_path)
    pid = embedding.worker()
    job_id = yard.submit("until_file")
    wait_until(lambda: yard.said(job_id), "it runs")
    assert embedding.stop() == 0
    assert not psutil.pid_exists(pid)
    go.touch()
    embedding.start()
    assert yard.ended(job_id)["status"] == "completed"
    assert "job_released" in yard.kinds(job_id)


def test_a_worker_that_dies_has_a_successor(embedding: Embedding) -> None:
    pid = embedding.worker()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: holder_of(embedding.data_dir / "worker.lock") not in (None, pid), "another one lives")


def test_its_token_may_claim_and_report_and_nothing_else(embedding: Embedding) -> None:
    token = (embedding.data_dir / "worker.token").read_text().strip()
    assert (embedding.data_dir / "worker.token").stat().st_mode & 0o777 == 0o600
    assert embedding.raw("GET", "/api/tokens", token=token)[0] == 403
    assert embedding.raw("POST", "/api/queue/claim", {"worker": "w"}, token=token)[0] == 200
