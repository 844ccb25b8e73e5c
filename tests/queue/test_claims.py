"""Claims: in which order, to how many, for how long; and what a worker may still say afterwards."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from world import wait_until

Desk = Any
SHORT_LEASE = '[queue]\nlease = "5s"\n'


def test_the_highest_priority_goes_first_then_whoever_waits_longest(desk: Desk) -> None:
    names = [
        desk.submit(name=name, priority=priority)["name"] for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5))
    ]
    assert [item["job"]["name"] for item in desk.claim(max=3)] == ["b", "d", "a"]
    assert [item["job"]["name"] for item in desk.claim()] == ["c"]
    assert len(names) == 4


def test_a_priority_changed_while_queued_reorders(desk: Desk) -> None:
    first, second = desk.submit(name="a"), desk.submit(name="b")
    desk.server.api("PATCH", f"/api/jobs/{second['id']}", {"priority": 9})
    assert [item["job"]["id"] for item in desk.claim()] == [second["id"], first["id"]]


def test_twenty_workers_for_one_job_exactly_one_gets_it(desk: Desk) -> None:
    desk.submit()
    with ThreadPoolExecutor(20) as pool:
        found = [item for items in pool.map(lambda n: desk.claim(f"w{n}", max=1), range(20)) for item in items]
    assert len(found) == 1


def test_a_worker_that_waits_gets_the_job_when_it_is_queued(desk: Desk) -> None:
    found: list[Any] = []
    waits = threading.Thread(target=lambda: found.extend(desk.claim(waitMs=30_000)))
    waits.start()
    wait_until(lambda: desk.server.api("GET", "/api/workers")["items"], "the worker is known")
    queued = desk.submit()
    waits.join(20)
    assert [item["job"]["id"] for item in found] == [queued["id"]]


def test_queues_are_apart(desk: Desk) -> None:
    desk.submit(queue="heavy", name="a")
    assert desk.claim() == []
    assert [item["job"]["name"] for item in desk.claim(queues=["default", "heavy"])] == ["a"]


def test_only_the_token_of_the_claim_may_report(desk: Desk) -> None:
    desk.submit()
    given = desk.claim_one()
    for token in (given.token - 1, given.token + 1, None):
        wrong = {"kind": "completed", "jobId": given.id, "fencingToken": token}
        assert desk.server.report(wrong)["rejected"][0]["why"].startswith("the fencing token is not")
    other = desk.server.api("POST", "/api/tokens", {"name": "w2", "role": "reporter"})["token"]
    report = {"reports": [{"kind": "completed", "jobId": given.id, "fencingToken": given.token}]}
    refused = desk.server.api("POST", "/api/reports", report, token=other)["rejected"]
    assert "another token" in refused[0]["why"]
    assert desk.job(given.id)["status"] == "running"
    assert desk.kinds(given.id).count("report_refused") == 3


def test_a_job_given_back_is_pending_at_once_and_uses_up_no_try(desk: Desk) -> None:
    desk.submit()
    given = desk.claim_one()
    given.report("progress", progressPercent=70)
    back = given.release("the worker drains")
    assert (back["status"], back["attempt"], back["progressPercent"]) == ("pending", 2, None)
    assert given.complete()["accepted"] == 0
    assert given.renew()["lost"] == [given.id]
    assert desk.refused("POST", "/api/queue/release", {"worker": "w1", **given.lease})[0] == 409
    again = desk.claim_one("w2")
    assert again.token > given.token
    assert again.fail()["accepted"] == 1
    assert desk.job(given.id)["status"] == "failed"
    assert desk.kinds(given.id) == [
        "job_queued", "job_started", "job_released", "report_refused", "job_started", "failed",
    ]  # fmt: skip


def test_a_job_whose_lease_ran_out_is_given_to_another_and_the_late_result_is_refused(open_desk: Any) -> None:
    desk = open_desk(SHORT_LEASE)
    desk.submit()
    given = desk.claim_one()
    again = desk.claim_one("w2", waitMs=30_000)
    assert (again.id, again.job["attempt"], again.job["lastFailure"]["kind"]) == (given.id, 2, "lost")
    assert given.complete()["rejected"]
    again.complete()
    assert desk.job(given.id)["status"] == "completed"
    assert desk.kinds(given.id) == [
        "job_queued", "job_started", "job_rescued", "job_started", "report_refused", "completed",
    ]  # fmt: skip


def test_a_lease_that_is_renewed_holds(open_desk: Any) -> None:
    desk = open_desk(SHORT_LEASE)
    desk.submit()
    desk.submit(name="beaten")
    silent, beaten = desk.claim_one(), desk.claim_one()
    assert beaten.job["name"] == "beaten"

    def is_rescued() -> bool:
        assert beaten.renew() == {"lost": [], "commands": []}
        return desk.job(silent.id)["status"] == "pending"

    wait_until(is_rescued, "the silent one is taken back")
    assert desk.job(beaten.id)["attempt"] == 1


def test_a_killed_server_gives_every_lease_one_more_period(open_desk: Any) -> None:
    desk = open_desk(SHORT_LEASE)
    desk.submit()
    given = desk.claim_one()
    lease = desk.server.api("GET", "/api/workers")["items"][0]["running"][0]["leaseUntil"]
    desk.server.kill()
    desk.server.start()
    longer = desk.server.api("GET", "/api/workers")["items"][0]["running"][0]["leaseUntil"]
    assert longer > lease
    assert given.renew()["lost"] == []
    given.complete()
    assert desk.job(given.id)["status"] == "completed"


def test_a_server_killed_mid_claim_loses_no_job(open_desk: Any) -> None:
    desk = open_desk(SHORT_LEASE)
    ids = {desk.submit()["id"] for _ in range(20)}
    with ThreadPoolExecutor(4) as pool:
        claims = [pool.submit(lambda n=n: _claimed(desk, f"w{n}")) for n in range(4)]
        desk.server.kill()
        for claim in claims:
            claim.result()
    desk.server.start()
    done: set[str] = set()

    def all_done() -> bool:
        for item in desk.claim("w9", waitMs=1000):
            done.add(item["job"]["id"])
            desk.server.report({"kind": "completed", "jobId": item["job"]["id"], "fencingToken": item["fencingToken"]})
        return done == ids

    wait_until(all_done, "every job is claimed by a worker that lives")
    assert desk.server.api("GET", "/api/queue")["running"] == 0


def _claimed(desk: Desk, worker: str) -> list[Any]:
    try:
        return desk.claim(worker, max=5)
    except (OSError, AssertionError):
        return []


def test_workers_are_shown_with_what_they_hold(desk: Desk) -> None:
    desk.submit()
    worker = {"id": "w1", "host": "etl-3", "pid": 7, "version": "0.1.0", "concurrency": 4}
    (item,) = desk.server.api("POST", "/api/queue/claim", {"worker": worker})["items"]
    (shown,) = desk.server.api("GET", "/api/workers")["items"]
    assert (shown["id"], shown["host"], shown["concurrency"], shown["status"]) == ("w1", "etl-3", 4, "busy")
    assert [one["jobId"] for one in shown["running"]] == [item["job"]["id"]]
    desk.server.report({"kind": "completed", "jobId": item["job"]["id"], "fencingToken": item["fencingToken"]})
    (shown,) = desk.server.api("GET", "/api/workers")["items"]
    assert (shown["running"], shown["status"]) == ([], "idle")
