"""The console's log room: 5,000 lines a second followed for a minute, headless; 100,000 lines loaded, filtered, held.

Beside it Textual's own RichLog over the same feed. The server and the load are processes of their own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

from log_world import LogApp, until
from rich.text import Text
from textual.widgets import RichLog

from bench.table import Row, main, median, percentile
from bench.wire import Poster
from etlmon.core.instants import format_instant
from etlmon.host.endpoint import Endpoint
from etlmon.tui.logs.entry import Entry, Lanes, entry_of
from etlmon.tui.logs.feed import LogFeed
from etlmon.tui.logs.filter import LogFilter
from etlmon.tui.logs.state import LogLines
from world import ServerProcess, new_id, started

RATE, SECONDS, BESIDE_S, STEP = 5_000, 60.0, 15.0, 250
N_LINES, RICH_LINES = 100_000, 10_000
SIZE = (120, 40)
LOOKS = {10: "dim", 30: "bold yellow", 40: "bold red", 50: "bold red"}


def text(n: int) -> str:
    """A line of the load, of 100 characters, with the instant of its sending at its head."""
    stamp = f"{time.time_ns() // 1_000_000} "
    return stamp + f"chunk {n:07d}: 5,000 rows of orders_nightly taken in 12 ms, 0 rejected, 31 MB/s".ljust(86, ".")


async def drive(url: str, token: str, job_ids: list[str], seconds: float) -> None:
    """``RATE`` lines a second over the jobs, at an even pace."""
    poster, begun, n = await Poster(url, token).open(), time.monotonic(), 0
    while n < seconds * RATE:
        await asyncio.sleep(max(0.0, begun + n / RATE - time.monotonic()))
        reports = []
        for _ in range(STEP):
            n += 1
            level = "error" if n % 997 == 0 else "info"
            reports.append({"kind": "log", "jobId": job_ids[n // 5 % len(job_ids)], "level": level, "message": text(n)})
        status, body = await poster.post(json.dumps({"reports": reports}).encode())
        assert status == 200, body
    poster.close()


def _drive(url: str, token: str, job_ids: list[str], seconds: float) -> None:
    asyncio.run(drive(url, token, job_ids, seconds))


class RichApp(LogApp):
    """The same feed, ten times a second, into a RichLog."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.pane.display = False
        self.log_widget = RichLog(max_lines=200_000, auto_scroll=True)
        self.feed = LogFeed(self.rest, self.find_endpoint, (), Lanes(), now=self.now)

    def compose(self) -> Any:
        """The pane is not shown, and so does nothing."""
        yield self.log_widget
        yield from super().compose()

    def on_mount(self) -> None:
        """Follow."""
        self.run_worker(self.feed.run(), exit_on_error=False)
        self.set_interval(0.1, self.flush)

    def flush(self) -> None:
        """What came since the last time."""
        for entry in self.feed.take():
            self.log_widget.write(rich_line(entry))

    def last(self) -> str:
        """The newest line on the screen."""
        lines = self.log_widget.lines
        return lines[-1].text[14:] if lines else ""


def rich_line(entry: Entry) -> Text:
    """A line as a console on the stock widget would write it."""
    return Text.assemble((format_instant(entry.at)[11:23] + "  ", "dim"), (entry.message, LOOKS.get(entry.level, "")))


class PaneApp(LogApp):
    """The log room alone."""

    def last(self) -> str:
        """The newest line on the screen."""
        window = self.pane.view.window
        drawn = window.rows()
        return self.pane.lines.entry(drawn[-1][0]).message if drawn and drawn[-1] else ""


async def followed(app: PaneApp | RichApp, server: ServerProcess, seconds: float) -> tuple[float, list[float]]:
    """The share of a core that following takes, and the age of the newest line on the screen (ms) 20 times a second."""
    jobs = [new_id() for _ in range(3)]
    server.report(*(started(job, name) for job, name in zip(jobs, ("orders", "crm_sync", "ledger"), strict=True)))
    load = multiprocessing.get_context("spawn").Process(
        target=_drive, args=(server.url, server.token, jobs, seconds + 6)
    )
    lags: list[float] = []
    load.start()  # before Textual has stderr
    async with app.run_test(size=SIZE):
        await until(app.last, f"a line comes; load {load.exitcode}")
        await asyncio.sleep(2.0)
        cpu, at = time.process_time(), time.monotonic()
        while time.monotonic() - at < seconds:
            await asyncio.sleep(0.05)
            stamp = app.last()[:13]
            if stamp.isdigit():
                lags.append(time.time_ns() / 1e6 - int(stamp))
        share = (time.process_time() - cpu) / (time.monotonic() - at)
    load.join()
    return share, lags


