"""A server killed at any moment has kept all that it acknowledged, whole, and goes on from there."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("writing_program.py")


def write_and_be_killed(directory: Path, start: int, after_s: float) -> tuple[str, int, dict[int, int]]:
    """The epoch and head at the start, and the batches acknowledged (number → seq) until SIGKILL."""
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(directory), str(start)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    ready = process.stdout.readline().split()
    if not ready:
        raise AssertionError(process.communicate()[1].decode())
    time.sleep(after_s)  # the moment is the subject here, not a fact to wait for
    process.kill()
    told, _ = process.communicate()
    whole = [line.split() for line in told.decode().splitlines(keepends=True) if line.endswith("\n")]
    return ready[1].decode(), int(ready[2]), {int(n): int(seq) for n, seq in whole}


async def check(directory: Path, acknowledged: dict[int, int], open_store: Callable[..., Any]) -> int:
    """Every acknowledged batch is there, and every batch that is there is whole; the head."""
    store = (await open_store(directory, ballast_bytes=0)).store
    jobs = {int(job.id[1:]): job.seq for job in await store.active_jobs()}
    assert acknowledged.items() <= jobs.items()
    db = sqlite3.connect(store.path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    events = {row[0] for row in db.execute("SELECT seq FROM journal")}
    marks = {int(row[0][1:]) for row in db.execute("SELECT id FROM producer")}
    db.close()
    assert events == set(jobs.values())
    assert marks == set(jobs)
    runs = await store.logs.runs(0, store.head, 10_000_000)
    lines = {line.seq: line.job_id for run in runs for line in run}
    assert lines == {seq + k: f"j{n}" for n, seq in jobs.items() for k in (1, 2, 3)}
    assert store.head == max([0, *(seq + 3 for seq in jobs.values())])
    await store.close()
    return int(store.head)


async def run_kills(kills: int, directory: Path, open_store: Callable[..., Any]) -> None:
    random_s = random.Random(7)
    acknowledged: dict[int, int] = {}
    epochs: set[str] = set()
    head = 0
    for turn in range(kills):
        epoch, head_at_start, told = write_and_be_killed(directory, turn * 1_000_000, random_s.random() * 0.25)
        epochs.add(epoch)
        assert head_at_start >= head
        acknowledged |= told
        if turn % 5 == 4 or turn == kills - 1:
            head = await check(directory, acknowledged, open_store)
    assert len(epochs) == 1
    assert acknowledged


async def test_twenty_kills_lose_nothing_and_leave_nothing_half(tmp_path: Path, open_store: Callable[..., Any]) -> None:
    await run_kills(20, tmp_path / "data", open_store)


@pytest.mark.slow
async def test_a_hundred_kills_lose_nothing(tmp_path: Path, open_store: Callable[..., Any]) -> None:
    await run_kills(100, tmp_path / "data", open_store)
