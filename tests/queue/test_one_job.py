"""A managed job's way: queued, claimed, worked on, done; over REST."""

from __future__ import annotations

from typing import Any

Desk = Any


def test_a_job_is_queued_claimed_reported_on_and_completed(desk: Desk) -> None:
    queued = desk.submit(name="orders_nightly", priority=3, tags={"env": "prod"})
    assert (queued["status"], queued["attempt"], queued["source"]) == ("pending", 1, "worker")
    assert queued["steps"][0] == "Validating file"
    assert queued["queue"] == {"name": "default", "depth": 1, "paused": None}
    given = desk.claim_one()
    assert given.id == queued["id"]
    assert given.job["status"] == "running"
    assert given.job["host"] == "etl-3"
    assert given.spec["config"]["source"] == {"path": "in.csv"}
    assert given.spec["workKey"] == given.id
    assert given.report("progress", progressPercent=40)["accepted"] == 1
    assert desk.job(given.id)["progressPercent"] == 40
    given.complete()
    done = desk.job(given.id)
    assert (done["status"], done["progressPercent"]) == ("completed", 100)
    assert desk.kinds(given.id) == ["job_queued", "job_started", "completed"]
    assert desk.server.api("GET", "/api/queue")["depth"] == 0
    assert desk.claim() == []
