"""Submit → claimed → a process runs → the job is over, with what it said and why."""

from __future__ import annotations

import json
from pathlib import Path

from worker_world import Yard

from world import wait_until


def test_a_command_runs_and_completes_with_its_lines_and_its_room_is_gone(yard: Yard) -> None:
    worker = yard.worker()
    job_id = yard.submit("hello")
    job = yard.ended(job_id)
    assert (job["status"], job["failure"], job["source"]) == ("completed", None, "worker")
    assert job["summary"]["exitCode"] == 0
    assert yard.said(job_id) == ["hello, world"]
    assert yard.kinds(job_id) == ["job_queued", "job_started", "completed"]
    wait_until(lambda: not list((worker.home / "work").iterdir()), "the job's directory is removed")
    assert worker.stop() == 0


def test_a_command_that_fails_tells_why(yard: Yard) -> None:
    yard.worker()
    job = yard.ended(yard.submit("crm_sync"))
    assert job["status"] == "failed"
    assert job["failure"]["exitCode"] == 1
    assert job["failure"]["stderrTail"] == ["crm: connection refused"]


def test_a_pipeline_runs_and_its_own_summary_is_the_jobs(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a,b\n1,2\n3,4\n")
    yard.worker()
    config = {"source": {"path": str(tmp_path / "in.csv")}, "sink": {"path": str(tmp_path / "out.csv")}}
    job_id = yard.server.api("POST", "/api/jobs", {"type": "csv_processing", "config": config})["id"]
    job = yard.ended(job_id)
    assert job["status"] == "completed", json.dumps(job["failure"])
    assert job["summary"]["recordsOut"] == 2
    assert (tmp_path / "out.csv").read_text().splitlines()[1:] == ["1,2", "3,4"]
