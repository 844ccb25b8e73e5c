"""What a viewer and the server say to each other, message by message (interface.md, WebSocket)."""

from __future__ import annotations

import msgspec

JOB_KEYS = {
    "jobId", "name", "type", "status", "progressPercent", "currentStep", "stepIndex", "errorMessage", "failure",
    "metrics", "estimate", "health", "owner", "controlPending", "updatedAt", "executionTimeMs",
}  # fmt: skip
STATUS_KEYS = JOB_KEYS | {
    "previousStatus", "outcome", "steps", "tags", "host", "source", "priority", "attempt", "retryOf", "parentId",
    "after", "createdAt", "runAt", "startedAt", "finishedAt", "pausedAt", "pausedBy", "lastFailure",
}  # fmt: skip


async def test_a_viewer_is_welcomed_shown_what_is_active_and_then_lives(stage) -> None:
    stage.journal.start("a", owner="ana")
    stage.journal.start("b")
    stage.journal.finish("b")
    viewer = await stage.connect()
    first = await viewer.live()
    assert [each["type"] for each in first] == ["welcome", "subscribed", "snapshot", "live"]
    welcome, subscribed, snapshot, live = first
    assert set(welcome["data"]) >= {"connectionId", "serverVersion", "protocol", "epoch", "cursor", "oldest", "role"}
    assert welcome["data"]["heartbeatMs"] == 30_000
    assert (subscribed["data"]["recovered"], subscribed["data"]["reason"]) == (False, "new")
    assert [job["id"] for job in snapshot["data"]["jobs"]] == ["a"]
    assert (snapshot["data"]["alerts"], snapshot["data"]["more"]) == ([], False)
    assert subscribed["data"]["cursor"] == snapshot["data"]["cursor"] == live["data"]["cursor"] == "k3f9:3"
    assert {each["seq"] for each in first} == {None}
    assert {each["ch"] for each in first[1:]} == {subscribed["data"]["ch"]}
    assert all(set(each) == {"type", "timestamp", "seq", "ch", "data"} for each in first)


async def test_changes_come_as_status_updates_and_progress_in_order(stage) -> None:
    viewer = await stage.connect()
    await viewer.live()
    stage.journal.start("a")
    stage.journal.progress("a", 45.0, current_step="load", step_index=1)
    stage.journal.finish("a")
    came = await viewer.until("job_status_update", status="completed")
    assert [(each["type"], each["seq"]) for each in came] == [
        ("job_status_update", 1),
        ("job_progress", 2),
        ("job_status_update", 3),
    ]
    started, progressed, finished = (each["data"] for each in came)
    assert set(started) == STATUS_KEYS
    assert set(progressed) == JOB_KEYS
    assert set(finished) == STATUS_KEYS | {"summary"}
    assert (started["previousStatus"], finished["previousStatus"]) == (None, "running")
    assert (progressed["progressPercent"], progressed["currentStep"], progressed["stepIndex"]) == (45.0, "load", 1)
    assert finished["summary"] == {"durationMs": 5}


async def test_with_batch_a_frame_is_an_array(stage) -> None:
    viewer = await stage.connect("batch=1")
    msg = await viewer.ws.receive()
    assert [each["type"] for each in msgspec.json.decode(msg.data)] == ["welcome"]
    await viewer.live()
    stage.journal.commit(stage.journal.change("a"))
    stage.journal.log("a", "one", "two")
    stage.journal.start("b")
    msg = await viewer.ws.receive()
    assert isinstance(msgspec.json.decode(msg.data), list)


async def test_further_subscriptions_have_their_own_channel(stage) -> None:
    stage.journal.start("a")
    stage.journal.start("b")
    viewer = await stage.connect("topics=none")
    await viewer.say(type="subscribe", id="L", data={"topics": ["logs"], "jobIds": ["a"], "level": "warning"})
    opened = await viewer.live()
    assert [each["type"] for each in opened] == ["welcome", "subscribed", "snapshot", "live"]
    assert opened[2]["data"]["jobs"] == []
    ch = opened[1]["data"]["ch"]
    stage.journal.log("a", "quiet", level=20)
    stage.journal.log("a", "loud", level=40)
    stage.journal.log("b", "other job", level=40)
    stage.journal.log("a", "careful", level=30)
    came = await viewer.until("log_message", message="careful")
    assert [(each["data"]["message"], each["ch"]) for each in came] == [("loud", ch), ("careful", ch)]
    assert set(came[0]["data"]) == {
        "seq", "jobId", "name", "at", "level", "message", "logger", "step", "fields", "attempt",
    }  # fmt: skip
    await viewer.say(type="unsubscribe", id="L")
    assert (await viewer.next())["type"] == "unsubscribed"
    stage.journal.log("a", "after", level=40)
    assert await viewer.ping() == []
