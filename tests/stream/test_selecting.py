"""What reaches a viewer is what it asked for, told apart by group, and what its token may know."""

from __future__ import annotations

import aiohttp
import pytest

from etlmon.core.job import Status
from etlmon.core.words import has_words, words_of


def told(messages) -> list[tuple[str, str]]:
    """(type, job id) of data messages."""
    return [
        (each["type"], each["data"].get("jobId", each["data"].get("id")))
        for each in messages
        if each["seq"] is not None
    ]


@pytest.mark.parametrize(
    "query",
    [
        "topics=jobs&name=crm_*",
        "topics=jobs&name=crm_sync,ledger_close",
        "topics=jobs&name=!orders_nightly",
        "topics=jobs&q=name:crm_*",
        "topics=jobs&q=%22crm_sync%22",
        "topics=jobs&type=api_upload",
        "topics=jobs&owner=bo&owner=cy",
        "topics=jobs&job=c",
        "topics=jobs&jobIds=c,x",
        "topics=jobs&job=!o",
        "topics=jobs&q=tag.env:prod&status=running,completed",
        "topics=jobs&q=owner:bo+OR+owner:cy",
    ],
)
async def test_a_query_string_chooses_jobs(stage, query: str) -> None:
    journal = stage.journal
    journal.start("o", owner="ana")
    journal.start("c", name="crm_sync", type="api_upload", owner="bo", tags={"env": "prod"})
    viewer = await stage.connect(query)
    snapshot = (await viewer.live())[2]
    assert [job["id"] for job in snapshot["data"]["jobs"]] == ["c"]
    journal.progress("o", 10.0)
    journal.progress("c", 20.0)
    journal.finish("o")
    journal.finish("c")
    assert told(await viewer.until("job_status_update", jobId="c")) == [
        ("job_progress", "c"),
        ("job_status_update", "c"),
    ]


async def test_a_subscription_by_the_seeds_channel_is_an_id_or_an_owner(stage) -> None:
    viewer = await stage.connect("topics=none")
    await viewer.say(type="subscribe", channel="job:ana")
    assert (await viewer.until("live"))[-1]["data"]["id"] == "job:ana"
    stage.journal.start("a", owner="ana")
    stage.journal.start("b", owner="bo")
    stage.journal.start("ana", owner="bo")
    assert told(await viewer.until("job_status_update", jobId="ana")) == [
        ("job_status_update", "a"),
        ("job_status_update", "ana"),
    ]
    await viewer.say(type="unsubscribe", channel="job:ana")
    await viewer.until("unsubscribed", id="job:ana")


async def test_a_viewer_is_told_when_a_job_leaves_its_filter_and_when_it_enters(stage) -> None:
    journal = stage.journal
    journal.start("a")
    viewer = await stage.connect("topics=jobs&status=running")
    other = await stage.connect("topics=jobs&q=progress%3E50")
    await viewer.live()
    await other.live()
    journal.progress("a", 60.0)
    assert told(await other.until("job_progress")) == [("job_progress", "a")]
    journal.progress("a", 40.0)
    gone = (await other.until("job_gone"))[-1]
    assert (gone["data"], gone["seq"]) == ({"jobId": "a"}, 3)
    journal.finish("a")
    assert told(await viewer.until("job_gone")) == [("job_progress", "a"), ("job_progress", "a"), ("job_gone", "a")]
    assert await other.ping() == []


async def test_a_change_of_owner_priority_failure_attempt_or_control_is_a_status_update(stage) -> None:
    from etlmon.core.job import ControlPending, Failure

    journal = stage.journal
    viewer = await stage.connect()
    await viewer.live()
    journal.start("a")
    asked = ControlPending(action="pause", by="ana", at=1_700_000_000_000, reason="night")
    journal.commit(journal.change("a", owner="bo"))
    journal.commit(journal.change("a", priority=5))
    journal.commit(journal.change("a", control_pending=asked))
    journal.commit(journal.change("a", attempt=2))
    journal.commit(journal.change("a", current_step="load"))
    journal.finish("a", Status.FAILED, failure=Failure(message="connection refused", error_type="OSError"))
    came = await viewer.until("job_status_update", status="failed")
    assert [each["type"] for each in came] == [*["job_status_update"] * 5, "job_progress", "job_status_update"]
    assert came[3]["data"]["controlPending"] == {
        "action": "pause", "by": "ana", "at": "2023-11-14T22:13:20.000Z", "reason": "night",
    }  # fmt: skip
    assert came[-1]["data"]["errorMessage"] == came[-1]["data"]["failure"]["message"] == "connection refused"


