"""Tries, chains, controls and retries of managed jobs."""

from __future__ import annotations

import threading
import time
from typing import Any

from world import new_id, started, wait_until

Desk = Any
NOTHING = {"source": {"path": "in.csv"}, "sink": {"path": "out.csv"}}


def test_a_failed_try_waits_and_is_tried_again_within_the_same_id(desk: Desk) -> None:
    queued = desk.submit(retries=1)
    desk.claim_one().fail("connection refused")
    waiting = desk.job(queued["id"])
    assert (waiting["status"], waiting["attempt"], waiting["lastFailure"]["message"]) == (
        "pending", 2, "connection refused",
    )  # fmt: skip
    assert waiting["runAt"] > waiting["updatedAt"]
    assert desk.claim() == []
    again = desk.claim_one()
    assert (again.id, again.job["attempt"], again.job["runAt"]) == (queued["id"], 2, None)
    again.fail("connection refused again")
    assert desk.job(queued["id"])["failure"]["message"] == "connection refused again"


def test_a_killed_process_goes_back_at_once_and_a_refused_config_never(desk: Desk) -> None:
    desk.submit(retries=5)
    given = desk.claim_one()
    given.fail("killed by SIGKILL", "killed")
    again = desk.claim_one(waitMs=0)
    assert again.id == given.id
    again.fail("bad", "rejected")
    assert desk.job(given.id)["failure"]["kind"] == "rejected"


def test_a_job_waits_for_others_to_complete(desk: Desk) -> None:
    first, second = desk.submit(name="clean"), new_id()
    desk.server.report(started(second))  # an observed job can be waited for as well
    third = desk.submit(name="upload", after=[first["id"], second])
    assert [item["job"]["id"] for item in desk.claim()] == [first["id"]]
    assert desk.server.api("GET", "/api/queue")["items"][0]["blocked"] == 1
    desk.server.report({"kind": "completed", "jobId": second})
    assert desk.claim() == []
    held = desk.server.api("GET", "/api/workers")["items"][0]["running"][0]["jobId"]
    token = desk.server.api("GET", f"/api/jobs/{held}/events")["items"][-1]["seq"]
    desk.server.report({"kind": "completed", "jobId": first["id"], "fencingToken": token})
    assert [item["job"]["id"] for item in desk.claim()] == [third["id"]]


def test_what_waits_for_a_failed_job_fails_with_it_down_the_chain(desk: Desk) -> None:
    first = desk.submit(name="clean")
    second = desk.submit(name="map", after=[first["id"]])
    third = desk.submit(name="upload", after=[second["id"]])
    desk.claim_one().fail()
    for waited in (second, third):
        failed = desk.job(waited["id"])
        assert (failed["status"], failed["failure"]["kind"]) == ("failed", "upstream")
    late = desk.submit(name="late", after=[third["id"]])
    assert (late["status"], late["failure"]["kind"]) == ("failed", "upstream")


def test_a_chain_retried_at_once_waits_for_each_other_again(desk: Desk) -> None:
    first = desk.submit(name="clean")
    second = desk.submit(name="map", after=[first["id"]])
    desk.claim_one().fail()
    body = {"action": "retry", "q": "status:failed"}
    dry = desk.server.api("POST", "/api/jobs/bulk", {**body, "dryRun": True})
    assert (dry["eligible"], dry["done"], dry["ids"]) == (2, 0, [first["id"], second["id"]])
    made = desk.server.api("POST", "/api/jobs/bulk", body)["retried"]
    again = desk.job(made[second["id"]])
    assert (again["retryOf"], again["after"]) == (second["id"], [made[first["id"]]])
    desk.claim_one().complete()
    assert desk.claim_one().id == made[second["id"]]


def test_a_retry_is_a_new_job_that_names_the_old_one_and_is_made_once(desk: Desk) -> None:
    queued = desk.submit(name="orders_nightly", priority=4, tags={"env": "prod"})
    assert desk.refused("POST", f"/api/jobs/{queued['id']}/retry")[0] == 409
    desk.claim_one().fail()
    again = desk.server.api("POST", f"/api/jobs/{queued['id']}/retry", {"reason": "the disk is back"})
    assert (again["status"], again["retryOf"], again["attempt"]) == ("pending", queued["id"], 1)
    assert (again["name"], again["priority"], again["tags"]) == ("orders_nightly", 4, {"env": "prod"})
    assert desk.server.api("POST", f"/api/jobs/{queued['id']}/retry")["id"] == again["id"]
    given = desk.claim_one()
    assert given.spec["config"] == NOTHING
    given.complete()
    assert desk.server.api("POST", f"/api/jobs/{queued['id']}/retry")["id"] != again["id"]


def test_a_job_is_not_given_out_before_its_time(desk: Desk) -> None:
    desk.submit(runAt="2099-01-01T00:00:00Z", name="far")
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
    queued = desk.submit(runAt=soon, name="soon")
    assert desk.claim_one(waitMs=60_000).id == queued["id"]  # the request itself fails after 30 s
    (shown,) = desk.server.api("GET", "/api/queue")["items"]
    assert (shown["scheduled"], shown["ready"], shown["oldestAt"]) == (1, 0, None)


