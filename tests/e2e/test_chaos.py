"""Either side is killed again and again: what reached a spool is never lost, doubled or misplaced; viewers too."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from etlmon.client.live import Link, LinkState, Live, Reset
from etlmon.client.polling import Message
from etlmon.core.protocol import Wanted
from etlmon.host.endpoint import Endpoint
from world import ServerProcess, new_id

PRODUCERS = 4
Lines = list[tuple[int, str, str]]
"""seq, job id, message."""
PROGRAM = Path(__file__).with_name("chaos_producer.py")


class Cast:
    """The producers: one process at a time in each place, a new job with each new process."""

    def __init__(self, server: ServerProcess, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.stop = directory / "stop"
        self.jobs: dict[str, Path] = {}
        self.running: list[subprocess.Popen[bytes]] = []

    def begin(self) -> None:
        """All places taken."""
        self.running = [self.spawn() for _ in range(PRODUCERS)]

    def spawn(self) -> subprocess.Popen[bytes]:
        job_id = new_id()
        self.jobs[job_id] = self.directory / f"{job_id}.ledger"
        argv = [sys.executable, str(PROGRAM), job_id, str(self.jobs[job_id]), str(self.stop)]
        return subprocess.Popen(argv, env=self.server.env)

    def kill_one(self, dice: random.Random) -> None:
        place = dice.randrange(PRODUCERS)
        self.running[place].kill()
        self.running[place].wait()
        self.running[place] = self.spawn()

    def n_reported(self) -> int:
        return sum(path.stat().st_size for path in self.jobs.values() if path.exists())

    def end(self) -> None:
        """Let the living finish, then deliver what the dead left behind."""
        self.stop.touch()
        for process in self.running:
            process.wait(120)
        subprocess.run(
            [sys.executable, "-m", "etlmon.sdk.flush", str(self.server.data_dir / "spool")],
            env=self.server.env, check=True, timeout=120,
        )  # fmt: skip


class Viewer:
    """One live reader of all lines; ``level`` filters. It must never be told that it missed something."""

    def __init__(self, server: ServerProcess, level: str | None, *, leaves: bool) -> None:
        self.endpoint = Endpoint(url=server.url, token=server.token, origin="test")
        self.level, self.leaves = level, leaves
        self.lines: Lines = []
        self.resets: list[str] = []
        self.cursor: str | None = None
        self.is_live = False
        self.link: Link | None = None

    def wanted(self, everything: Lines) -> Lines:
        """What its filter lets through: every tenth line is a warning."""
        return everything if self.level is None else [e for e in everything if int(e[2].split()[1]) % 10 == 0]

    async def run(self) -> None:
        """Read for ever; one that leaves goes after 2,000 lines and comes back to where it was."""
        while True:
            live = Live(self.endpoint, Wanted(topics="logs", level=self.level), since=self.cursor)
            stream = live.__aiter__()
            try:
                async for item in stream:
                    if isinstance(item, Link):
                        self.link = item
                        self.is_live = self.is_live or item.state is LinkState.LIVE
                    elif isinstance(item, Reset):
                        self.resets.append(item.reason)
                    elif isinstance(item, Message) and item.type == "log_message":
                        self.lines.append((int(item.data["seq"]), item.data["jobId"], item.data["message"]))
                        if self.leaves and len(self.lines) % 2000 == 0:
                            break
                    self.cursor = live.cursor.format() if live.cursor else None
                self.cursor = live.cursor.format() if live.cursor else None
            finally:
                await stream.aclose()  # type: ignore[attr-defined]


async def havoc(server: ServerProcess, cast: Cast, *, kills: int, reports: int, dice: random.Random) -> None:
    """Kill one side or the other until enough was killed and enough was reported."""
    done = 0
    while done < kills or cast.n_reported() < reports:
        await asyncio.sleep(dice.uniform(0.05, 0.09) * 10)
        if done >= kills:
            continue
        if dice.random() < 0.5:
            server.kill()
            await asyncio.to_thread(server.start)
        else:
            cast.kill_one(dice)
        done += 1


async def watch_havoc(server: ServerProcess, cast: Cast, viewers: list[Viewer], *, kills: int, reports: int) -> Lines:
    """The whole play, watched from the first line to the last; what was stored in the end."""
    tasks = [asyncio.create_task(viewer.run(), name="viewer") for viewer in viewers]
    try:
        await facts(tasks, lambda: all(viewer.is_live for viewer in viewers))
        cast.begin()
        await havoc(server, cast, kills=kills, reports=reports, dice=random.Random(2013))
        await asyncio.to_thread(cast.end)
        everything = await asyncio.to_thread(check_stored, server, cast)
        with contextlib.suppress(TimeoutError):  # who did not see all is told apart below
            await facts(tasks, lambda: all(len(v.lines) >= len(v.wanted(everything)) for v in viewers))
        return everything
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def facts(tasks: list[asyncio.Task[None]], hold: Callable[[], bool]) -> None:
    """Wait until it holds; a viewer that broke says why."""
    async with asyncio.timeout(60):
        while not hold():
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.02)


def stored_lines(server: ServerProcess, job_id: str) -> Lines:
    """Every stored line of a job, page by page."""
    lines: Lines = []
    cursor = ""
    while True:
        page = server.api("GET", f"/api/jobs/{job_id}/logs?limit=1000{cursor}")
        lines += [(entry["seq"], job_id, entry["message"]) for entry in page["items"]]
        if page["nextCursor"] is None:
            return lines
        cursor = f"&cursor={page['nextCursor']}"


def check_stored(server: ServerProcess, cast: Cast) -> Lines:
    """Every line that reached a spool is stored once, in order, and so are the steps; all lines in ``seq`` order."""
    everything: Lines = []
    for job_id, ledger in cast.jobs.items():
        reported = ledger.stat().st_size if ledger.exists() else 0
        if reported == 0:
            continue
        lines = stored_lines(server, job_id)
        assert [message for _, _, message in lines] == [f"line {n}" for n in range(len(lines))]
        assert len(lines) - reported in (0, 1), f"{reported} lines reached the spool, {len(lines)} are stored"
        steps = [e["detail"]["step"] for e in events(server, job_id) if e["kind"] == "step_started"]
        assert steps == [f"step {n}" for n in range(0, len(lines), 50)][: len(steps)]
        assert len(steps) * 50 >= len(lines) - 50
        everything += lines
    return sorted(everything)


def check_seen(viewer: Viewer, everything: Lines) -> None:
    """The viewer saw each line that it wanted, once and in order, and missed none."""
    assert viewer.resets == []
    wanted = viewer.wanted(everything)
    same = next((n for n, (seen, want) in enumerate(zip(viewer.lines, wanted, strict=False)) if seen != want), None)
    place = (
        f"level {viewer.level}, {len(viewer.lines)} of {len(wanted)} lines, first difference at {same}, {viewer.link}"
    )
    assert same is None, f"{place}: {viewer.lines[same : same + 3]} for {wanted[same : same + 3]}"
    assert len(viewer.lines) == len(wanted), place


def events(server: ServerProcess, job_id: str) -> list[dict[str, object]]:
    """The job's part of the journal, page by page."""
    found: list[dict[str, object]] = []
    cursor = ""
    while True:
        page = server.api("GET", f"/api/jobs/{job_id}/events?limit=1000{cursor}")
        found += page["items"]
        if page["nextCursor"] is None:
            return found
        cursor = f"&cursor={page['nextCursor']}"


def endure(server: ServerProcess, directory: Path, *, kills: int, reports: int) -> None:
    viewers = [
        Viewer(server, None, leaves=False),
        Viewer(server, None, leaves=True),
        Viewer(server, "warning", leaves=False),
    ]
    cast = Cast(server, directory)
    try:
        everything = asyncio.run(watch_havoc(server, cast, viewers, kills=kills, reports=reports))
    finally:
        for process in cast.running:
            if process.poll() is None:
                process.kill()
                process.wait()
    for viewer in viewers:
        check_seen(viewer, everything)
    assert len(everything) >= reports


def test_a_few_kills_of_either_side_lose_and_double_nothing(server: ServerProcess, tmp_path: Path) -> None:
    endure(server, tmp_path, kills=6, reports=4_000)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_kills_of_either_side_lose_and_double_nothing(server: ServerProcess, tmp_path: Path) -> None:
    endure(server, tmp_path, kills=int(os.environ.get("ETLMON_KILLS", "100")), reports=100_000)
