"""Resume is all or nothing, and the answer says which (design.md, law 2)."""

from __future__ import annotations

import asyncio

import pytest

from etlmon.core.job import Status
from etlmon.server.stream.subscription import State


def data_of(messages) -> list[tuple[str, int]]:
    return [(each["type"], each["seq"]) for each in messages if each["seq"] is not None]


async def test_what_was_missed_comes_once_and_then_the_stream_goes_on(stage) -> None:
    journal = stage.journal
    journal.start("a")
    journal.log("a", "one", "two", "three")
    journal.progress("a", 10.0)
    journal.progress("a", 20.0)
    journal.finish("a")
    viewer = await stage.connect("topics=jobs,logs&since=k3f9:2")
    opened = await viewer.live()
    assert [each["type"] for each in opened[:2]] == ["welcome", "subscribed"]
    assert opened[1]["data"] | {"ch": 0} == {
        "id": "main", "ch": 0, "recovered": True, "reason": None, "cursor": "k3f9:2",
    }  # fmt: skip
    assert data_of(opened) == [("log_message", 3), ("log_message", 4), ("job_progress", 6), ("job_status_update", 7)]
    assert opened[-1]["data"]["cursor"] == "k3f9:7"
    journal.start("b")
    assert data_of(await viewer.until("job_status_update")) == [("job_status_update", 8)]


@pytest.mark.parametrize("ring_size", [10_000, 1])
@pytest.mark.parametrize("since", range(9))
async def test_every_place_can_be_resumed_from_out_of_memory_or_store(stage_with, ring_size: int, since: int) -> None:
    stage = await stage_with(ring_size=ring_size)
    journal = stage.journal
    journal.start("a")
    journal.log("a", "one", "two", "three")
    journal.start("b")
    journal.progress("a", 10.0)
    journal.log("b", "four")
    journal.finish("a", Status.CANCELLED)
    viewer = await stage.connect(f"topics=jobs,logs&since=k3f9:{since}")
    came = data_of(await viewer.live())
    events = [("job_status_update", 1), ("log_message", 2), ("log_message", 3), ("log_message", 4),
              ("job_status_update", 5), ("job_progress", 6), ("log_message", 7), ("job_status_update", 8)]  # fmt: skip
    expected = [each for each in events if each[1] > since]
    assert [each for each in came if each != ("job_progress", 6)] == [e for e in expected if e != ("job_progress", 6)]
    assert (journal.n_reads > 0) == (ring_size == 1 and since < 7)


@pytest.mark.parametrize(
    ("since", "reason"),
    [
        ("nonsuch:5", "epoch"),
        ("k3f9:99999", "future"),
        ("k3f9:1", "expired"),
        ("k3f9:-4", "unreadable"),
        ("latest", "unreadable"),
        ("5", "unreadable"),
        ("", "new"),
    ],
)
async def test_what_cannot_be_resumed_begins_anew_and_says_why(stage, since: str, reason: str) -> None:
    journal = stage.journal
    journal.start("a")
    journal.start("b")
    journal.finish("b")
    journal.forget(2)
    viewer = await stage.connect(f"since={since}")
    opened = await viewer.live()
    assert [each["type"] for each in opened] == ["welcome", "subscribed", "snapshot", "live"]
    assert (opened[1]["data"]["recovered"], opened[1]["data"]["reason"]) == (False, reason)
    assert opened[0]["data"]["oldest"] == "k3f9:2"
    assert [job["id"] for job in opened[2]["data"]["jobs"]] == ["a"]


async def test_a_reader_of_lines_cannot_resume_from_before_the_oldest_line(stage) -> None:
    stage.journal.start("a")
    stage.journal.log("a", "one", "two")
    stage.journal.logs.oldest_seq = 3
    for query, recovered in (("topics=logs&since=k3f9:2", False), ("topics=jobs&since=k3f9:2", True)):
        viewer = await stage.connect(query)
        assert (await viewer.until("subscribed"))[-1]["data"]["recovered"] is recovered


async def test_a_job_that_left_a_filter_while_the_viewer_was_away_is_gone(stage_with) -> None:
    for ring_size in (10_000, 1):
        stage = await stage_with(ring_size=ring_size)
        journal = stage.journal
        first = journal.start(f"a{ring_size}", progress_percent=60.0)
        journal.progress(f"a{ring_size}", 20.0)
        journal.log(f"a{ring_size}", "line")
        journal.start(f"b{ring_size}", progress_percent=10.0)
        viewer = await stage.connect(f"topics=jobs&q=progress%3E50&since=k3f9:{first}")
        came = [each for each in await viewer.live() if each["seq"] is not None]
        assert [(each["type"], each["data"]) for each in came] == [("job_gone", {"jobId": f"a{ring_size}"})]


