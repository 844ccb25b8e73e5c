"""The small parts by themselves: pulse, ring, frames, groups."""

from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlmon.core.events import LogRun, Notice
from etlmon.core.filters import All
from etlmon.core.job import LogLine
from etlmon.core.protocol import Topic
from etlmon.server.stream.groups import Groups
from etlmon.server.stream.messages import LinesEntry, NoticeEntry, frames, text_frame
from etlmon.server.stream.pulse import MESSAGES_AT_ONCE, MESSAGES_PER_S, Pulse
from etlmon.server.stream.ring import Ring
from etlmon.server.stream.selection import Selection

# Pulse.


def test_a_peer_that_answers_its_ping_is_not_silent_and_its_latency_is_known() -> None:
    pulse = Pulse(0.0, 30.0)
    assert not pulse.is_due(29.9, 30.0)
    assert pulse.is_due(30.0, 30.0)
    assert not pulse.is_due(59.9, 30.0)
    pulse.pinged(30.0)
    assert not pulse.is_silent(44.9, 30.0)
    assert pulse.is_silent(45.0, 30.0)
    pulse.hear(44.0, is_pong=False)
    assert not pulse.is_silent(45.0, 30.0)
    pulse.hear(46.0, is_pong=True)
    pulse.answered()
    assert pulse.latency_ms == 16_000.0
    assert not pulse.is_silent(1000.0, 30.0)


def test_a_peer_that_takes_is_neither_stalled_nor_silent() -> None:
    pulse = Pulse(0.0, 30.0)
    pulse.pinged(1.0)
    for second in range(100):
        assert not pulse.is_stalled(float(second), taken=second * 10, limit_s=30.0)
    assert not pulse.is_silent(100.0, 30.0)
    pulse.pinged(99.5)
    assert not pulse.is_stalled(100.0, taken=2000, limit_s=30.0)
    assert not pulse.is_silent(200.0, 30.0)
    assert not pulse.is_stalled(129.9, taken=2000, limit_s=30.0)
    assert pulse.is_stalled(130.0, taken=2000, limit_s=30.0)


def test_a_client_may_talk_so_fast_and_pongs_that_were_asked_for_are_free() -> None:
    pulse = Pulse(0.0, 30.0)
    n = sum(pulse.hear(0.0, is_pong=False) for _ in range(1000))
    assert n == MESSAGES_AT_ONCE
    assert not pulse.hear(0.0, is_pong=True)
    pulse = Pulse(0.0, 30.0)
    for _ in range(3):
        pulse.pinged()
    free = sum(pulse.hear(0.0, is_pong=True) for _ in range(1000))
    assert free == MESSAGES_AT_ONCE + 3
    pulse = Pulse(0.0, 30.0)
    assert all(pulse.hear(second / MESSAGES_PER_S, is_pong=False) for second in range(10_000))


# Ring.


def notice(seq: int) -> NoticeEntry:
    return NoticeEntry(Notice(seq=seq, at=0, topic="queue", type="queue_update", data={}))


def run(seq: int, n: int, size: int = 1) -> LinesEntry:
    lines = [LogLine(seq + k, "a", "n", 0, 20, "x" * size) for k in range(n)]
    return LinesEntry(LogRun(seq=seq, at=0, lines=lines, jobs={}))


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 100), st.data())
def test_a_ring_gives_all_after_a_place_or_says_that_it_cannot(
    sizes: list[int], size: int, data: st.DataObject
) -> None:
    ring, seq, entries = Ring(size, floor=5), 5, []
    for n in sizes:
        entries.append(run(seq + 1, n))
        ring.append(entries[-1])
        seq += n
    place = data.draw(st.integers(0, seq))
    found = ring.after(place, 1000)
    wanted = [entry for entry in entries if entry.last_seq > place]
    if found is None:
        assert place < ring.floor
    else:
        assert found == (wanted, False)
    assert sum(entry.size for entry in entries[-len(ring) :]) <= size or not len(ring)


def test_a_ring_is_bounded_by_bytes_too_and_gives_pages() -> None:
    ring = Ring(10_000, floor=0)
    for seq in range(1, 100):
        ring.append(run(seq, 1, size=1024 * 1024))
    assert 10 < len(ring) <= 16
    ring = Ring(5000, floor=0)
    for seq in range(1, 20_001):
        ring.append(notice(seq))
    assert ring.floor == 15_000
    page = ring.after(16_000, 10)
    assert page is not None
    assert ([entry.last_seq for entry in page[0]], page[1]) == (list(range(16_001, 16_011)), True)
    assert ring.after(19_990, 10) == (ring.after(19_990, 100)[0], False)


# Frames.


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_a_frame_is_headed_as_rfc_6455_says(size: int) -> None:
    frame = text_frame(b"x" * size)
    assert frame[0] == 0x81
    if size < 126:
        assert frame[1:] == bytes([size]) + b"x" * size
    elif size < 65_536:
        assert frame[1:] == b"\x7e" + struct.pack(">H", size) + b"x" * size
    else:
        assert frame[1:] == b"\x7f" + struct.pack(">Q", size) + b"x" * size


