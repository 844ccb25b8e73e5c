"""Pause, resume, cancel and timeout of what a worker runs: asked, obeyed or enforced, and told."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from worker_world import Yard

from world import wait_until


def pid_of(yard: Yard, job_id: str) -> int:
    """The pid that the program has printed."""
    line = wait_until(lambda: [said for said in yard.said(job_id) if said.startswith("pid ")], "it says its pid")[0]
    return int(line.split()[1])


def test_a_command_is_stopped_by_a_pause_and_goes_on_after_it(yard: Yard, go: Path) -> None:
    yard.worker()
    job_id = yard.submit("until_file")
    pid = pid_of(yard, job_id)
    yard.control(job_id, "pause")
    paused = yard.until(job_id, "paused")
    assert paused["controlPending"] is None
    assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
    go.touch()
    yard.control(job_id, "resume")
    assert yard.ended(job_id)["status"] == "completed"
    assert yard.said(job_id)[-1] == "went on"
    assert yard.kinds(job_id).count("paused") == yard.kinds(job_id).count("resumed") == 1


def test_a_cancelled_command_is_gone_and_the_job_says_who_and_why(yard: Yard) -> None:
    yard.worker()
    job_id = yard.submit("ledger_close")
    pid = pid_of(yard, job_id)
    yard.control(job_id, "cancel")
    job = yard.ended(job_id)
    assert job["status"] == "cancelled"
    assert job["summary"]["cancelReason"] == "a test"
    assert job["summary"]["cancelledBy"]
    assert not psutil.pid_exists(pid)


def test_what_ignores_sigterm_is_killed_after_the_grace(yard: Yard) -> None:
    yard.worker()
    job_id = yard.submit("stubborn")
    pid = pid_of(yard, job_id)
    yard.control(job_id, "cancel")
    assert yard.ended(job_id)["status"] == "cancelled"
    assert not psutil.pid_exists(pid)


def test_a_paused_command_can_be_cancelled(yard: Yard) -> None:
    yard.worker()
    job_id = yard.submit("ledger_close")
    pid_of(yard, job_id)
    yard.control(job_id, "pause")
    yard.until(job_id, "paused")
    yard.control(job_id, "cancel")
    assert yard.ended(job_id)["status"] == "cancelled"


def test_a_job_that_runs_longer_than_its_timeout_fails_as_timed_out(yard: Yard) -> None:
    yard.worker()
    job_id = yard.submit("ledger_close", timeoutMs=1500)
    pid = pid_of(yard, job_id)
    job = yard.ended(job_id)
    assert (job["status"], job["failure"]["kind"]) == ("failed", "timeout")
    wait_until(lambda: not psutil.pid_exists(pid), "its process is gone")


ROWS = 300


class Slow(ThreadingHTTPServer):
    """Takes uploads, each only when it is let."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Take)
        self.came = threading.Semaphore(0)
        self.let = threading.Semaphore(0)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/rows"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Take(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        assert isinstance(self.server, Slow)
        self.server.came.release()
        self.server.let.acquire(timeout=60)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def slow() -> Iterator[Slow]:
    """An endpoint that answers when the test lets it."""
    made = Slow()
    yield made
    made.let.release(2 * ROWS)
    made.shutdown()
    made.server_close()


@pytest.fixture
def upload(open_yard: Any, slow: Slow, tmp_path: Path) -> tuple[Yard, str]:
    """A worker that is uploading, a row at a time, waiting for the answer to the first."""
    yard = open_yard("")
    (tmp_path / "in.csv").write_text("a,b\n" + "1,2\n" * ROWS)
    yard.worker()
    config = {"source": {"path": str(tmp_path / "in.csv")}, "url": slow.url, "batch_records": 1, "concurrency": 1}
    job_id = yard.server.api("POST", "/api/jobs", {"type": "api_upload", "config": config, "name": "upload"})["id"]
    assert slow.came.acquire(timeout=30)
    return yard, job_id


def process_of(yard: Yard) -> psutil.Process:
    """The pipeline's process."""
    found = psutil.Process(yard.workers[-1].process.pid).children()
    return next(child for child in found if "etlmon.pipelines" in child.cmdline())


def test_a_pipeline_obeys_a_pause_at_its_checkpoint_and_is_not_stopped(upload: tuple[Yard, str], slow: Slow) -> None:
    yard, job_id = upload
    yard.control(job_id, "pause")
    wait_until(lambda: yard.job(job_id)["controlPending"], "the pause is asked for")
    slow.let.release()
    assert yard.until(job_id, "paused")["controlPending"] is None
    assert process_of(yard).status() != psutil.STATUS_STOPPED
    slow.let.release(2 * ROWS)
    yard.control(job_id, "resume")
    job = yard.ended(job_id)
    assert job["status"] == "completed"
    assert job["metrics"]["recordsProcessed"] == ROWS


def test_a_pipeline_that_does_not_move_is_made_to_obey_a_cancel(upload: tuple[Yard, str]) -> None:
    yard, job_id = upload
    process_of(yard).suspend()
    yard.control(job_id, "cancel")
    assert yard.ended(job_id)["status"] == "cancelled"


def test_a_pipeline_that_does_not_move_counts_as_paused_and_goes_on(upload: tuple[Yard, str], slow: Slow) -> None:
    yard, job_id = upload
    process_of(yard).suspend()
    yard.control(job_id, "pause")
    yard.until(job_id, "paused")
    slow.let.release(2 * ROWS)
    yard.control(job_id, "resume")
    assert yard.ended(job_id)["status"] == "completed"


def test_a_pipeline_that_is_paused_when_its_worker_stops_is_paused_on_the_next(
    upload: tuple[Yard, str], slow: Slow
) -> None:
    yard, job_id = upload
    yard.control(job_id, "pause")
    slow.let.release()
    yard.until(job_id, "paused")
    assert yard.workers[-1].stop() == 0
    back = yard.job(job_id)
    assert (back["status"], back["controlPending"]["action"]) == ("pending", "pause")
    assert "resumed" not in yard.kinds(job_id)
    slow.let.release(2 * ROWS)
    yard.worker()
    yard.until(job_id, "paused")
    yard.control(job_id, "resume")
    assert yard.ended(job_id)["status"] == "completed"


def test_a_pipeline_that_is_drained_goes_on_where_it_stopped(upload: tuple[Yard, str], slow: Slow) -> None:
    yard, job_id = upload
    yard.workers[-1].send(signal.SIGTERM)
    slow.let.release(2 * ROWS)
    assert yard.workers[-1].process.wait(30) == 0
    job = yard.job(job_id)
    assert (job["status"], job["lastFailure"]) == ("pending", None)
    yard.worker()
    job = yard.ended(job_id)
    assert (job["status"], job["attempt"], job["summary"]["recordsIn"]) == ("completed", 2, ROWS)