async def test_log_lines_are_chosen_by_level_and_words(stage) -> None:
    journal = stage.journal
    journal.start("a")
    journal.start("b", name="crm_sync")
    viewer = await stage.connect("topics=logs&level=WARNING&words=Connection+db7")
    named = await stage.connect("topics=logs&name=crm_sync&types=log_message&batch=1")
    await viewer.live()
    await named.live()
    journal.log(
        "a", "connection to db7 lost", "connections to db7", "db7: CONNECTION reset", "connection lost", level=30
    )
    journal.log("a", "connection to db7 made", level=20)
    journal.log("b", "connection db7", level=50)
    came = await viewer.until("log_message", jobId="b")
    assert [each["data"]["message"] for each in came] == [
        "connection to db7 lost",
        "db7: CONNECTION reset",
        "connection db7",
    ]
    assert [each["data"]["level"] for each in came] == ["warning", "warning", "critical"]
    assert told(await named.until("log_message")) == [("log_message", "b")]


async def test_types_choose_messages(stage) -> None:
    viewer = await stage.connect("topics=jobs,logs&types=job_status_update,log_message")
    await viewer.live()
    stage.journal.start("a")
    stage.journal.progress("a", 10.0)
    stage.journal.log("a", "line")
    stage.journal.finish("a")
    came = await viewer.until("job_status_update", status="completed")
    assert [each["type"] for each in came] == ["job_status_update", "log_message", "job_status_update"]


async def test_a_viewer_of_metrics_gets_what_was_measured(stage) -> None:
    journal = stage.journal
    both = await stage.connect("topics=jobs,metrics")
    alone = await stage.connect("topics=metrics")
    await both.live()
    await alone.live()
    journal.start("a")
    change = journal.change("a", metrics={"recordsProcessed": 5})
    journal.commit(type(change)(**{**{f: getattr(change, f) for f in change.__struct_fields__}, "metrics_only": True}))
    journal.progress("a", 10.0)
    journal.finish("a")
    came = await both.until("job_status_update", status="completed")
    kinds = ["job_status_update", "metrics_update", "job_progress", "job_status_update"]
    assert [each["type"] for each in came] == kinds
    assert set(came[1]["data"]) == {
        "jobId", "name", "type", "status", "metrics", "health", "updatedAt", "executionTimeMs",
    }  # fmt: skip
    assert came[1]["data"]["metrics"]["recordsProcessed"] == 5
    assert [(each["type"], each["seq"]) for each in await alone.ping()] == [
        ("metrics_update", 1),
        ("metrics_update", 2),
    ]


async def test_notices_come_by_topic(stage) -> None:
    viewer = await stage.connect()
    queue = await stage.connect("topics=queue,config,resources")
    reporter = await stage.connect("topics=alerts,queue,config", role="reporter")
    for each in (viewer, queue, reporter):
        await each.live()
    stage.journal.notice("alerts", "alert", id="x", rule="job_failed")
    stage.journal.notice("queue", "queue_update", depth=3)
    stage.hub.announce("resources", "resource_update", {"cpu": 0.5})
    stage.journal.notice("config", "config_changed", applied=["a"])
    came = await queue.until("config_changed")
    assert [(each["type"], each["seq"]) for each in came] == [
        ("queue_update", 2), ("resource_update", None), ("config_changed", 3),
    ]  # fmt: skip
    assert [(each["type"], each["data"]["rule"]) for each in await viewer.ping()] == [("alert", "job_failed")]
    assert await reporter.ping() == []


