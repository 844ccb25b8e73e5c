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


def test_a_command_that_is_not_there_fails_and_says_so(yard: Yard) -> None:
    yard.worker()
    job = yard.ended(yard.submit("missing"))
    assert (job["status"], job["failure"]["errorType"]) == ("failed", "NotStarted")
    assert job["failure"]["message"] == "/nonexistent/program could not be started: No such file or directory"


def test_a_path_outside_of_what_the_worker_allows_is_refused_before_anything_is_touched(
    yard: Yard, tmp_path: Path
) -> None:
    yard.worker()
    config = {"source": {"path": "/etc/passwd"}, "sink": {"path": str(tmp_path / "out.csv")}}
    job_id = yard.server.api("POST", "/api/jobs", {"type": "csv_processing", "config": config, "retries": 3})["id"]
    job = yard.ended(job_id)
    assert (job["status"], job["failure"]["kind"], job["attempt"]) == ("failed", "rejected", 1)
    assert not (tmp_path / "out.csv").exists()


def test_a_failed_attempt_is_tried_again_in_the_same_room(yard: Yard) -> None:
    worker = yard.worker()
    job_id = yard.submit("crm_sync", retries=1)
    retried = wait_until(lambda: (job := yard.job(job_id))["lastFailure"] and job, "the first attempt has failed")
    assert retried["lastFailure"]["exitCode"] == 1
    assert (worker.home / "work" / job_id).is_dir()
    job = yard.ended(job_id)
    assert (job["status"], job["attempt"]) == ("failed", 2)
    wait_until(lambda: not list((worker.home / "work").iterdir()), "the job's directory is removed")


def test_no_more_jobs_run_than_asked_for_and_what_they_use_is_measured(yard: Yard, go: Path) -> None:
    yard.worker("--concurrency", "2")
    jobs = [yard.submit("until_file") for _ in range(3)]
    for job_id in jobs[:2]:
        wait_until(lambda job_id=job_id: yard.job(job_id)["metrics"]["memoryUsage"], "its memory is told")  # type: ignore[misc]
    assert yard.job(jobs[2])["status"] == "pending"
    (worker,) = yard.server.api("GET", "/api/workers")["items"]
    assert (worker["concurrency"], len(worker["running"])) == (2, 2)
    go.touch()
    assert {yard.ended(job_id)["status"] for job_id in jobs} == {"completed"}
