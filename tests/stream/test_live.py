"""Frames of a live group: when they go out, what they hold, and what is shown of what cannot be committed."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlmon.core import protocol
from etlmon.core.job import Status
from etlmon.server.stream import fanout
from etlmon.server.stream.groups import Box


def job(stage: Any, job_id: str, **fields: Any) -> Any:
    return msgspec.structs.replace(stage.journal.jobs[job_id], **fields)


async def test_states_that_cannot_be_committed_are_shown_and_marked(stage) -> None:
    stage.journal.start("a")
    viewer = await stage.connect()
    running = await stage.connect("topics=jobs&status=running")
    await viewer.live()
    await running.live()
    stage.hub.publish_volatile([job(stage, "a", progress_percent=50.0)])
    stage.hub.publish_volatile([job(stage, "a", progress_percent=60.0)])
    stage.hub.publish_volatile([job(stage, "a", status=Status.COMPLETED, summary={})])
    came = await viewer.until("job_status_update", status="completed")
    assert {each["seq"] for each in came} == {None}
    assert {each["data"]["durable"] for each in came} == {False}
    assert [each["data"]["progressPercent"] for each in came if each["type"] == "job_progress"] == [60.0]
    assert (await running.until("job_gone"))[-1]["data"] == {"jobId": "a"}
    stage.journal.finish("a")
    last = (await viewer.until("job_status_update", status="completed"))[-1]
    assert last["seq"] == 2
    assert "durable" not in last["data"]
    stage.hub.publish_volatile([job(stage, "a", progress_percent=1.0)])
    assert (await viewer.next())["type"] == "job_status_update"
    again = await stage.connect("since=k3f9:1")
    assert [each["seq"] for each in await again.live() if each["type"].startswith("job_")] == [2]


async def test_a_state_that_left_a_filter_uncommitted_is_gone_once_more_or_not_at_all(stage) -> None:
    viewer = await stage.connect("topics=jobs&status=running")
    await viewer.live()
    stage.journal.start("a")
    await viewer.until("job_status_update")
    stage.hub.publish_volatile([job(stage, "a", status=Status.FAILED)])
    assert (await viewer.until("job_gone"))[-1]["seq"] is None


async def test_with_a_merging_window_samples_wait_and_status_does_not(stage_with) -> None:
    stage = await stage_with(sample_window_ms=60_000)
    viewer = await stage.connect()
    await viewer.live()
    stage.journal.start("a")
    stage.journal.start("b")
    stage.journal.progress("a", 1.0)
    await viewer.until("job_progress")
    for percent in range(2, 50):
        stage.journal.progress("a", float(percent))
        stage.journal.progress("b", float(percent))
        await asyncio.sleep(0)
    assert await viewer.ping() == []
    stage.journal.finish("b")
    came = await viewer.until("job_status_update", status="completed")
    assert [(each["type"], each["data"]["jobId"], each["data"]["progressPercent"]) for each in came] == [
        ("job_progress", "a", 49.0), ("job_progress", "b", 49.0), ("job_status_update", "b", 49.0),
    ]  # fmt: skip
    assert [each["seq"] for each in came] == sorted(each["seq"] for each in came)


async def test_the_window_ends_by_itself(stage_with) -> None:
    stage = await stage_with(sample_window_ms=150)
    viewer = await stage.connect()
    await viewer.live()
    stage.journal.start("a")
    for percent in range(1, 30):
        stage.journal.progress("a", float(percent))
        await asyncio.sleep(0.002)
    came = await viewer.until("job_progress", progressPercent=29.0)
    assert len(came) < 10


async def test_a_frame_holds_so_many_messages_and_no_more(stage) -> None:
    stage.journal.start("a")
    viewer = await stage.connect("topics=logs&batch=1")
    await viewer.live()
    stage.journal.log("a", *("x" * 100 for _ in range(1300)))
    sizes, seqs = [], []
    while len(seqs) < 1300:
        frame = msgspec.json.decode((await viewer.ws.receive(timeout=20)).data)
        sizes.append(len(frame))
        seqs += [each["seq"] for each in frame]
    assert sizes == [500, 500, 300]
    assert seqs == list(range(2, 1302))


@given(st.lists(st.tuples(st.sampled_from([None, "a", "b", "c"]), st.binary(max_size=5)), max_size=30))
def test_a_box_keeps_all_but_older_samples_in_order(given_messages: list[tuple[str | None, bytes]]) -> None:
    box = Box()
    for sample_of, message in given_messages:
        box.add(sample_of, message)
    last = {sample_of: n for n, (sample_of, _) in enumerate(given_messages)}
    kept = [message for n, (of, message) in enumerate(given_messages) if of is None or last[of] == n]
    assert (len(box), box.n_bytes) == (len(kept), sum(map(len, kept)))
    assert box.only_samples == all(of is not None for of, _ in given_messages)
    assert box.has_samples == any(of is not None for of, _ in given_messages)
    assert box.take() == kept
    assert (len(box), box.n_bytes, box.only_samples) == (0, 0, True)


async def test_a_frame_of_long_lines_is_cut_by_bytes(stage) -> None:
    stage.journal.start("a")
    viewer = await stage.connect("topics=logs&batch=1")
    await viewer.live()
    stage.journal.log("a", *("x" * 16_000 for _ in range(60)))
    sizes, n = [], 0
    while n < 60:
        raw = (await viewer.ws.receive(timeout=20)).data
        sizes.append(len(raw))
        n += len(msgspec.json.decode(raw))
    assert max(sizes) < protocol.MAX_FRAME_BYTES + 17_000
    assert len(sizes) == 4


async def test_a_quiet_group_sends_at_once_and_a_busy_one_gathers(stage) -> None:
    viewer = await stage.connect("batch=1")
    await viewer.live()
    before = stage.hub.stats.n_frames
    for number in range(300):
        stage.journal.start(f"j{number}")
        await asyncio.sleep(0)
    await viewer.until("job_status_update", jobId="j299")
    assert stage.hub.stats.n_frames - before < 100
    assert 0 < stage.hub.stats.update_delay.n <= 300


async def test_a_group_that_takes_long_to_write_to_rests_longer(stage) -> None:
    viewer = await stage.connect("batch=1")
    await viewer.live()
    group = next(iter(stage.hub.groups))
    stage.journal.start("a")
    await viewer.until("job_status_update")
    assert group.rest_s == fanout.TICK_S
    write = stage.hub.fanout._write

    def slowly(*args: Any) -> Any:
        time.sleep(0.03)
        return write(*args)

    stage.hub.fanout._write = slowly
    stage.journal.start("b")
    await viewer.until("job_status_update", jobId="b")
    assert fanout.REST * 0.03 <= group.rest_s <= fanout.MAX_REST_S
    before = stage.hub.stats.n_frames
    for number in range(20):
        stage.journal.start(f"j{number}")
        await asyncio.sleep(0)
    await viewer.until("job_status_update", jobId="j19")
    assert stage.hub.stats.n_frames - before <= 2


@pytest.mark.parametrize("n", [0, 1, 500, 501, 1200])
async def test_a_snapshot_comes_in_parts(stage, n: int) -> None:
    for number in range(n):
        stage.journal.start(f"j{number}")
    viewer = await stage.connect("topics=jobs")
    parts = [each["data"] for each in await viewer.live() if each["type"] == "snapshot"]
    assert [job["id"] for part in parts for job in part["jobs"]] == [f"j{number}" for number in range(n)]
    assert [part["more"] for part in parts] == [True] * (len(parts) - 1) + [False]
    assert all(len(part["jobs"]) <= 500 for part in parts)
    assert {part["cursor"] for part in parts} == {f"k3f9:{n}"}


async def test_what_happens_while_the_snapshot_is_read_is_told_once(stage) -> None:
    journal = stage.journal
    journal.start("a")
    journal.start("b")

    def meanwhile() -> None:
        journal.before_active_jobs = lambda: None
        journal.progress("a", 50.0)
        journal.finish("b")
        journal.start("c")

    journal.before_active_jobs = meanwhile
    viewer = await stage.connect("topics=jobs")
    opened = await viewer.live()
    snapshot = opened[2]["data"]
    assert snapshot["cursor"] == "k3f9:5"
    assert [(each["id"], each["seq"]) for each in snapshot["jobs"]] == [("a", 3), ("c", 5)]
    assert [each for each in opened if each["seq"] is not None] == []
    journal.finish("a")
    assert (await viewer.next())["seq"] == 6


async def test_a_job_that_ended_last_while_the_snapshot_was_read_is_told_after_it(stage) -> None:
    journal = stage.journal
    journal.start("a")

    def meanwhile() -> None:
        journal.before_active_jobs = lambda: None
        journal.finish("a")

    journal.before_active_jobs = meanwhile
    viewer = await stage.connect("topics=jobs")
    opened = await viewer.live()
    assert (opened[2]["data"]["cursor"], opened[2]["data"]["jobs"]) == ("k3f9:1", [])
    assert [each["seq"] for each in opened if each["seq"] is not None] == [2]


async def test_a_snapshot_ahead_of_the_hub_is_waited_for(stage) -> None:
    journal = stage.journal
    journal.start("a")
    told, held = journal.told, []

    def ahead() -> None:
        journal.before_active_jobs = lambda: None
        journal.told = lambda items, head: held.append((items, head))
        journal.commit(journal.change("a", owner="bo"))

    journal.before_active_jobs = ahead
    viewer = await stage.connect("topics=jobs")
    opened = await viewer.until("snapshot")
    assert opened[-1]["data"]["jobs"][0]["owner"] == "bo"
    journal.told = told
    for items, head in held:
        told(items, head)
    journal.finish("a")
    came = await viewer.until("job_status_update")
    assert [each["seq"] for each in came if each["seq"] is not None] == [3]


async def test_those_who_come_together_share_one_snapshot(stage) -> None:
    for number in range(50):
        stage.journal.start(f"j{number}")
    reads = []
    stage.journal.before_active_jobs = lambda: reads.append(1)
    viewers = await asyncio.gather(*(stage.connect("topics=jobs") for _ in range(50)))
    for viewer in viewers:
        assert len((await viewer.live())[2]["data"]["jobs"]) == 50
    assert len(reads) < 10


async def test_the_cost_of_filtering_grows_with_groups_and_an_index_finds_single_jobs(stage) -> None:
    viewers = [await stage.connect(f"topics=jobs&job=j{number}") for number in range(20)]
    viewers += [await stage.connect("topics=jobs&status=running") for _ in range(20)]
    for viewer in viewers:
        await viewer.live()
    asked: list[int] = []
    for group in stage.hub.groups:
        sees = group._sees
        group._sees = lambda job, now, sees=sees, ch=group.ch: asked.append(ch) or sees(job, now)
    stage.journal.start("j7")
    assert len(asked) == 2
