"""One job's whole life over REST, to be read as a story; and what a crash of the server may not change."""

from __future__ import annotations

from world import ServerProcess, log, new_id, started


def test_a_job_is_born_works_is_asked_to_stop_and_obeys(server: ServerProcess) -> None:
    job, producer = new_id(), new_id()
    server.report(started(job, owner="ana", steps=["read", "load"], recordsTotal=200), producer=producer, seq=1)
    progress = {"kind": "progress", "jobId": job, "recordsProcessed": 90, "currentStep": "load"}
    server.report(progress, log(job, "row 17 has no date", "warning"), producer=producer, seq=2)
    shown = server.api("GET", f"/api/jobs/{job}")
    assert (shown["status"], shown["progressPercent"], shown["currentStep"]) == ("running", 45.0, "load")

    asked = server.api("POST", f"/api/jobs/{job}/cancel", {"reason": "wrong day"})
    assert (asked["status"], asked["controlPending"]["action"]) == ("running", "cancel")
    commands = server.api("GET", f"/api/commands?producer={producer}&wait=5s")["items"]
    assert [command["action"] for command in commands] == ["cancel"]
    obeyed = {"kind": "cancelled", "jobId": job, "commandId": commands[0]["id"]}
    assert server.report(obeyed, producer=producer, seq=3)["commands"] == []

    ended = server.api("GET", f"/api/jobs/{job}")
    assert (ended["status"], ended["controlPending"], ended["summary"]["cancelReason"]) == (
        "cancelled",
        None,
        "wrong day",
    )
    assert ended["summary"]["warnings"] == 1
    assert [line["message"] for line in ended["recentLogs"]] == ["row 17 has no date"]
    kinds = [event["kind"] for event in server.api("GET", f"/api/jobs/{job}/events")["items"]]
    assert kinds == ["job_started", "control_requested", "cancelled"]
    assert server.api("GET", "/api/history")["items"][0]["id"] == job


def test_a_killed_server_comes_back_with_all_that_it_acknowledged(server: ServerProcess) -> None:
    job, producer = new_id(), new_id()
    epoch = server.api("GET", "/api/health")["checks"]
    for seq in range(1, 21):
        lines = [log(job, f"line {seq}.{n}") for n in range(50)]
        server.report(started(job), *lines, producer=producer, seq=seq)
    server.kill()
    server.start()
    assert epoch is not None
    page = server.api("GET", f"/api/jobs/{job}/logs?limit=1000")
    assert [line["message"] for line in page["items"]] == [f"line {seq}.{n}" for seq in range(1, 21) for n in range(50)]
    status, body, _ = server.raw("POST", "/api/reports", {"reports": [started(job)], "producer": producer, "seq": 22})
    assert (status, b'"ack":20' in body.replace(b" ", b"")) == (409, True)
    assert server.report(started(job), producer=producer, seq=21)["ack"] == 21


def test_reports_without_a_producer_make_a_job_that_nobody_can_pause_but_anyone_may_end(server: ServerProcess) -> None:
    job = new_id()
    server.report(started(job))
    status, body, headers = server.raw("POST", f"/api/jobs/{job}/pause", {})
    assert (status, headers["Content-Type"].split(";")[0]) == (409, "application/problem+json")
    assert b"Nobody would obey" in body
    assert server.api("POST", f"/api/jobs/{job}/cancel", {"reason": "stuck"})["status"] == "cancelled"
