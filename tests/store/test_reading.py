"""Reads never wait on writes, end at their deadline, and leave nothing behind when nobody wants them any more."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from etlmon.core.errors import DeadlineExceeded, StoreUnavailable
from etlmon.server.store.readers import Readers

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


@pytest.fixture
async def readers(opened: Any) -> Any:
    pool = Readers(opened.store.path, 2)
    await pool.open()
    yield pool
    await pool.close()


async def test_a_query_ends_at_its_deadline_and_its_connection_serves_the_next(readers: Readers) -> None:
    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            await readers.fetch(ENDLESS, deadline_s=0.02)
    assert await readers.fetch("SELECT 1") == [(1,)]


async def test_a_query_that_nobody_waits_for_is_ended(readers: Readers) -> None:
    tasks = [asyncio.create_task(readers.fetch(ENDLESS, deadline_s=60)) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await readers.fetch("SELECT 2", deadline_s=20) == [(2,)]


async def test_a_query_that_finds_no_free_connection_waits_no_longer_than_its_deadline(readers: Readers) -> None:
    busy = [asyncio.create_task(readers.fetch(ENDLESS, deadline_s=60)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(DeadlineExceeded, match="busy"):
        await readers.fetch("SELECT 1", deadline_s=0.02)
    for task in busy:
        task.cancel()
    await asyncio.gather(*busy, return_exceptions=True)


async def test_nothing_can_be_written_through_a_reader(readers: Readers) -> None:
    with pytest.raises(StoreUnavailable, match="readonly"):
        await readers.fetch("DELETE FROM job")
    with pytest.raises(StoreUnavailable, match="readonly"):
        await readers.fetch("INSERT INTO meta VALUES ('x', 1)")


async def test_closing_ends_what_runs_and_leaves_no_thread(opened: Any, until: Any) -> None:
    before = threading.active_count()
    pool = Readers(opened.store.path, 2)
    await pool.open()
    running = [asyncio.create_task(pool.fetch(ENDLESS, deadline_s=60)) for _ in range(4)]
    await asyncio.sleep(0)
    await pool.close()
    results = await asyncio.gather(*running, return_exceptions=True)
    assert all(isinstance(result, (DeadlineExceeded, StoreUnavailable)) for result in results), results
    await until(lambda: threading.active_count() == before)
    with pytest.raises(StoreUnavailable):
        await pool.fetch("SELECT 1")


async def test_an_id_is_found_by_its_beginning_or_its_end(opened: Any, ops: Any, make_job: Any) -> None:
    store = opened.store
    for job_id in ("0190f6aa-1", "0190f6ab-2", "x%_[-2"):
        await store.write(ops.put(make_job(job_id)))
    assert await store.find_jobs("0190f6aa") == ["0190f6aa-1"]
    assert await store.find_jobs("0190f6") == ["0190f6aa-1", "0190f6ab-2"]
    assert await store.find_jobs("b-2") == ["0190f6ab-2"]
    assert sorted(await store.find_jobs("-2")) == ["0190f6ab-2", "x%_[-2"]
    assert await store.find_jobs("0190f6ab-2") == ["0190f6ab-2"]
    assert await store.find_jobs("x%") == ["x%_[-2"]
    for part in ("", "%", "190", "0190f6aa-1x", "\x7f", "é", "a\0b"):
        assert await store.find_jobs(part) == []


async def test_jobs_are_read_while_a_writer_is_busy(opened: Any, ops: Any, make_job: Any) -> None:
    await opened.store.write(ops.put(make_job("j1")))
    gate = threading.Event()
    blocked = asyncio.create_task(opened.store.write(lambda tx: gate.wait(20)))
    assert (await opened.store.job("j1")).seq == 1
    assert [job.id for job in await opened.store.active_jobs()] == ["j1"]
    gate.set()
    assert await blocked


async def test_many_jobs_are_read_at_once(opened: Any, ops: Any, make_job: Any) -> None:
    for n in range(3):
        await opened.store.write(ops.put(make_job(f"j{n}")))
    assert set(await opened.store.jobs_by_id({"j0", "j2", "none"})) == {"j0", "j2"}
    assert await opened.store.jobs_by_id(set()) == {}