async def test_of_samples_missed_only_the_newest_of_each_job_comes(stage) -> None:
    journal = stage.journal
    journal.start("a")
    journal.start("b")
    for percent in range(100):
        journal.progress("a", float(percent))
        journal.progress("b", float(percent))
    viewer = await stage.connect("since=k3f9:2")
    assert data_of(await viewer.live()) == [("job_progress", 201), ("job_progress", 202)]


async def test_a_reader_that_retention_overtakes_is_told_of_the_gap_and_shown_how_things_stand(stage_with) -> None:
    stage = await stage_with(ring_size=10)
    journal = stage.journal
    journal.start("a")
    viewer = await stage.connect("topics=jobs,logs")
    await viewer.live()
    subscription = next(iter(stage.hub._sessions)).subscriptions["main"]
    pause(subscription.session)
    for number in range(50):
        journal.log("a", f"line {number}")
    journal.start("b")
    await stage.wait(lambda: subscription.state is State.LAGGING)
    assert subscription.cursor == 1
    journal.forget(40)
    resume(subscription.session)
    came = await viewer.until("snapshot")
    gap = next(each for each in came if each["type"] == "gap")
    assert gap["data"] == {"dropped": 39, "from": "k3f9:1", "to": "k3f9:40"}
    assert gap["seq"] == 40
    assert [job["id"] for job in came[-1]["data"]["jobs"]] == ["a", "b"]
    journal.log("a", "after")
    assert (await viewer.next())["data"]["message"] == "after"
    assert stage.hub.connections()[0].dropped == 39
    assert stage.hub.stats.n_gaps == 1


async def test_a_quiet_reader_that_stalls_is_not_sent_back_to_its_last_message(stage_with) -> None:
    stage = await stage_with(ring_size=10)
    journal = stage.journal
    journal.start("a", name="crm_sync")
    viewer = await stage.connect("topics=jobs&name=crm_sync")
    await viewer.live()
    for number in range(50):
        journal.start(f"b{number}")
    session = next(iter(stage.hub._sessions))
    pause(session)
    journal.finish("a")
    await stage.wait(lambda: session.subscriptions["main"].state is State.LAGGING)
    journal.forget(40)
    resume(session)
    assert data_of([await viewer.next()]) == [("job_status_update", 52)]
    assert stage.hub.stats.n_gaps == 0


async def test_who_unsubscribes_while_the_store_is_read_is_sent_no_more_of_it(stage_with) -> None:
    stage = await stage_with(ring_size=1)
    journal = stage.journal
    journal.start("a")
    journal.log("a", "one", "two")
    journal.start("b")
    reading, go_on = asyncio.Event(), asyncio.Event()
    items_after = journal.items_after

    async def slowly(*args, **kwargs):
        found = await items_after(*args, **kwargs)
        reading.set()
        await go_on.wait()
        return found

    journal.items_after = slowly
    viewer = await stage.connect("topics=none")
    await viewer.say(type="subscribe", id="x", data={"topics": ["logs"], "since": "k3f9:0"})
    await reading.wait()
    await viewer.say(type="unsubscribe", id="x")
    await viewer.until("unsubscribed")
    go_on.set()
    assert await viewer.ping() == []
    await stage.wait(lambda: not stage.hub._tasks)
    assert await viewer.ping() == []


async def test_what_a_reporter_may_not_see_is_not_replayed_to_it(stage) -> None:
    stage.journal.notice("alerts", "alert", id="x")
    stage.journal.notice("config", "config_changed", applied=["a"])
    viewer = await stage.connect("topics=jobs,alerts,config&since=k3f9:0")
    assert data_of(await viewer.live()) == [("alert", 1), ("config_changed", 2)]
    reporter = await stage.connect("topics=jobs,alerts,config&since=k3f9:0", role="reporter")
    assert data_of(await reporter.live()) == []


def pause(session) -> None:
    """As the transport does when its buffer is full."""
    session.protocol.pause_writing()


def resume(session) -> None:
    session.protocol.resume_writing()
