"""Lines from a real server: history joined to what comes, each once and in order; across restarts and bursts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from log_world import make_line, until

from etlmon.client.live import Message, Timing
from etlmon.host.endpoint import Endpoint
from etlmon.tui.logs.entry import HOLE, Entry, Lanes
from etlmon.tui.logs.feed import PAGE, LogFeed
from etlmon.tui.rest import Rest
from world import ServerProcess, log, new_id, started

QUICK = Timing(first_retry_s=0.05, longest_retry_s=0.2, connect_s=5.0)


class Room:
    """A feed of a server, and all that was taken from it."""

    def __init__(self, server: ServerProcess, *job_ids: str, most: int = 50_000) -> None:
        self.rest = Rest(self.find)
        self.server = server
        self.lanes = Lanes()
        self.feed = LogFeed(self.rest, self.find, job_ids, self.lanes, now=lambda: 0, most=most, timing=QUICK)
        self.taken: list[Entry] = []

    def find(self) -> Endpoint:
        """Where the server is now."""
        return Endpoint(url=self.server.url, token=self.server.token, origin="test")

    @property
    def messages(self) -> list[str]:
        """What the lines say."""
        self.taken += self.feed.take()
        return [entry.message for entry in self.taken]

    async def until(self, holds: Callable[[list[str]], bool]) -> list[str]:
        """Wait for lines."""
        await until(lambda: holds(self.messages), "the lines come")
        return self.messages


@asynccontextmanager
async def running(room: Room) -> AsyncIterator[Room]:
    """The feed runs; it is ended with the block."""
    task = asyncio.create_task(room.feed.run())
    try:
        yield room
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        room.rest.close()


def job(server: ServerProcess, name: str, n: int) -> str:
    """A job with ``n`` lines."""
    job_id = new_id()
    server.report(started(job_id, name), *(log(job_id, f"{name} {i}") for i in range(n)))
    return job_id


@pytest.fixture
def written(server: ServerProcess) -> Iterator[Callable[[str], threading.Event]]:
    """Writes numbered lines of a job in a thread until its event is set."""
    ends: list[tuple[threading.Event, threading.Thread]] = []

    def write(job_id: str) -> threading.Event:
        end = threading.Event()

        def go() -> None:
            n = 0
            while not end.is_set():
                server.report(*(log(job_id, f"live {n + i}") for i in range(20)))
                n += 20

        thread = threading.Thread(target=go)
        ends.append((end, thread))
        thread.start()
        return end

    yield write
    for end, thread in ends:
        end.set()
        thread.join()


async def test_history_and_live_join_without_a_gap_or_a_double(
    server: ServerProcess, written: Callable[[str], threading.Event]
) -> None:
    job_id = job(server, "orders_nightly", 50)
    end = written(job_id)
    async with running(Room(server, job_id)) as room:
        await room.until(lambda messages: "live 500" in messages)
        end.set()
        told = server.api("GET", f"/api/jobs/{job_id}/logs?tail=1")["items"][0]["message"]
        messages = await room.until(lambda messages: told in messages)
    live = [message for message in messages if message.startswith("live")]
    last = int(live[-1].split()[1])
    whole = [f"orders_nightly {i}" for i in range(50)] + [f"live {i}" for i in range(last + 1)]
    assert messages == whole[-len(messages) :]
    assert len(messages) >= 500
    seqs = [entry.seq for entry in room.taken]
    assert seqs == sorted(set(seqs))


async def test_the_newest_page_comes_first_and_older_pages_when_asked(server: ServerProcess) -> None:
    job_id = job(server, "orders_nightly", PAGE + 500)
    async with running(Room(server, job_id)) as room:
        messages = await room.until(lambda messages: len(messages) >= PAGE)
        assert messages[-1] == f"orders_nightly {PAGE + 499}"
        assert room.feed.has_older
        older = [entry.message for entry in await room.feed.older()]
        while room.feed.has_older:
            older = [entry.message for entry in await room.feed.older()] + older
    assert older + messages == [f"orders_nightly {i}" for i in range(PAGE + 500)]


async def test_several_jobs_are_one_stream_and_all_jobs_another(server: ServerProcess) -> None:
    first, second, third = (job(server, name, 2) for name in ("orders_nightly", "crm_sync", "ledger_close"))
    async with running(Room(server, first, second)) as room:
        await room.until(lambda messages: len(messages) >= 4)
        server.report(log(third, "unseen"), log(second, "seen"))
        messages = await room.until(lambda messages: "seen" in messages)
        assert "unseen" not in messages
        assert {room.lanes.name(entry.lane) for entry in room.taken} == {"orders_nightly", "crm_sync"}
    async with running(Room(server)) as room:
        messages = await room.until(lambda messages: len(messages) >= 8)
        assert {"seen", "unseen"} < set(messages)


async def test_a_server_that_was_killed_costs_no_line_and_doubles_none(server: ServerProcess) -> None:
    job_id = job(server, "orders_nightly", 3)
    async with running(Room(server, job_id)) as room:
        await room.until(lambda messages: len(messages) == 3)
        server.report(log(job_id, "before"))
        await room.until(lambda messages: "before" in messages)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        server.report(log(job_id, "after"))
        messages = await room.until(lambda messages: "after" in messages)
    assert messages == ["orders_nightly 0", "orders_nightly 1", "orders_nightly 2", "before", "after"]


async def test_a_server_that_is_not_there_yet_is_waited_for(make_server: Callable[..., ServerProcess]) -> None:
    server = make_server().start()
    job_id = job(server, "orders_nightly", 1)
    server.stop()
    async with running(Room(server, job_id)) as room:
        await until(lambda: room.feed.link is not None and room.feed.link.detail, "it waits for the server")
        assert not room.feed.is_read
        await asyncio.to_thread(server.start)
        assert await room.until(lambda messages: len(messages) == 1) == ["orders_nightly 0"]


async def test_another_store_behind_the_address_is_told_as_a_hole(
    make_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    server = make_server().start()
    job_id = job(server, "orders_nightly", 3)
    async with running(Room(server)) as room:
        await room.until(lambda messages: len(messages) == 3)
        server.stop()
        other = make_server(tmp_path / "other").start()
        room.server = other
        job(other, "orders_nightly", 1)
        messages = await room.until(lambda messages: len(messages) >= 5)
    assert job_id
    assert messages[3:] == ["another store answers: what follows is its log", "orders_nightly 0"]


async def test_a_refused_token_is_told_in_the_servers_words(server: ServerProcess) -> None:
    server.token = "etl_wrong"
    async with running(Room(server)) as room:
        await until(lambda: room.feed.fault, "the refusal is told")
    assert "token" in str(room.feed.fault)


def test_a_burst_beyond_what_is_kept_is_counted_in_its_place(server: ServerProcess) -> None:
    room = Room(server, most=100)
    for seq in range(1, 251):
        room.feed._hear(Message(type="log_message", seq=seq, data=make_line(seq)))
    taken = room.feed.take()
    room.rest.close()
    assert (len(taken), taken[0].level) == (101, HOLE)
    assert taken[0].message == "150 lines passed over: they came faster than they can be shown"
    assert [entry.seq for entry in taken[1:]] == list(range(151, 251))


def test_lines_that_an_agent_gave_up_are_told_in_place(server: ServerProcess) -> None:
    room = Room(server)
    room.feed._hear(Message(type="log_message", seq=1, data=make_line(1)))
    room.feed._hear(Message(type="gap", seq=5, data={"jobId": "j1", "name": "crm_sync", "dropped": 12}))
    room.feed._hear(Message(type="log_message", seq=9, data=make_line(9)))
    room.rest.close()
    assert [entry.message for entry in room.feed.take()] == ["line 1", "12 lines given up by crm_sync", "line 9"]


async def test_what_came_while_the_word_was_lost_is_read_back(server: ServerProcess) -> None:
    job_id = job(server, "orders_nightly", 5)
    room = Room(server, job_id)
    room.feed._hear(Message(type="log_message", seq=1, data=make_line(1, "seen")))
    await room.feed._join()
    room.rest.close()
    assert room.messages == ["seen", *(f"orders_nightly {i}" for i in range(5))]
