"""What must hold when a worker dies, stands still, is stopped, or its server is away."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import psutil
from worker_world import Yard

from world import wait_until

SHORT = '[queue]\nlease = "5s"\n'


def pid_of(yard: Yard, job_id: str, n: int = 1) -> int:
    """The pid that the n-th attempt has printed."""

    def pids() -> list[str]:
        return [said for said in yard.said(job_id) if said.startswith("pid ")][n - 1 :]

    return int(wait_until(pids, "it says its pid")[0].split()[1])


def test_what_a_killed_worker_ran_is_killed_too_and_another_worker_does_it(
    open_yard: Callable[[str], Yard], go: Path
) -> None:
    yard = open_yard(SHORT)
    first = yard.worker()
    job_id = yard.submit("until_file")
    pid = pid_of(yard, job_id)
    first.kill()
    wait_until(lambda: not psutil.pid_exists(pid), "the process dies with its worker")
    yard.worker()
    pid_of(yard, job_id, 2)
    go.touch()
    job = yard.ended(job_id)
    assert (job["status"], job["attempt"]) == ("completed", 2)
    assert yard.said(job_id).count("went on") == 1
    assert "job_rescued" in yard.kinds(job_id)


def test_a_worker_that_stood_still_for_longer_than_its_lease_changes_nothing_when_it_wakes(
    open_yard: Callable[[str], Yard], go: Path
) -> None:
    yard = open_yard(SHORT)
    first = yard.worker("--concurrency", "1")  # busy: it asks for nothing more while it stands still
    job_id = yard.submit("until_file")
    pid = pid_of(yard, job_id)
    first.send(signal.SIGSTOP)
    wait_until(lambda: not psutil.pid_exists(pid) or is_zombie(pid), "its process is killed")
    second = yard.worker()
    pid_of(yard, job_id, 2)
    first.send(signal.SIGCONT)
    other = yard.submit("hello")
    assert yard.ended(other)["status"] == "completed"
    assert yard.job(job_id)["status"] == "running"
    go.touch()
    job = yard.ended(job_id)
    assert (job["status"], job["attempt"]) == ("completed", 2)
    assert first.stop() == second.stop() == 0
    assert yard.kinds(job_id).count("completed") == 1
    assert yard.said(job_id).count("went on") == 1


def is_zombie(pid: int) -> bool:
    """Ended, but its parent has not looked yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def test_a_job_that_runs_through_an_outage_is_complete_afterwards(yard: Yard, go: Path) -> None:
    worker = yard.worker()
    job_id = yard.submit("polite")
    wait_until(lambda: "started" in yard.said(job_id), "it runs")
    process = psutil.Process(worker.process.pid)
    yard.server.kill()
    go.touch()
    wait_until(lambda: is_idle(process), "the job's process ends while the server is away")
    yard.server.start()
    job = yard.ended(job_id)
    assert (job["status"], job["attempt"]) == ("completed", 1)
    assert yard.said(job_id) == ["started", "done"]
    assert job["metrics"]["recordsProcessed"] == 7
    assert yard.kinds(job_id).count("completed") == 1
    wait_until(lambda: not list((worker.home / "work").iterdir()), "nothing is left")


def is_idle(worker: psutil.Process) -> bool:
    """Whether it runs nothing but its undertaker."""
    return len([child for child in worker.children() if child.status() != psutil.STATUS_ZOMBIE]) == 1


def test_a_worker_that_is_stopped_gives_its_jobs_back_and_no_try_is_used_up(yard: Yard, go: Path) -> None:
    first = yard.worker()
    job_id = yard.submit("until_file")
    pid = pid_of(yard, job_id)
    assert first.stop() == 0
    assert not psutil.pid_exists(pid)
    back = yard.job(job_id)
    assert (back["status"], back["lastFailure"]) == ("pending", None)
    assert "job_released" in yard.kinds(job_id)
    yard.worker()
    go.touch()
    assert yard.ended(job_id)["status"] == "completed"


def test_a_job_that_is_paused_when_its_worker_stops_is_still_paused_on_the_next(yard: Yard, go: Path) -> None:
    first = yard.worker()
    job_id = yard.submit("until_file")
    pid_of(yard, job_id)
    yard.control(job_id, "pause")
    yard.until(job_id, "paused")
    assert first.stop() == 0
    assert yard.job(job_id)["controlPending"]["action"] == "pause"
    yard.worker()
    yard.until(job_id, "paused")
    go.touch()
    yard.control(job_id, "resume")
    assert yard.ended(job_id)["status"] == "completed"


def test_what_does_not_end_in_time_is_killed_and_given_back(yard: Yard) -> None:
    worker = yard.worker()
    job_id = yard.submit("stubborn")
    pid = pid_of(yard, job_id)
    worker.send(signal.SIGTERM)
    worker.send(signal.SIGTERM)
    assert worker.process.wait(30) == 0
    assert not psutil.pid_exists(pid)
    assert yard.job(job_id)["status"] == "pending"


def test_a_lost_claim_ends_its_process_and_nothing_of_it_counts(yard: Yard, go: Path) -> None:
    yard.worker()
    job_id = yard.submit("until_file")
    pid = pid_of(yard, job_id)
    claim = {"jobId": job_id, "fencingToken": int(yard.said(job_id)[0].split()[2])}
    yard.server.api("POST", "/api/queue/release", {"worker": "somebody else", **claim})
    wait_until(lambda: not psutil.pid_exists(pid), "the process of the lost claim is killed")
    pid_of(yard, job_id, 2)
    go.touch()
    job = yard.ended(job_id)
    assert (job["status"], job["attempt"]) == ("completed", 2)
    assert yard.said(job_id).count("went on") == 1
    assert yard.kinds(job_id).count("completed") == 1


def test_one_job_is_run_by_one_of_many_workers(yard: Yard) -> None:
    workers = [yard.worker() for _ in range(4)]
    wait_until(lambda: len(yard.server.api("GET", "/api/workers")["items"]) == 4, "all ask for work")
    jobs = [yard.submit("hello") for _ in range(12)]
    for job_id in jobs:
        assert yard.ended(job_id)["status"] == "completed"
        assert yard.said(job_id) == ["hello, world"]
        assert yard.kinds(job_id).count("job_started") == 1
    assert {worker.stop() for worker in workers} == {0}
