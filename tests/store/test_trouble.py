"""A store that cannot commit says so, keeps what it acknowledged, and goes on by itself when the trouble is over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from etlmon.core.errors import StoreUnavailable
from etlmon.core.job import LogLine
from etlmon.server.store import writer
from etlmon.server.store.store import Store
from etlmon.server.store.transaction import Transaction

T0 = 1_763_865_407_000
DISK_BYTES = 12 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB; skipped where none may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (subprocess.CalledProcessError, OSError):
        pytest.skip("mounting a small tmpfs is not permitted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True, capture_output=True)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PROBE_S", 0.02)
    monkeypatch.setattr(writer, "TICK_S", 0.1)


def fill(disk: Path) -> Path:
    """Take every free byte."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"\1" * 65536)
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(b"\1" * 512)
    return filler


async def write_until_refused(store: Store, ops: Any, make_job: Any) -> tuple[set[str], StoreUnavailable]:
    """What was acknowledged before the first refusal, and that refusal."""
    acknowledged: set[str] = set()
    async with asyncio.timeout(30):
        for n in range(100_000):
            try:
                await store.write(ops.put(make_job(f"j{n}", current_step="x" * 3000)))
            except StoreUnavailable as refusal:
                return acknowledged, refusal
            acknowledged.add(f"j{n}")
    raise AssertionError("the disk was never full")


async def test_a_full_disk_loses_nothing_keeps_control_and_heals_without_a_restart(
    small_disk: Path, open_store: Callable[..., Any], ops: Any, make_job: Any, until: Any
) -> None:
    opened = await open_store(small_disk / "data", ballast_bytes=2 << 20)
    store = opened.store
    ballast = small_disk / "data" / "ballast"
    assert ballast.stat().st_blocks * 512 >= 2 << 20
    await store.write(ops.put(make_job("first")))
    filler = fill(small_disk)

    acknowledged, refusal = await write_until_refused(store, ops, make_job)
    assert refusal.retry_after_s
    assert "full" in (store.degraded or "")
    assert not ballast.exists()
    head = store.head
    assert head == len(acknowledged) + 1

    with pytest.raises(StoreUnavailable):
        await store.write(ops.put(make_job("refused")))
    cancelled = await store.write(ops.put(make_job("first", current_step="cancel asked")), reserve=True)
    assert cancelled.seq == head + 1
    assert (await store.job("first")).current_step == "cancel asked"
    assert await store.job("refused") is None
    assert len(await store.active_jobs()) == len(acknowledged) + 1

    filler.unlink()
    await until(lambda: store.degraded is None)
    assert ballast.stat().st_blocks * 512 >= 2 << 20
    assert (await store.write(ops.put(make_job("after")))).seq == head + 2
    assert [item.seq for item in opened.items] == list(range(1, head + 3))
    assert {job.id for job in await store.active_jobs()} == acknowledged | {"first", "after"}


async def test_lines_on_a_full_disk_are_refused_whole_and_their_numbers_are_given_again(
    small_disk: Path, open_store: Callable[..., Any], ops: Any, make_job: Any, until: Any
) -> None:
    store = (await open_store(small_disk / "data", ballast_bytes=1 << 20)).store

    def lines(tx: Transaction) -> int:
        first = tx.next_seq(200)
        tx.append_lines(
            [
                LogLine(seq=first + n, job_id="j", name="crm_sync", at=T0, level=20, message=os.urandom(100).hex())
                for n in range(200)
            ]
        )
        return first

    assert await store.write(lines) == 1
    filler = fill(small_disk)
    taken = 200
    with contextlib.suppress(StoreUnavailable):
        for _ in range(2000):
            await store.write(lines)
            taken += 200
    assert store.degraded
    assert store.head == taken
    filler.unlink()
    await until(lambda: store.degraded is None)
    assert await store.write(lines) == taken + 1
    runs = await store.logs.runs(0, store.head, 100_000)
    assert [line.seq for run in runs for line in run] == list(range(1, taken + 201))


async def test_a_block_whose_commit_found_no_space_is_taken_back(
    small_disk: Path, tmp_path: Path, open_store: Callable[..., Any], ops: Any, make_job: Any, until: Any
) -> None:
    (small_disk / "data").mkdir()
    (tmp_path / "logs").mkdir()
    (small_disk / "data" / "logs").symlink_to(tmp_path / "logs")  # the lines always find space, main.db does not
    store = (await open_store(small_disk / "data", ballast_bytes=1 << 20)).store

    def op(job_id: str) -> Callable[[Transaction], int]:
        def with_a_line(tx: Transaction) -> int:
            seq = tx.next_seq()
            tx.append_lines([LogLine(seq=seq, job_id=job_id, name="crm_sync", at=T0, level=20, message=job_id)])
            ops.put(make_job(job_id, current_step="x" * 3000))(tx)
            return seq

        return with_a_line

    said: dict[int, str] = {await store.write(op("first")): "first"}
    filler = fill(small_disk)
    with contextlib.suppress(StoreUnavailable):
        for n in range(100_000):
            said[await store.write(op(f"j{n}"))] = f"j{n}"
    assert store.degraded
    filler.unlink()
    await until(lambda: store.degraded is None)
    said[await store.write(op("after"))] = "after"
    runs = await store.logs.runs(0, store.head, 1_000_000)
    assert {line.seq: line.message for run in runs for line in run} == said
    assert sum(map(len, runs)) == len(said)


