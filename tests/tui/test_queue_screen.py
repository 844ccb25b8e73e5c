"""Retry, priority, the queue and submitting, at the console's keys against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from console_world import Seat, console, soon

from world import ServerProcess, new_id, started

CONFIG = {"source": {"path": "in.csv"}, "sink": {"path": "out.csv"}}
DEFINED = """
[jobs.orders_nightly]
type = "csv_processing"
[jobs.orders_nightly.config]
source = {path = "in.csv"}
sink = {path = "out.csv"}

[jobs.ledger_close]
start = false
"""


@pytest.fixture
def server(data_dir: Path) -> Iterator[ServerProcess]:
    """A server that knows two names."""
    file = data_dir / "config.toml"
    file.write_text(DEFINED)
    file.chmod(0o600)
    running = ServerProcess(data_dir).start()
    yield running
    running.kill()


def queued(server: ServerProcess, name: str, **fields: Any) -> str:
    """A job that waits."""
    body = {"type": "csv_processing", "config": CONFIG, "name": name, **fields}
    return str(server.api("POST", "/api/jobs", body)["id"])


def claimed(server: ServerProcess, worker: str = "w1") -> dict[str, Any]:
    """The claim of the job that a worker gets."""
    body = {"worker": {"id": worker, "host": "etl-3", "pid": 7, "concurrency": 4}, "waitMs": 20_000}
    (item,) = server.api("POST", "/api/queue/claim", body)["items"]
    return {"jobId": item["job"]["id"], "fencingToken": item["fencingToken"]}


def failed(server: ServerProcess, name: str) -> str:
    """A managed job that has failed."""
    job_id = queued(server, name)
    server.report({"kind": "failed", **claimed(server), "failure": {"message": "HTTP 401"}})
    return job_id


def priority(server: ServerProcess, job_id: str) -> int:
    """The job's priority by the server's word."""
    return int(server.api("GET", f"/api/jobs/{job_id}")["priority"])


def retries_of(server: ServerProcess, job_id: str) -> list[str]:
    """The new jobs of a retried one."""
    jobs = server.api("GET", "/api/jobs")["items"]
    return [job["id"] for job in jobs if job["retryOf"] == job_id]


# -- retry and priority, from the table and the job's own screen


async def test_one_is_retried_without_a_question_and_tells_that_it_is_a_new_job(server: ServerProcess) -> None:
    job_id = failed(server, "crm_sync")
    async with console(server) as seat:
        await seat.press("R")
        await seat.shows("✓ crm_sync retried", "it waits in the queue as a new job", "○ pending")
    assert len(retries_of(server, job_id)) == 1


async def test_several_are_retried_after_a_question_that_counts_who_cannot_start_from_here(
    server: ServerProcess,
) -> None:
    ids = [failed(server, name) for name in ("crm_sync", "ledger_close")]
    seen = new_id()
    server.report(started(seen, "orders_nightly"), {"kind": "failed", "jobId": seen, "failure": {"message": "x"}})
    async with console(server) as seat:
        await seat.press("a", "R")
        await seat.shows("Retry 2 failed jobs? 1 cannot start from here.", "▸ Leave them", "Retry 2 jobs")
        await seat.shows("was only watched: it cannot start from here")
        await seat.press("escape")
        await seat.hides("cannot start from here")
        assert [retries_of(server, each) for each in ids] == [[], []]
        await seat.press("R")
        await seat.shows("▸ Leave them")
        await seat.press("y")
        await seat.shows("✓ 2 jobs retried", "1 left alone · n shows who")
    assert [len(retries_of(server, each)) for each in ids] == [1, 1]


async def test_a_watched_job_is_not_retried_and_its_command_is_told(server: ServerProcess) -> None:
    seen = new_id()
    server.report(started(seen, "orders_nightly", command=["sh", "load.sh"]), {"kind": "completed", "jobId": seen})
    async with console(server) as seat:
        await seat.press("enter")
        await seat.shows("Overview")
        await seat.press("R")
        await seat.shows("orders_nightly was not retried", "it was only watched: run sh load.sh")


async def test_plus_and_minus_move_the_priority_as_often_as_they_are_pressed(server: ServerProcess) -> None:
    job_id = queued(server, "crm_sync")
    async with console(server) as seat:
        await seat.press("plus", "plus", "plus", "plus", "minus")
        await soon(lambda: priority(server, job_id) == 3, "the priority")
        await seat.press("enter")
        await seat.shows("Overview")
        await seat.press("minus")
        await soon(lambda: priority(server, job_id) == 2, "the priority from the job's screen")


async def test_what_does_not_wait_keeps_its_priority_and_is_told(server: ServerProcess) -> None:
    job_id = new_id()
    server.report(started(job_id, "orders_nightly"))
    async with console(server) as seat:
        await seat.press("plus")
        await seat.shows("orders_nightly keeps its priority", "it is running: only queued jobs wait by it")
    assert priority(server, job_id) == 0


async def test_a_read_only_console_moves_nothing(server: ServerProcess) -> None:
    job_id = queued(server, "crm_sync")
    async with console(server, read_only=True) as seat:
        await seat.press("plus")
        await seat.shows("You may read here, not reorder:")
    assert priority(server, job_id) == 0


__all__ = ["Seat"]
