"""A store whose process is killed at any point has each committed line exactly once, and none of the others."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from etlmon.core.job import LogLine
from etlmon.server.store.logs import LogQuery, LogStore

CHILD = """
import os, sys
from pathlib import Path
from etlmon.core.job import LogLine
from etlmon.server.store.logs import LogSettings, LogStore

directory, first, day = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
settings = LogSettings(round_bytes=20_000, chunk_bytes=2_000, roll_bytes=400_000, checkpoint_bytes=100_000, slice_ms=1)
store = LogStore(directory, settings, lambda: day)
store.open(first - 1)
journal = os.open(directory / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
seq, turn = first, 0
while True:
    n = 1 + (seq * 7919) % 60
    numbers = range(seq, seq + n)
    ref = store.append([LogLine(s, f"job-{s % 9}", "job", day + s, 20, f"row {s} of {s * s:x}") for s in numbers])
    turn += 1
    if turn % 11 == 0:
        store.discard(ref)  # the commit failed: the same numbers come again
        continue
    os.write(journal, b"%d\\n" % ref.last_seq)  # the commit
    seq += n
"""


def line(seq: int, day: int) -> LogLine:
    """What the child writes under this number."""
    return LogLine(seq, f"job-{seq % 9}", "job", day + seq, 20, f"row {seq} of {seq * seq:x}")


def run_until_killed(directory: Path, first: int, day: int, commits: int) -> None:
    """Runs the child and kills it a moment after some more commits."""
    journal = directory / "journal"
    before = journal.read_bytes().count(b"\n") if journal.exists() else 0
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(directory), str(first), str(day)])
    try:
        deadline = time.monotonic() + 60
        while not (journal.exists() and journal.read_bytes().count(b"\n") >= before + commits):
            assert child.poll() is None, "the child ended by itself"
            assert time.monotonic() < deadline, "the child does not commit"
            os.sched_yield()
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


@pytest.mark.parametrize("kills", [3, pytest.param(25, marks=pytest.mark.slow)])
async def test_after_each_kill_every_committed_line_is_there_once(
    tmp_path: Path, open_store: Callable[..., LogStore], clock: Callable[[], int], kills: int
) -> None:
    directory = tmp_path / "logs"
    directory.mkdir(mode=0o700)
    dice = random.Random(7)
    head, day = 0, clock()
    for _ in range(kills):
        run_until_killed(directory, head + 1, day, dice.randrange(1, 60))
        head = int((directory / "journal").read_bytes().splitlines()[-1])
    store = open_store(head)
    found: list[LogLine] = []
    query: LogQuery | None = LogQuery(limit=5_000)
    while query is not None:
        page = await store.read(query, head + 1_000)
        found += page.lines
        query = None if page.next is None else query.resumed(page.next)
    assert found == [line(seq, day) for seq in range(1, head + 1)]
    assert store.stats().lines == head
    for seq in dice.sample(range(1, head + 1), 20):
        page = await store.read(LogQuery(words=f"{seq * seq:x}", job_ids=frozenset({f"job-{seq % 9}"})), head)
        assert line(seq, day) in page.lines