def test_a_refused_config_fails_the_job_before_anything_is_touched(desk: Desk) -> None:
    queued = desk.server.api("POST", "/api/jobs", {"type": "csv_processing", "config": {"source": {}}, "retries": 3})
    assert (queued["status"], queued["failure"]["kind"]) == ("failed", "rejected")
    assert "source.path" in queued["failure"]["message"]
    assert desk.claim() == []


def test_the_cancel_of_a_queued_job_is_immediate_and_final(desk: Desk) -> None:
    queued = desk.submit()
    waiting = desk.submit(after=[queued["id"]])
    cancelled = desk.server.api("POST", f"/api/jobs/{queued['id']}/cancel", {"reason": "wrong day"})
    assert cancelled["status"] == "cancelled"
    assert cancelled["summary"]["cancelReason"] == "wrong day"
    assert desk.job(waiting["id"])["failure"]["kind"] == "upstream"
    assert desk.claim() == []
    assert desk.refused("POST", f"/api/jobs/{queued['id']}/pause")[0] == 409


def test_a_control_reaches_the_worker_and_the_process_of_the_job(desk: Desk) -> None:
    desk.submit()
    given = desk.claim_one()
    asked = desk.server.api("POST", f"/api/jobs/{given.id}/pause", {"reason": "load"})
    assert asked["controlPending"]["action"] == "pause"
    (command,) = given.renew()["commands"]
    assert (command["jobId"], command["action"], command["reason"]) == (given.id, "pause", "load")
    assert command["deadlineAt"] is not None
    producer = new_id()
    receipt = given.report("heartbeat", producer=producer, seq=1)  # the process begins to report only now
    assert [one["id"] for one in receipt["commands"]] == [command["id"]]
    heard = desk.server.api("GET", f"/api/commands?producer={producer}&wait=20s")["items"]
    assert [one["id"] for one in heard] == [command["id"]]
    given.report("paused", commandId=command["id"], producer=producer, seq=2)
    assert desk.job(given.id)["status"] == "paused"
    assert given.renew()["commands"] == []


def test_a_worker_that_waits_for_news_hears_a_cancel_at_once(desk: Desk) -> None:
    desk.submit()
    given = desk.claim_one()
    heard: list[Any] = []
    waits = threading.Thread(target=lambda: heard.append(given.renew(waitMs=30_000)))
    waits.start()
    desk.server.api("POST", f"/api/jobs/{given.id}/cancel")
    waits.join(20)
    assert [one["action"] for one in heard[0]["commands"]] == ["cancel"]
    given.report("cancelled", commandId=heard[0]["commands"][0]["id"])
    assert desk.job(given.id)["summary"]["cancelledBy"] == "admin.token"


def test_a_paused_job_that_changes_hands_is_paused_again(desk: Desk) -> None:
    desk.submit()
    given = desk.claim_one()
    desk.server.api("POST", f"/api/jobs/{given.id}/pause")
    given.report("paused", commandId=given.renew()["commands"][0]["id"])
    assert given.release()["controlPending"]["action"] == "pause"
    again = desk.claim_one("w2")
    assert again.job["controlPending"]["action"] == "pause"
    assert [one["action"] for one in again.renew()["commands"]] == ["pause"]


def test_a_paused_queue_gives_out_nothing_and_says_so_everywhere(desk: Desk) -> None:
    paused = desk.server.api("PUT", "/api/queue/pause", {"reason": "the warehouse is down"})
    assert [(one["queue"], one["by"]) for one in paused["paused"]] == [("*", "admin.token")]
    queued = desk.submit()
    assert queued["queue"]["paused"]["reason"] == "the warehouse is down"
    assert desk.claim() == []
    assert desk.server.api("GET", "/api/queue")["items"][0]["paused"]["by"] == "admin.token"
    assert desk.server.api("GET", "/api/system/health")["queue"]["paused"]
    deeds = [deed["action"] for deed in desk.server.api("GET", "/api/audit")["items"]]
    assert "queue.pause" in deeds
    found: list[Any] = []
    waits = threading.Thread(target=lambda: found.extend(desk.claim("w2", waitMs=30_000)))
    waits.start()
    wait_until(lambda: len(desk.server.api("GET", "/api/workers")["items"]) == 2, "the worker waits")
    desk.server.api("PUT", "/api/queue/resume")
    waits.join(20)
    assert [item["job"]["id"] for item in found] == [queued["id"]]


def test_one_queue_alone_is_paused(desk: Desk) -> None:
    desk.server.api("PUT", "/api/queue/pause", {"queue": "heavy"})
    desk.submit(queue="heavy")
    other = desk.submit()
    assert [item["job"]["id"] for item in desk.claim(queues=["heavy", "default"])] == [other["id"]]


def test_only_operators_pause_the_queue(desk: Desk) -> None:
    for role, status in (("viewer", 403), ("reporter", 403), ("operator", 200)):
        token = desk.server.api("POST", "/api/tokens", {"name": role, "role": role})["token"]
        assert desk.server.raw("PUT", "/api/queue/pause", {}, token=token)[0] == status
