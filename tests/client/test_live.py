"""The live reader against a server that does what a test's script says: resume, loss, refusal, polling."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import WSCloseCode, web

from etlmon.client.live import Link, LinkState, Live, Message, Reset, Timing, position
from etlmon.core import errors
from etlmon.core.protocol import Cursor, Wanted

FAST = Timing(first_retry_s=0.01, longest_retry_s=0.05, connect_s=2.0, poll_s=0.01, socket_again_s=0.2)
Act = Callable[["Peer"], Awaitable[None]]


def message(kind: str, data: dict[str, Any], seq: int | None = None) -> dict[str, Any]:
    return {"type": kind, "timestamp": "2026-01-02T03:04:05.000Z", "seq": seq, "ch": 1, "data": data}


def update(seq: int, job_id: str = "j1", status: str = "running") -> dict[str, Any]:
    return message("job_status_update", {"jobId": job_id, "status": status}, seq)


class Peer:
    """One connection as the script sees it."""

    def __init__(self, ws: web.WebSocketResponse) -> None:
        self.ws = ws
        self.wanted: dict[str, Any] = {}

    async def greet(self, *, heartbeat_ms: int = 30_000, protocol: int = 1) -> None:
        welcome = {"epoch": "e1", "cursor": "e1:0", "protocol": protocol, "heartbeatMs": heartbeat_ms}
        await self.ws.send_json(message("welcome", welcome))
        self.wanted = (await self.ws.receive_json())["data"]

    async def send(self, *messages: dict[str, Any]) -> None:
        await self.ws.send_str(json.dumps(list(messages)))

    async def snapshot(self, *jobs: str, cursor: str = "e1:10") -> None:
        await self.send(
            message("subscribed", {"id": "main", "recovered": False, "reason": "new", "cursor": cursor}),
            message("snapshot", {"jobs": [{"id": j} for j in jobs], "alerts": [], "cursor": cursor, "more": False}),
            message("live", {"id": "main", "cursor": cursor}),
        )

    async def recovered(self, *messages: dict[str, Any], cursor: str) -> None:
        await self.send(
            message("subscribed", {"id": "main", "recovered": True, "reason": None, "cursor": cursor}),
            *messages,
            message("live", {"id": "main", "cursor": cursor}),
        )

    async def stay(self) -> None:
        async for _ in self.ws:
            pass


class Script:
    """A server whose n-th connection plays the n-th act; the last act is played again and again."""

    def __init__(self) -> None:
        self.acts: deque[Act | int] = deque()
        self.peers: list[Peer] = []
        self.jobs: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []
        self.rest_status = 200
        self.url = ""

    async def socket(self, request: web.Request) -> web.StreamResponse:
        act = self.acts.popleft() if len(self.acts) > 1 else self.acts[0]
        if isinstance(act, int):
            return web.Response(status=act)
        assert request.query == {"topics": "none", "batch": "1"}
        assert request.headers["Authorization"] == "Bearer good"
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        self.peers.append(Peer(ws))
        await act(self.peers[-1])
        return ws

    async def list(self, request: web.Request) -> web.Response:
        if self.rest_status != 200:
            problem = {"detail": "Refused.", "status": self.rest_status}
            return web.json_response(problem, status=self.rest_status)
        items = self.lines if request.path == "/api/logs" else self.jobs
        if request.query.get("order") == "desc":
            items = items[::-1]
        return web.json_response({"items": items[: int(request.query["limit"])], "nextCursor": None})


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    found = Script()
    app = web.Application()
    app.router.add_get("/ws", found.socket)
    app.router.add_get("/api/jobs", found.list)
    app.router.add_get("/api/logs", found.list)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


@pytest.fixture
def live_of(script, endpoint_of):
    def make(wanted: Wanted | None = None, timing: Timing = FAST, **more: Any) -> Live:
        return Live(endpoint_of(script.url), wanted or Wanted(topics="jobs"), timing=timing, **more)

    return make


async def take(live: Live, until: Callable[[Any], bool], deadline_s: float = 10.0) -> list[Any]:
    """Everything up to and with the first item that ``until`` holds for."""
    got = []
    async with asyncio.timeout(deadline_s), aclosing(aiter(live)) as items:
        async for item in items:
            got.append(item)
            if until(item):
                break
    return got


def at_seq(seq: int) -> Callable[[Any], bool]:
    return lambda item: isinstance(item, Message) and item.seq == seq


def seqs(items: list[Any]) -> list[int]:
    return [item.seq for item in items if isinstance(item, Message) and item.seq is not None]


def states(items: list[Any]) -> list[str]:
    return [str(item.state) for item in items if isinstance(item, Link)]


async def test_it_tells_how_it_stands_and_brings_snapshot_then_messages(script, live_of):
    async def act(peer):
        await peer.greet()
        await peer.snapshot("j1")
        await peer.send(update(11), update(12))
        await peer.stay()

    script.acts.append(act)
    live = live_of(Wanted(topics="jobs", status="running", job_ids=["a", "b"]))
    got = await take(live, at_seq(12))
    assert [item.state if isinstance(item, Link) else item.type for item in got] == [
        LinkState.CONNECTING,
        LinkState.CATCHING_UP,
        "snapshot",
        LinkState.LIVE,
        "job_status_update",
        "job_status_update",
    ]
    assert script.peers[0].wanted == {"topics": "jobs", "status": "running", "jobIds": ["a", "b"]}
    assert live.cursor == Cursor("e1", 12)


async def test_after_a_break_it_resumes_from_the_last_message_and_nothing_comes_twice(script, live_of):
    async def first(peer):
        await peer.greet()
        await peer.snapshot()
        await peer.send(update(11), update(12))
        await peer.ws.close(code=4001)

    async def second(peer):
        await peer.greet()
        await peer.recovered(update(12), update(13), cursor="e1:13")
        peer.ws._req.transport.abort()

    async def third(peer):
        await peer.greet()
        await peer.recovered(update(14), cursor="e1:14")
        await peer.stay()

    script.acts.extend([first, second, third])
    got = await take(live_of(), at_seq(14))
    assert seqs(got) == [11, 12, 13, 14]
    assert [peer.wanted.get("since") for peer in script.peers] == [None, "e1:12", "e1:13"]
    assert not any(isinstance(item, Reset) for item in got)
    assert states(got).count("waiting") == 2


async def test_a_cursor_given_is_resumed_from(script, live_of):
    async def act(peer):
        await peer.greet()
        await peer.recovered(update(8), cursor="e1:8")
        await peer.stay()

    script.acts.append(act)
    got = await take(live_of(since="e1:7"), at_seq(8))
    assert script.peers[0].wanted["since"] == "e1:7"
    assert seqs(got) == [8]


async def test_what_cannot_be_recovered_is_told_before_the_new_snapshot(script, live_of):
    async def first(peer):
        await peer.greet()
        await peer.snapshot("j1")
        await peer.ws.close(code=4000)

    async def second(peer):
        await peer.greet()
        await peer.snapshot("j2", cursor="e2:3")
        await peer.send(update(4))
        await peer.stay()

    script.acts.extend([first, second])
    live = live_of()
    got = await take(live, at_seq(4))
    kinds = [type(item).__name__ if not isinstance(item, Message) else item.type for item in got]
    assert kinds.index("Reset") > kinds.index("snapshot")
    assert kinds.count("snapshot") == 2
    assert live.cursor == Cursor("e2", 4)


async def test_a_snapshot_cut_in_the_middle_is_no_place_to_resume_from(script, live_of):
    async def first(peer):
        await peer.greet()
        await peer.send(
            message("subscribed", {"recovered": False, "reason": "new", "cursor": "e1:10"}),
            message("snapshot", {"jobs": [], "cursor": "e1:10", "more": True}),
        )
        await peer.ws.close(code=4001)

    async def second(peer):
        await peer.greet()
        await peer.snapshot()
        await peer.stay()

    script.acts.extend([first, second])
    await take(live_of(), lambda item: isinstance(item, Link) and item.state is LinkState.LIVE)
    assert "since" not in script.peers[1].wanted


async def test_what_is_not_durable_comes_through_and_moves_no_cursor(script, live_of):
    async def act(peer):
        await peer.greet()
        await peer.snapshot()
        await peer.send(message("job_progress", {"jobId": "j", "durable": False}), update(11))
        await peer.stay()

    script.acts.append(act)
    live = live_of()
    got = await take(live, lambda item: isinstance(item, Message) and item.data.get("durable") is False)
    assert got[-1].seq is None
    assert live.cursor == Cursor("e1", 10)


async def test_a_heartbeat_moves_the_place_of_a_filtered_reader(script, live_of):
    beat = {"id": "main", "cursor": "e1:90", "state": "live"}

    async def first(peer):
        await peer.greet()
        await peer.snapshot()
        await peer.send(
            message("heartbeat", {"cursor": "e1:99", "subscriptions": [{"id": "x", "cursor": "e1:98"}, beat]})
        )
        await peer.ws.close(code=4001)

    async def second(peer):
        await peer.greet()
        await peer.recovered(update(91), cursor="e1:91")
        await peer.stay()

    script.acts.extend([first, second])
    await take(live_of(), at_seq(91))
    assert script.peers[1].wanted["since"] == "e1:90"


async def test_a_silent_server_is_left(script, live_of):
    async def mute(peer):
        await peer.greet(heartbeat_ms=20)
        await peer.snapshot()
        await peer.stay()

    async def second(peer):
        await peer.greet()
        await peer.recovered(update(11), cursor="e1:11")
        await peer.stay()

    script.acts.extend([mute, second])
    got = await take(live_of(), at_seq(11))
    assert any(isinstance(item, Link) and "silent" in (item.detail or "") for item in got)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (4501, errors.NotAuthenticated),
        (4508, errors.NotAuthenticated),
        (4503, errors.Forbidden),
        (4999, errors.EtlmonError),
    ],
)
async def test_a_close_that_no_retry_heals_is_raised(script, live_of, code, error):
    async def act(peer):
        await peer.greet()
        await peer.ws.close(code=code)

    script.acts.append(act)
    with pytest.raises(error):
        await take(live_of(), lambda item: False)
    assert len(script.peers) == 1


@pytest.mark.parametrize("code", [4000, 4001, 4002, 4003, 4499, WSCloseCode.GOING_AWAY, WSCloseCode.MESSAGE_TOO_BIG])
async def test_every_other_close_is_answered_with_a_reconnect(script, live_of, code):
    async def first(peer):
        await peer.greet()
        await peer.snapshot()
        await peer.ws.close(code=code)

    async def second(peer):
        await peer.greet()
        await peer.recovered(update(11), cursor="e1:11")
        await peer.stay()

    script.acts.extend([first, second])
    assert seqs(await take(live_of(), at_seq(11))) == [11]


async def test_a_refused_filter_is_raised_with_the_servers_words(script, live_of):
    async def act(peer):
        await peer.greet()
        await peer.send(message("error", {"code": "invalid", "message": "q: no key 'stat'", "requestId": "main"}))
        await peer.stay()

    script.acts.append(act)
    with pytest.raises(errors.Invalid, match="no key 'stat'"):
        await take(live_of(), lambda item: False)


async def test_a_newer_protocol_is_refused_with_what_to_do(script, live_of):
    async def act(peer):
        await peer.greet(protocol=99)

    script.acts.append(act)
    with pytest.raises(errors.EtlmonError, match="update"):
        await take(live_of(), lambda item: False)


def is_state(state: LinkState) -> Callable[[Any], bool]:
    return lambda item: isinstance(item, Link) and item.state is state


async def test_a_refused_socket_is_replaced_by_polling_and_tried_again(script, live_of):
    job = {"id": "j1", "name": "n", "status": "running", "seq": 5, "updatedAt": "2026-01-02T03:04:05.000Z"}
    script.jobs = [job]

    async def back(peer):
        await peer.greet()
        await peer.snapshot("j1", cursor="e1:7")
        await peer.send(update(8))
        await peer.stay()

    script.acts.extend([404, back])
    live, got = live_of(timing=Timing(poll_s=0.01, socket_again_s=0.3, connect_s=2.0)), []
    async with asyncio.timeout(10), aclosing(aiter(live)) as items:
        async for item in items:
            got.append(item)
            if isinstance(item, Message) and item.type == "snapshot" and not script.peers:
                script.jobs = [{**job, "status": "failed", "seq": 6, "failure": {"message": "boom"}}]
            if at_seq(8)(item):
                break
    assert states(got)[:2] == ["connecting", "polling"]
    polled = next(item for item in got if isinstance(item, Message) and item.seq == 6)
    assert (polled.type, polled.data["jobId"], polled.data["errorMessage"]) == ("job_status_update", "j1", "boom")
    assert seqs(got) == [6, 8]
    assert states(got)[-1] == "live"


async def test_polled_jobs_that_left_the_filter_are_told_as_gone(script, live_of):
    job = {"id": "j1", "name": "n", "status": "running", "seq": 5, "updatedAt": "2026-01-02T03:04:05.000Z"}
    script.jobs = [job]
    script.acts.append(403)
    async with asyncio.timeout(10), aclosing(aiter(live_of())) as items:
        async for item in items:
            if isinstance(item, Message) and item.type == "snapshot":
                script.jobs = []
            if isinstance(item, Message) and item.type == "job_gone":
                assert item.data == {"jobId": "j1"}
                break


async def test_polled_lines_go_on_after_the_last_one_had_and_are_not_doubled_by_the_socket(script, live_of):
    script.lines = [{"seq": n, "at": "2026-01-02T03:04:05.000Z", "message": str(n)} for n in (1, 2, 3)]

    async def back(peer):
        await peer.greet()
        lines = [message("log_message", {"message": str(n)}, n) for n in (4, 5, 6)]
        await peer.recovered(*[line for line in lines if line["seq"] > int(peer.wanted["since"][3:])], cursor="e1:6")
        await peer.stay()

    script.acts.extend([502, back])
    got = []
    live = live_of(Wanted(topics="logs"), after=2)
    async with asyncio.timeout(10), aclosing(aiter(live)) as items:
        async for item in items:
            got.append(item)
            if at_seq(3)(item):
                script.lines += [{"seq": 4, "at": "2020-01-02T03:04:05.000Z", "message": "late by its own clock"}]
            if at_seq(6)(item):
                break
    assert seqs(got) == [3, 4, 5, 6]


async def test_lines_polled_beyond_the_cursor_are_dropped_when_the_socket_replays_them(script, live_of):
    script.lines = [{"seq": n, "at": "2026-01-02T03:04:05.000Z", "message": str(n)} for n in (1, 2, 3, 4)]

    async def back(peer):
        await peer.greet()
        assert peer.wanted["since"] == "e1:2"
        await peer.recovered(*[message("log_message", {"message": str(n)}, n) for n in (3, 4, 5)], cursor="e1:5")
        await peer.stay()

    script.acts.extend([502, back])
    got = await take(live_of(Wanted(topics="logs"), since="e1:2"), at_seq(5))
    assert seqs(got) == [3, 4, 5]


async def test_a_token_refused_while_polling_is_raised(script, live_of):
    script.acts.append(401)
    script.rest_status = 401
    with pytest.raises(errors.NotAuthenticated):
        await take(live_of(), lambda item: False)


async def test_frames_that_make_no_sense_lead_to_polling(script, live_of):
    async def act(peer):
        await peer.ws.send_str("{nonsense")
        await peer.stay()

    script.acts.append(act)
    got = await take(live_of(), is_state(LinkState.POLLING))
    assert "cannot be read" in got[-1].detail


async def test_without_a_server_the_waits_are_drawn_from_a_doubling_bound(endpoint_of):
    timing = Timing(first_retry_s=0.001, longest_retry_s=0.004, connect_s=1.0)
    live, waits = Live(endpoint_of("http://127.0.0.1:9"), Wanted(topics="jobs"), timing=timing), []
    why = "No server answers at http://127.0.0.1:9: start one with `etlmon server`, or give --url or ETLMON_URL."
    async with aclosing(aiter(live)) as items:
        async for item in items:
            if is_state(LinkState.WAITING)(item):
                waits.append(item.retry_in_s)
                assert item.detail == why
            if len(waits) == 40:
                break
    for wait, bound in zip(waits, [0.001, 0.002] + [0.004] * 38, strict=True):
        assert 0 <= wait <= bound
    assert len(set(waits)) > 30


async def test_where_the_server_is_is_asked_before_each_connection(script, endpoint_of):
    async def act(peer):
        await peer.greet()
        await peer.snapshot("j1")

    script.acts.append(act)
    places = ["http://127.0.0.1:9", script.url]
    live = Live(
        lambda: endpoint_of(places.pop(0) if len(places) > 1 else places[0]), Wanted(topics="jobs"), timing=FAST
    )
    got = await take(live, is_state(LinkState.LIVE))
    assert any(isinstance(item, Message) and item.type == "snapshot" for item in got)


async def test_the_place_of_this_instant_comes_from_the_welcome(script, endpoint_of):
    async def act(peer):
        await peer.ws.send_json(message("welcome", {"epoch": "e1", "cursor": "e1:77", "protocol": 1}))
        await peer.stay()

    script.acts.extend([act, 404])
    assert await position(endpoint_of(script.url), timing=FAST) == Cursor("e1", 77)
    assert await position(endpoint_of(script.url), timing=FAST) is None
    assert await position(endpoint_of("http://127.0.0.1:9"), timing=FAST) is None