def test_messages_share_a_frame_or_have_one_each() -> None:
    assert frames([b"1", b"2"], batch=True) == b"\x81\x05[1,2]"
    assert frames([b"1", b"2"], batch=False) == b"\x81\x011\x81\x012"


# Groups.


def test_a_group_is_kept_while_it_is_used_and_leaves_no_trace() -> None:
    groups = Groups()
    selections = [
        Selection(topics=frozenset({Topic.JOBS, Topic.LOGS})),
        Selection(topics=frozenset({Topic.LOGS}), job_ids=frozenset({"a", "b"})),
        Selection(topics=frozenset({Topic.LOGS}), job_ids=frozenset({"a"}), scope="r"),
        Selection(topics=frozenset({Topic.JOBS}), job_ids=frozenset()),
    ]
    entered = [groups.enter(each, All(), 0) for each in selections for _ in range(2)]
    assert len(groups) == len(selections)
    assert len({group.ch for group in entered}) == len(selections)
    for group in entered:
        groups.leave(group)
    assert len(groups) == 0
    assert (groups._by_job, groups._of_jobs, groups._of_lines, groups._of_notices) == ({}, {}, {}, {})


async def test_an_empty_list_of_jobs_selects_none(stage) -> None:
    viewer = await stage.connect("topics=none")
    await viewer.say(type="subscribe", data={"topics": ["jobs", "logs"], "jobIds": []})
    await viewer.until("live")
    stage.journal.start("a")
    stage.journal.log("a", "line")
    assert await viewer.ping() == []


async def test_a_member_found_elsewhere_is_caught_up_from_where_it_is(stage, caplog) -> None:
    viewer = await stage.connect("topics=jobs")
    await viewer.live()
    stage.journal.start("a")
    await viewer.until("job_status_update")
    subscription = next(iter(stage.hub._sessions)).subscriptions["main"]
    subscription.cursor = 0
    stage.journal.start("b")
    assert [each["data"]["jobId"] for each in await viewer.until("job_status_update", jobId="b")] == ["a", "b"]
    assert stage.hub.stats.n_misplaced == 1
    assert "not where its group was" in caplog.text
    stage.hub.stats.n_misplaced = 0


async def test_only_what_is_due_is_sent(stage_with) -> None:
    stage = await stage_with(sample_window_ms=60_000)
    waiting, other = await stage.connect("topics=jobs"), await stage.connect("topics=logs")
    await waiting.live()
    await other.live()
    stage.journal.start("a")
    stage.journal.progress("a", 1.0)
    await waiting.until("job_progress")
    stage.journal.progress("a", 2.0)
    stage.journal.log("a", "line")
    await other.until("log_message")
    assert await waiting.ping() == []


async def test_lines_given_up_are_told_once_to_those_who_follow_jobs_and_lines(stage) -> None:
    from etlmon.core.events import Event, EventKind

    viewer = await stage.connect("topics=jobs,logs")
    await viewer.live()
    stage.journal.start("a")
    change = stage.journal.change("a", EventKind.GAP)
    event = Event(kind=EventKind.GAP, job_id="a", at=1, detail={"dropped": 7})
    stage.journal.commit(type(change)(seq=2, at=1, before=change.before, after=change.after, event=event))
    stage.journal.finish("a")
    came = await viewer.until("job_status_update", status="completed")
    assert [each["type"] for each in came] == ["job_status_update", "gap", "job_status_update"]


async def test_a_snapshot_ends_where_its_reader_unsubscribes(stage) -> None:
    for number in range(1200):
        stage.journal.start(f"j{number}")
    viewer = await stage.connect("topics=none", autoping=False)
    await viewer.next()
    session = next(iter(stage.hub._sessions))
    hand, handed = session.hand, []

    async def hand_and_stall(messages: list[bytes]) -> None:
        handed.append(messages)
        if b'"type":"snapshot"' in messages[0] and "x" in session.subscriptions:
            session._end(session.subscriptions["x"])
        await hand(messages)

    type(session).hand, original = lambda self, messages: hand_and_stall(messages), type(session).hand
    try:
        await viewer.say(type="subscribe", id="x", data={"topics": ["jobs"]})
        await stage.wait(lambda: len(handed) >= 2 and not stage.hub._tasks)
    finally:
        type(session).hand = original
    assert sum(b'"type":"snapshot"' in messages[0] for messages in handed) == 1


async def test_nothing_follows_a_close_frame(stage) -> None:
    viewer = await stage.connect("topics=jobs", autoclose=False)
    await viewer.live()
    session = next(iter(stage.hub._sessions))
    closing = asyncio.create_task(session.ws.close(code=1009, drain=True))
    await asyncio.sleep(0)
    before = session.transport.get_write_buffer_size(), stage.hub.stats.n_frames
    stage.journal.start("a")
    stage.hub.fanout.close()
    assert (session.transport.get_write_buffer_size(), stage.hub.stats.n_frames) == before
    await viewer.ws.close()
    await closing
