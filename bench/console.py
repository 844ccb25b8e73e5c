"""The console in a real terminal: first paint, 10,000 jobs with 1,000 reports a second, a key's way to the screen.

Beside it Textual's own DataTable under the same load (bench/stock_table.py). The server is a process of its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import multiprocessing
import os
import pty
import random
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

from bench.table import Row, cpu_s, main, median, percentile, rss_bytes
from bench.wire import Poster
from world import ServerProcess, new_id, started

N_JOBS, RATE, SECONDS, KEYS, STARTS = 10_000, 1000, 12.0, 60, 7
COLUMNS, LINES = 120, 40
CURSOR_ROW = b"48;2;34;48;61"
"""The ground of the row under the cursor, as the terminal is told it: nothing else is drawn on it."""
CURSOR_ROW = b"48;2;34;48;61"
"""The ground of the row under the cursor, as the terminal is told it: nothing else is drawn on it."""
STEP = 50
"""Reports in one batch of the load."""


class Terminal:
    """A program in a pty of 120×40 that is always read; ``wait`` finds bytes that came after an instant."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self.begun = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(argv[0], argv, env)  # the child is the program
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.pieces: list[tuple[float, bytes]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self.fd, 1 << 16)
            except OSError:
                return
            if not piece:
                return
            self.pieces.append((time.perf_counter(), piece))

    def wait(self, pattern: bytes, *, after: int = 0, within_s: float = 30.0) -> float:
        """The instant at which ``pattern`` had come, among the pieces from number ``after`` on."""
        until, wanted = time.perf_counter() + within_s, re.compile(pattern)
        while time.perf_counter() < until:
            seen = b""
            for at, piece in self.pieces[after:]:
                seen += piece
                if wanted.search(seen):
                    return at
            time.sleep(0.001)
        last = b"".join(piece for _, piece in self.pieces[-5:])[-400:]
        raise TimeoutError(f"{pattern!r} was not drawn; the last was {last!r}")

    def press(self, keys: bytes) -> int:
        """Type; the number of pieces drawn before."""
        before = len(self.pieces)
        os.write(self.fd, keys)
        return before

    def close(self) -> None:
        """End the program."""
        os.kill(self.pid, signal.SIGTERM)
        select.select([], [], [], 0.2)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def environment(server: ServerProcess) -> dict[str, str]:
    """A usual terminal's."""
    return {**server.env, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}


def console(server: ServerProcess) -> Terminal:
    """``etlmon tui``."""
    return Terminal([sys.executable, "-m", "etlmon", "tui", "--data-dir", str(server.data_dir)], environment(server))


async def fill(url: str, token: str, jobs: list[str]) -> None:
    """Every job running, and known to the server."""
    poster = await Poster(url, token).open()
    for at in range(0, len(jobs), 500):
        reports = [
            started(job, name=f"load_{at + n:05d}", recordsTotal=10**6, type="csv_processing", owner="ana")
            for n, job in enumerate(jobs[at : at + 500])
        ]
        status, body = await poster.post(json.dumps({"reports": reports}).encode())
        assert status == 200, body
    poster.close()


async def drive(url: str, token: str, jobs: list[str], seconds: float) -> None:
    """``RATE`` progress reports a second over all jobs, at an even pace."""
    poster = await Poster(url, token).open()
    dice, begun = random.Random(3), time.monotonic()
    for n in range(int(seconds * RATE / STEP)):
        await asyncio.sleep(max(0.0, begun + n * STEP / RATE - time.monotonic()))
        reports = [
            {"kind": "progress", "jobId": job, "recordsProcessed": n * 700 + dice.randrange(700)}
            for job in dice.sample(jobs, STEP)
        ]
        await poster.post(json.dumps({"reports": reports}).encode())
    poster.close()


def _drive(url: str, token: str, jobs: list[str], seconds: float) -> None:
    asyncio.run(drive(url, token, jobs, seconds))


def under_load(server: ServerProcess, jobs: list[str], terminal: Terminal, *, keys: bool) -> tuple[float, list[float]]:
    """The share of a core that the program takes under the load, and each key's way to the screen (ms)."""
    load = multiprocessing.get_context("spawn").Process(
        target=_drive, args=(server.url, server.token, jobs, SECONDS + KEYS * 0.12 + 3)
    )
    load.start()
    time.sleep(2.0)
    cpu, at = cpu_s(terminal.pid), time.perf_counter()
    time.sleep(SECONDS)
    share = (cpu_s(terminal.pid) - cpu) / (time.perf_counter() - at)
    delays = []
    for n in range(KEYS if keys else 0):
        pressed = time.perf_counter()
        before = terminal.press(b"j" if n % 2 == 0 else b"k")
        drawn = terminal.wait(CURSOR_ROW, after=before, within_s=5.0)
        delays.append((drawn - pressed) * 1000)
        time.sleep(0.1 + 0.013 * (n % 3))
    load.join()
    return share, delays


def first_paint(server: ServerProcess) -> tuple[float, float]:
    """From the start of the process to the first row of the frame, and to the first jobs (ms)."""
    terminal = console(server)
    try:
        frame = terminal.wait(b"etlmon")
        jobs = terminal.wait(b"running")
        return (frame - terminal.begun) * 1000, (jobs - terminal.begun) * 1000
    finally:
        terminal.close()


def bare_import() -> float:
    """What importing Textual's App alone costs a process (ms)."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "from textual.app import App"], check=True)
    return (time.perf_counter() - begun) * 1000


def measure() -> list[Row]:
    """The rows of the console."""
    with tempfile.TemporaryDirectory() as directory:
        server = ServerProcess(Path(directory)).start()
        try:
            paints = [first_paint(server) for _ in range(STARTS)]
            bare = median(bare_import() for _ in range(STARTS))
            jobs = [new_id() for _ in range(N_JOBS)]
            asyncio.run(fill(server.url, server.token, jobs))
            terminal = console(server)
            terminal.wait(b"10,000 jobs", within_s=60)
            share, delays = under_load(server, jobs, terminal, keys=True)
            memory = rss_bytes(terminal.pid) / 1e6
            terminal.close()
            stock = Terminal([sys.executable, "-m", "bench.stock_table", str(server.data_dir)], environment(server))
            stock.wait(b"load_", within_s=120)
            time.sleep(3)
            stock_share, _ = under_load(server, jobs, stock, keys=False)
            stock_memory = rss_bytes(stock.pid) / 1e6
            stock.close()
        finally:
            server.stop()
    paint = median(frame for frame, _ in paints)
    return [
        Row(what="console, first paint", value=paint, unit="ms", at_most=400,
            note=f"{paint / bare:.2f} × a process that imports Textual's App alone ({bare:.0f} ms)"),
        Row(what="console, first row of counts", value=median(jobs for _, jobs in paints), unit="ms"),
        Row(what="console, 10,000 jobs, 1,000 reports/s", value=share * 100, unit="% of a core", at_most=20,
            note=f"Textual's DataTable on the same load: {stock_share * 100:.0f} %"),
        Row(what="console, key → paint under that load, p50", value=percentile(delays, 0.5), unit="ms"),
        Row(what="console, key → paint under that load, p99", value=percentile(delays, 0.99), unit="ms", at_most=60),
        Row(what="console, memory under that load", value=memory, unit="MB", at_most=150,
            note=f"DataTable: {stock_memory:.0f} MB"),
    ]  # fmt: skip


if __name__ == "__main__":
    main(measure)