async def test_lines_that_an_agent_gave_up_are_told_to_those_who_read_lines(stage) -> None:
    from etlmon.core.events import Event, EventKind

    journal = stage.journal
    journal.start("a")
    reader = await stage.connect("topics=logs&job=a")
    other = await stage.connect("topics=logs&job=b")
    await reader.live()
    await other.live()
    change = journal.change("a", EventKind.GAP)
    event = Event(kind=EventKind.GAP, job_id="a", at=1, detail={"dropped": 7, "from": "f", "to": "t"})
    journal.commit(type(change)(seq=change.seq, at=change.at, before=change.before, after=change.after, event=event))
    gap = (await reader.until("gap"))[-1]
    assert gap["data"] == {"jobId": "a", "name": "orders_nightly", "dropped": 7, "from": "f", "to": "t"}
    assert gap["seq"] == 2
    assert await other.ping() == []


async def test_a_reporter_sees_only_its_own_in_snapshot_live_and_replay(stage) -> None:
    journal = stage.journal
    journal.start("mine", reporter="r1")
    journal.start("theirs", reporter="r2")
    viewer = await stage.connect("topics=jobs,logs", role="reporter", token_id="r1")
    snapshot = (await viewer.live())[2]
    assert [job["id"] for job in snapshot["data"]["jobs"]] == ["mine"]
    for job_id in ("theirs", "mine"):
        journal.progress(job_id, 10.0)
        journal.log(job_id, f"secret of {job_id}")
        journal.finish(job_id)
    live = told(await viewer.until("job_status_update"))
    assert live == [("job_progress", "mine"), ("log_message", "mine"), ("job_status_update", "mine")]
    again = await stage.connect("topics=jobs,logs&since=k3f9:2", role="reporter", token_id="r1")
    assert told(await again.live()) == live
    asked = await stage.connect("topics=none", role="reporter", token_id="r1")
    await asked.say(type="subscribe", data={"topics": ["jobs", "logs"], "jobIds": ["theirs"], "since": "k3f9:2"})
    await asked.say(type="subscribe", data={"topics": ["jobs", "logs"], "jobIds": ["nonesuch"], "since": "k3f9:2"})
    assert told(await asked.live()) == told(await asked.live()) == []
    journal.commit(journal.change("theirs", owner="x"))
    assert told(await asked.ping()) == []


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("statuss=running", "status"),
        ("topics=job", "jobs"),
        ("types=job_statusupdate", "job_status_update"),
        ("types=heartbeat", "alert"),
        ("level=loud", "level"),
        ("status=runing", "running"),
        ("q=stat:failed", "status"),
        ("q=duration%3E10m", "duration"),
        ("q=created%3C24h", "created"),
        ("token=abc", "token"),
    ],
)
async def test_a_wrong_query_string_is_refused_before_the_upgrade(stage, query: str, says: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await stage.connect(query)
    assert caught.value.status == 422
    async with stage.http.get(f"{stage.url}/ws?{query}", headers={"X-Role": "viewer", "X-Token-Id": "t"}) as answer:
        assert says in (await answer.json())["detail"]


async def test_viewers_who_ask_for_the_same_in_other_words_share_a_group(stage) -> None:
    viewers = [
        await stage.connect(query)
        for query in (
            "topics=jobs,logs&words=b+a",
            "topics=logs,jobs&words=A,b&batch=1",
            "topics=logs&topics=jobs&words=a%20B%20a",
        )
    ]
    assert len({(await each.live())[-1]["ch"] for each in viewers}) == 1
    other = await stage.connect("topics=jobs,logs&words=b+a", role="reporter")
    await other.live()
    assert len(stage.hub.groups) == 2


def test_live_words_are_the_words_of_the_search_accents_and_all() -> None:
    assert has_words("Übertragung nach Zürich: 12 Zeilen", words_of("zurich UBERTRAGUNG"))
    assert not has_words("Zürichsee", words_of("zurich"))
