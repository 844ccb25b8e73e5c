"""A viewer that does not keep up holds up nobody, loses nothing, costs little (facts, reliability F17, F18, W46)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from etlmon.server.stream.session import DRAIN
from etlmon.server.stream.subscription import State


async def stalled(stage: Any, query: str = "topics=logs") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A socket that has read the handshake and will read no more."""
    port = int(stage.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(
        f"GET /ws?{query} HTTP/1.1\r\nHost: x\r\nX-Role: viewer\r\nX-Token-Id: slow\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.pause_reading()
    return reader, writer


def session_of(stage: Any, token_id: str) -> Any:
    return next(each for each in stage.hub._sessions if each.identity and each.identity.token_id == token_id)


async def flood(stage: Any, n: int = 200) -> None:
    """Some megabytes of lines, with a turn of the loop after each."""
    for number in range(n):
        stage.journal.log("a", *(f"{number}-{part} {'x' * 2000}" for part in range(10)))
        await asyncio.sleep(0)


async def test_a_viewer_that_stops_reading_falls_behind_alone(stage) -> None:
    stage.journal.start("a")
    other = await stage.connect("topics=logs&batch=1")
    await other.live()
    _, writer = await stalled(stage)
    await stage.wait(lambda: stage.hub.connections()[1].state == "live")
    came: list[dict[str, Any]] = []

    async def read() -> None:
        while len(came) < 2000:
            came.append(await other.next())

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        group.create_task(flood(stage))
    view = stage.hub.connections()[1]
    assert (view.state, view.subscriptions[0].state) == ("lagging", "lagging")
    assert view.lag > 1000
    slow = session_of(stage, "slow")
    assert slow.transport.get_write_buffer_size() < 600_000
    assert [each["seq"] for each in came] == list(range(2, 2002))
    writer.transport.abort()


async def test_a_viewer_that_reads_again_is_caught_up_and_lives_on(stage_with) -> None:
    stage = await stage_with(ring_size=300)
    stage.journal.start("a")
    slow = await stage.connect("topics=logs")
    await slow.live()
    subscription = session_of(stage, "t1").subscriptions["main"]
    slow.ws._response.connection.transport.pause_reading()
    await flood(stage)
    await stage.wait(lambda: subscription.state is State.LAGGING)
    slow.ws._response.connection.transport.resume_reading()
    seqs = [(await slow.next())["seq"] for _ in range(2000)]
    assert seqs == list(range(2, 2002))
    await stage.wait(lambda: subscription.state is State.LIVE)
    stage.journal.log("a", "live again")
    assert (await slow.next())["data"]["message"] == "live again"
    assert stage.journal.n_reads > 0


async def test_one_that_takes_nothing_is_closed_with_4000_and_its_transport_cut(stage) -> None:
    stage.hub.stalled_s = 0.3
    stage.journal.start("a")
    _, writer = await stalled(stage)
    await stage.wait(lambda: stage.hub.n_connections == 1)
    slow = session_of(stage, "slow")
    codes = []
    close = slow.ws.close

    async def closing(**kwargs: Any) -> bool:
        codes.append(kwargs["code"])
        return await close(**kwargs)

    slow.ws.close = closing
    await flood(stage)
    await stage.wait(lambda: stage.hub.n_connections == 0)
    assert codes[0] == 4000
    assert stage.hub.stats.n_cut_slow == 1
    await stage.wait(slow.transport.is_closing)
    await stage.wait(lambda: slow.protocol.transport is None)
    writer.transport.abort()


async def test_one_that_takes_a_little_now_and_then_is_kept(stage) -> None:
    stage.hub.stalled_s = 1000.0
    stage.journal.start("a")
    reader, writer = await stalled(stage)
    await stage.wait(lambda: stage.hub.n_connections == 1)
    session = session_of(stage, "slow")
    await flood(stage)
    await stage.wait(lambda: session.protocol.writing_paused)
    now = stage.hub.monotonic()

    def taken() -> int:
        return session.n_handed - session.transport.get_write_buffer_size()

    for _ in range(5):
        before = taken()
        writer.transport.resume_reading()
        while taken() == before:
            await reader.read(10_000)
            await asyncio.sleep(0)
        writer.transport.pause_reading()
        now += 999.0
        session.check(now)
        assert not session._closing
    writer.transport.abort()


async def test_a_peer_that_no_longer_answers_is_closed_with_4002(stage_with) -> None:
    stage = await stage_with(heartbeat_ms=200)
    silent, lively = await stage.connect(autoping=False, token_id="silent"), await stage.connect()
    session = session_of(stage, "silent")
    codes = []
    close = session.ws.close

    async def closing(**kwargs: Any) -> bool:
        codes.append(kwargs["code"])
        return await close(**kwargs)

    session.ws.close = closing
    reading = asyncio.create_task(lively.end())
    await stage.wait(lambda: session not in stage.hub._sessions)
    assert codes[0] == 4002
    assert stage.hub.n_connections == 1
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await silent.ws.close()


async def test_a_heartbeat_tells_a_filtered_reader_how_far_it_is(stage_with) -> None:
    stage = await stage_with(heartbeat_ms=100)
    viewer = await stage.connect("topics=jobs&name=nonesuch")
    await viewer.live()
    for number in range(5):
        stage.journal.start(f"j{number}")
    beat = (await viewer.until("heartbeat", cursor="k3f9:5"))[-1]
    ch = next(iter(stage.hub.groups)).ch
    assert beat["data"]["subscriptions"] == [{"id": "main", "ch": ch, "cursor": "k3f9:5", "state": "live"}]
    assert beat["seq"] is None
    await stage.wait(lambda: stage.hub.connections()[0].latency_ms is not None)


async def test_a_heartbeat_never_claims_what_was_not_handed_over(stage_with) -> None:
    stage = await stage_with(sample_window_ms=60_000)
    viewer = await stage.connect()
    await viewer.live()
    session = session_of(stage, "t1")
    stage.journal.start("a")
    stage.journal.progress("a", 1.0)
    await viewer.until("job_progress")
    stage.journal.progress("a", 2.0)
    assert session._position(session.subscriptions["main"]) == "k3f9:2"
    stage.journal.finish("a")
    await viewer.until("job_status_update", status="completed")
    assert session._position(session.subscriptions["main"]) == "k3f9:4"


async def test_a_viewer_that_keeps_up_costs_no_task_but_its_handler(stage) -> None:
    viewers = [await stage.connect() for _ in range(20)]
    for viewer in viewers:
        await viewer.live()
    await stage.wait(lambda: not stage.hub._tasks)
    stage.journal.start("a")
    for viewer in viewers:
        await viewer.until("job_status_update")
    assert not stage.hub._tasks


async def test_a_planned_end_says_goodbye_and_invites_back(stage) -> None:
    viewers = [await stage.connect() for _ in range(3)]
    slow = await stage.connect(token_id="slow")
    for viewer in (*viewers, slow):
        await viewer.live()
    session_of(stage, "slow").protocol.pause_writing()
    stage.journal.start("a")
    closing = asyncio.create_task(stage.hub.close("restart"))
    for viewer in viewers:
        came = await viewer.until("goodbye")
        assert [each["type"] for each in came] == ["job_status_update", "goodbye"]
        assert came[-1]["data"]["reason"] == "restart"
        assert await viewer.end() == 4001
    await closing
    assert stage.hub.n_connections == 0
    with pytest.raises(Exception, match="503"):
        await stage.connect()


async def test_pages_wait_while_the_peer_takes_nothing(stage) -> None:
    stage.journal.start("a")
    for number in range(50):
        stage.journal.log("a", f"{number}")
    viewer = await stage.connect("topics=none", autoping=False)
    await viewer.next()
    session = session_of(stage, "t1")
    session.protocol.pause_writing()
    await viewer.say(type="subscribe", id="x", data={"topics": ["logs"], "since": "k3f9:0"})
    assert (await viewer.next())["type"] == "subscribed"
    msg = await viewer.ws.receive()
    assert bytes(msg.data) == DRAIN
    assert session.subscriptions["x"].state is State.NEW
    session.protocol.resume_writing()
    await viewer.until("log_message", message="49")
