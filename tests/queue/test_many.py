"""A queue of ten thousand: all are kept over a crash, given out in order, each once, and the queue is empty after."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from world import new_id

Desk = Any
N_JOBS = 10_000


@pytest.mark.slow
def test_a_queue_of_ten_thousand_is_given_out_in_order_each_job_once_and_survives_a_crash(desk: Desk) -> None:
    desk.server.stop()
    (desk.server.data_dir / "config.toml").write_text(f"[queue]\nmax_depth = {N_JOBS}\n")
    (desk.server.data_dir / "config.toml").chmod(0o600)
    desk.server.start()

    def submit(part: int) -> list[tuple[int, str]]:
        jobs = [(n % 3, new_id()) for n in range(part, N_JOBS, 8)]
        for priority, job_id in jobs:
            desk.submit(id=job_id, priority=priority, name=f"load_{priority}")
        return jobs

    with ThreadPoolExecutor(8) as pool:
        queued = [job for jobs in pool.map(submit, range(8)) for job in jobs]
    assert desk.server.api("GET", "/api/queue")["depth"] == N_JOBS
    desk.server.kill()
    desk.server.start()
    assert desk.server.api("GET", "/api/queue")["depth"] == N_JOBS
    given = []
    while items := desk.claim(max=500):
        given += [(item["job"]["priority"], item["job"]["id"]) for item in items]
    assert sorted(given) == sorted(queued)
    assert [priority for priority, _ in given] == sorted((priority for priority, _ in given), reverse=True)
    queue = desk.server.api("GET", "/api/queue")
    assert (queue["depth"], queue["oldestMs"]) == (0, None)