def following() -> list[Row]:
    """A minute of the load in the room, a quarter of one in a RichLog."""
    with tempfile.TemporaryDirectory() as directory:
        server = ServerProcess(Path(directory)).start()
        endpoint = Endpoint(url=server.url, token=server.token, origin="bench")
        try:
            share, lags = asyncio.run(followed(PaneApp(lambda: endpoint), server, SECONDS))
            rich_share, rich_lags = asyncio.run(followed(RichApp(lambda: endpoint), server, BESIDE_S))
        finally:
            server.stop()
    beside = f"RichLog {rich_share * 100:.0f} %"
    late = f"RichLog {percentile(rich_lags, 0.99):,.0f} ms after {BESIDE_S:.0f} s"
    what = f"log room: {RATE:,} lines/s for {SECONDS:.0f} s"
    return [
        Row(what=f"{what}, share of a core", value=share * 100, unit="%", at_most=40, note=beside),
        Row(what=f"{what}, age of the newest line seen, median", value=median(lags), unit="ms"),
        Row(what="the same, 99 of 100", value=percentile(lags, 0.99), unit="ms", at_most=300, note=late),
    ]


def told(n: int) -> dict[str, Any]:
    """A LogEntry as the server tells it."""
    word = "heartbeat" if n % 7 == 0 else "rows"
    message = f"{text(n)} {word}"[14:]
    level = "error" if n % 1000 == 0 else "info"
    return {"seq": n, "jobId": "j", "name": "orders", "at": "2026-01-02T03:02:02.123Z", "level": level} | {
        "message": message
    }


def holding() -> list[Row]:
    """Lines loaded, filtered at each keystroke, and what they weigh."""
    raw = [told(n) for n in range(1, N_LINES + 1)]
    begun, lanes, lines = time.perf_counter(), Lanes(), LogLines()
    lines.append([entry for line in raw if (entry := entry_of(line, lanes)) is not None])
    loaded = time.perf_counter() - begun
    strokes = []
    for typed in ("h", "he", "hea", "hear", "heart", "heartb", "x", "xy", "7", "77", "777"):
        at = time.perf_counter()
        lines.choose(LogFilter(words=(typed,)))
        strokes.append((time.perf_counter() - at) * 1000)
    rich = asyncio.run(written(raw[:RICH_LINES])) * N_LINES / RICH_LINES
    return [
        Row(
            what=f"log room: {N_LINES:,} lines loaded",
            value=loaded * 1000,
            unit="ms",
            at_most=800,
            note=f"RichLog {rich:,.1f} s, from {RICH_LINES:,}",
        ),
        Row(what=f"a filter's keystroke over {N_LINES:,} lines, longest", value=max(strokes), unit="ms", at_most=50),
        Row(what=f"memory of {N_LINES:,} lines of 100 characters", value=weight(), unit="MB", at_most=60),
    ]


async def written(raw: list[dict[str, Any]]) -> float:
    """The seconds that a RichLog takes for the lines."""
    lanes = Lanes()
    app = RichApp(lambda: Endpoint(url=None, token=None, origin="bench"))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        begun = time.perf_counter()
        for line in raw:
            entry = entry_of(line, lanes)
            assert entry is not None
            app.log_widget.write(rich_line(entry))
        return time.perf_counter() - begun


def weight() -> float:
    """What a store of the lines takes (MB)."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    lanes, lines = Lanes(), LogLines()
    for n in range(1, N_LINES + 1):
        entry = entry_of(told(n), lanes)
        lines.append((entry,) if entry is not None else ())
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / 1e6


def measure() -> list[Row]:
    """Every figure of the room."""
    return [*following(), *holding()]


if __name__ == "__main__":
    main(measure)