async def test_a_server_that_starts_on_a_full_disk_serves_reads_and_waits_for_space(
    small_disk: Path, open_store: Callable[..., Any], ops: Any, make_job: Any, until: Any
) -> None:
    store = (await open_store(small_disk / "data", ballast_bytes=1 << 20)).store
    await store.write(ops.put(make_job("j1")))
    await store.close()
    filler = fill(small_disk)
    store = (await open_store(small_disk / "data", ballast_bytes=1 << 20)).store
    assert "full" in store.degraded
    assert (await store.job("j1")).seq == 1
    with pytest.raises(StoreUnavailable):
        await store.write(ops.put(make_job("j2")))
    filler.unlink()
    await until(lambda: store.degraded is None)
    assert (await store.write(ops.put(make_job("j2")))).seq == 2


async def test_a_store_locked_by_another_process_refuses_and_the_loop_goes_on(
    open_store: Callable[..., Any], ops: Any, make_job: Any, until: Any
) -> None:
    store = (await open_store()).store
    await store.write(lambda tx: tx._db.execute("PRAGMA busy_timeout = 50"))
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    with pytest.raises(StoreUnavailable) as refusal:
        await store.write(ops.put(make_job("j1")))
    turning.cancel()
    assert turns > 10
    assert "locked" in refusal.value.detail
    assert refusal.value.retry_after_s
    assert await store.job("j1") is None
    other.execute("ROLLBACK")
    other.close()
    await until(lambda: store.degraded is None)
    assert (await store.write(ops.put(make_job("j1")))).seq == 1


async def test_a_file_moved_away_is_noticed_and_taken_up_again_when_it_is_back(
    open_store: Callable[..., Any], ops: Any, make_job: Any, until: Any
) -> None:
    store = (await open_store()).store
    await store.write(ops.put(make_job("j1")))
    away = store.path.with_name("away.db")
    store.path.rename(away)
    with pytest.raises(StoreUnavailable, match="moved"):
        await store.write(ops.put(make_job("j2")), reserve=True)
    assert "moved" in store.degraded
    away.rename(store.path)
    await until(lambda: store.degraded is None)
    assert (await store.write(ops.put(make_job("j2")))).seq == 2


async def test_a_file_replaced_while_idle_is_noticed(
    open_store: Callable[..., Any], ops: Any, make_job: Any, until: Any
) -> None:
    store = (await open_store()).store
    await store.write(ops.put(make_job("j1")))
    mine = store.path.with_name("mine.db")
    store.path.rename(mine)
    store.path.write_bytes(b"another file")
    await until(lambda: store.degraded)
    assert "replaced" in store.degraded
    mine.rename(store.path)
    await until(lambda: store.degraded is None)


async def test_damage_found_while_in_use_ends_all_commits_but_not_all_reading(
    open_store: Callable[..., Any], ops: Any, make_job: Any, until: Any, tmp_path: Path
) -> None:
    store = (await open_store()).store
    await asyncio.gather(*(store.write(ops.put(make_job(f"j{n}", current_step="x" * 500))) for n in range(500)))
    await store.close()
    marker = (tmp_path / "data" / "main.marker").read_bytes()
    (tmp_path / "data" / "main.marker").write_bytes(marker.replace(b'"clean":true', b'"clean":false'))
    with store.path.open("r+b") as file:
        file.seek(-8 * 4096, os.SEEK_END)
        file.write(os.urandom(3 * 4096))
    store = (await open_store(checked_bytes=0)).store
    await until(lambda: store.degraded)
    assert "backup" in store.degraded
    with pytest.raises(StoreUnavailable, match="damaged"):
        await store.write(ops.put(make_job("late")), reserve=True)
    assert await store.counts_by_status() == {"running": 500}


async def test_a_check_of_a_sound_file_finds_nothing(open_store: Callable[..., Any], ops: Any, make_job: Any) -> None:
    store = (await open_store()).store
    await store.write(ops.put(make_job("j1")))
    await store.check()
    assert store.degraded is None
