"""Appends, compaction, retention and reads at the same time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from etlmon.core.errors import StoreUnavailable
from etlmon.core.job import LogLine
from etlmon.server.store.logs import LogQuery, LogStore

Make = Callable[..., LogLine]
Open = Callable[..., LogStore]
N_APPENDS, N_LINES = 150, 40
TINY = {
    "round_bytes": 15_000,
    "chunk_bytes": 2_000,
    "roll_bytes": 300_000,
    "recent_bytes": 5_000,
    "checkpoint_bytes": 50_000,
}


class Appender(threading.Thread):
    """Appends as fast as it can; ``head`` is what it has had committed."""

    def __init__(self, store: LogStore, make_line: Make) -> None:
        super().__init__()
        self.store, self.make_line, self.head = store, make_line, 0

    def run(self) -> None:
        for _ in range(N_APPENDS):
            lines = [self.make_line(self.head + n, f"row {(self.head + n) ** 5:x}") for n in range(1, N_LINES + 1)]
            self.store.append(lines)
            self.head = lines[-1].seq


async def pages(store: LogStore, query: LogQuery, head: int) -> list[int]:
    """The numbers of all lines that match, page by page."""
    found: list[int] = []
    asked: LogQuery | None = query
    while asked is not None:
        page = await store.read(asked, head)
        found += [line.seq for line in page.lines]
        asked = None if page.next is None else query.resumed(page.next)
    return found


async def runs(store: LogStore, head: int) -> list[int]:
    """The numbers of all lines, as a stream gets them."""
    found: list[int] = []
    while not found or found[-1] < head:
        found += [line.seq for run in await store.runs(found[-1] if found else 0, head, 333) for line in run]
    return found


async def test_readers_beside_appends_and_compaction_see_each_line_once(open_store: Open, make_line: Make) -> None:
    store = open_store(**TINY)
    appender = Appender(store, make_line)
    appender.start()
    rounds = 0
    while appender.is_alive() or not rounds:
        head = appender.head
        if not head:
            await asyncio.sleep(0.001)
            continue
        rounds += 1
        forward, back, found, job, streamed = await asyncio.gather(
            pages(store, LogQuery(limit=500), head),
            pages(store, LogQuery(limit=700, descending=True), head),
            pages(store, LogQuery(limit=300, words="row"), head),
            pages(store, LogQuery(limit=100, job_ids=frozenset({"job-1"})), head),
            runs(store, head),
        )
        assert forward == list(range(1, head + 1))
        assert back == forward[::-1]
        assert job == [seq for seq in forward if seq % 3 == 1]
        assert streamed == found == forward
    appender.join()
    assert store.stats().lines == N_APPENDS * N_LINES


async def test_retention_beside_appends_loses_only_the_oldest(open_store: Open, make_line: Make, clock: Any) -> None:
    store = open_store(**TINY | {"roll_bytes": 150_000}, max_bytes=1_500_000)
    appender = Appender(store, make_line)
    appender.start()
    while appender.is_alive():
        await asyncio.to_thread(store.prune, clock.at)
        found = await pages(store, LogQuery(limit=5_000), appender.head)
        assert not found or found == list(range(found[0], found[-1] + 1))
    appender.join()
    oldest = store.oldest_seq
    assert await pages(store, LogQuery(limit=5_000), appender.head) == list(range(oldest + 1, appender.head + 1))


async def test_an_append_waits_for_compaction_that_is_far_behind_but_not_for_ever(
    open_store: Open, make_line: Make
) -> None:
    store = open_store(round_bytes=1_000_000, backlog_bytes=2_000, backlog_wait_ms=1)
    for seq in range(1, 200, 20):
        store.append([make_line(n) for n in range(seq, seq + 20)])
    assert await pages(store, LogQuery(limit=1000), 200) == list(range(1, 201))


async def test_a_long_search_answers_in_pages_that_end_at_its_deadline(open_store: Open, make_line: Make) -> None:
    store = open_store(page_ms=0)
    for seq in range(1, 20_000, 1000):
        store.append([make_line(n, f"{n**99:x}") for n in range(seq, seq + 1000)])
    page = await store.read(LogQuery(regex="zz"), 20_000)
    assert page.lines == []
    assert page.next is not None
    assert await pages(store, LogQuery(regex="zz"), 20_000) == []
    assert await pages(store, LogQuery(contains=f"{19_997**99:x}"), 20_000) == [19_997]
    assert await pages(store, LogQuery(contains=f"{19_997**99:x}", descending=True), 20_000) == [19_997]


async def test_a_closed_store_says_so(open_store: Open) -> None:
    store = open_store()
    store.close()
    with pytest.raises(StoreUnavailable):
        await store.read(LogQuery(), 1)
