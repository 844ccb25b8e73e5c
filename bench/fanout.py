"""Fan-out: what a delivery costs the server, beside a bare loop that writes one prebuilt frame to each transport.

The server is a process of its own with nothing but the hub in it; viewers are plain sockets in another. CPU is the
server's (user and system), loopback's own work included, for both peers alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import multiprocessing
import os
import socket
import sys
import termios
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from bench.table import Row, main, median, percentile, rss_bytes
from bench.wire import keep_reading, open_viewer, split_frames
from etlmon.core.access import Identity, Role
from etlmon.core.events import Item, JobChange
from etlmon.core.job import Job, Status
from etlmon.host import clock
from etlmon.server.stream.hub import Hub, Settings
from etlmon.server.stream.messages import ChangeEntry, frames
from etlmon.server.stream.session import Session

N_VIEWERS, N_IDLE, SINGLES, SECONDS, RATE, RUNS, SAMPLED = 100, 1000, 150, 3.0, 1000, 3, 5
SLICES = 6
PACE_S = 0.005
"""How often a busy phase commits: as the store does, several reports at a time."""
PAUSE_S = 0.0115
"""Single events come further apart than the hub's tick, so that each is sent at once and alone."""
VIEWER = Identity(token_id="bench", name="bench", role=Role.VIEWER)


class EmptyStore:
    """A store in which nothing ever happened: the hub alone is measured."""

    epoch, head, oldest = "bench", 0, 0
    logs = SimpleNamespace(oldest_seq=0)

    async def active_jobs(self) -> list[Job]:
        """None."""
        return []

    async def items_after(self, after: int, upto: int, limit: int, *, jobs: bool, logs: bool) -> tuple[list[Item], int]:
        """Nothing: who falls behind finds it in the ring, or has missed it."""
        return [], upto


def change(seq: int, job_number: int, percent: float) -> JobChange:
    """A sample such as an ETL job sends."""
    at = clock.now_ms()
    metrics = {
        "recordsTotal": 10_000,
        "recordsProcessed": int(percent * 100),
        "recordsFailed": 15,
        "sentAt": time.time(),
    }
    before = Job(
        id=f"0190f6b2-0000-7000-8000-{job_number:012d}",
        name=f"job_{job_number}",
        type="csv_processing",
        status=Status.RUNNING,
        created_at=at,
        updated_at=at,
        started_at=at,
        owner="ana",
        progress_percent=percent,
        current_step="Processing data",
        step_index=2,
        metrics=metrics,
        seq=seq - 1,
    )
    return JobChange(seq=seq, at=at, before=before, after=msgspec.structs.replace(before, seq=seq), received_at=at)


class Server:
    """Both peers in one process: ``/ws`` is the hub's, ``/bare`` the loop's; ``/go`` runs a phase."""

    def __init__(self) -> None:
        self.hub = Hub(EmptyStore(), clock, Settings(ring_size=2000, max_connections=5000))
        self.bare: list[asyncio.Transport] = []
        self.seq = 0

    async def viewer(self, request: web.Request) -> web.WebSocketResponse:
        """A viewer of the hub."""
        return await self.hub.serve(request, VIEWER)

    async def bare_viewer(self, request: web.Request) -> web.WebSocketResponse:
        """A viewer of the bare loop."""
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        transport = request.transport
        assert transport is not None
        self.bare.append(transport)
        while (await ws.receive()).type is WSMsgType.TEXT:
            pass
        self.bare.remove(transport)
        return ws

    async def go(self, request: web.Request) -> web.Response:
        """Run a phase."""
        phase: Callable[[], Any] = getattr(self, f"phase_{request.query['phase']}")
        found = await phase()
        return web.json_response(found)

    def publish(self, n: int = 1) -> None:
        """Commit ``n`` changes of different jobs."""
        items = [change(self.seq + k + 1, (self.seq + k) % 100, k % 100) for k in range(n)]
        self.seq += n
        self.hub.publish(items, self.seq)

    async def phase_single(self) -> dict[str, float]:
        """Single events, by the hub and by the bare loop in turn: CPU seconds per delivery of each."""
        entry = ChangeEntry(change(1, 1, 50.0))
        head, tail = entry.update()
        frame = frames([head + b"1" + tail], batch=False)
        used = {"hub": 0.0, "bare": 0.0}
        await asyncio.sleep(0.2)
        for number in range(2 * SINGLES):
            begun = time.process_time()
            if number % 2:
                self.publish()
            else:
                change(1, 1, 50.0)  # as in the other peer
                for transport in self.bare:
                    transport.write(frame)
            await asyncio.sleep(PAUSE_S)
            used["hub" if number % 2 else "bare"] += time.process_time() - begun
        return {peer: spent / SINGLES / len(self.bare) for peer, spent in used.items()}

    async def phase_busy(self) -> dict[str, float]:
        """1,000 events a second, by the hub and, in as many writes of as many bytes, by the bare loop in turn.

        CPU seconds per delivery of each (``bare`` only when there are bare viewers), events per write, bytes gained.
        """
        entry = ChangeEntry(change(1, 1, 50.0))
        head, tail = entry.update()
        used, sent = {"hub": 0.0, "bare": 0.0}, {"hub": 0, "bare": 0}
        n_viewers, rss, written = len(self.hub.connections()), rss_bytes(os.getpid()), self.hub.stats.n_frames
        per_write = 12
        await asyncio.sleep(0.2)
        for turn in range(2 * SLICES if self.bare else SLICES):
            peer = "bare" if self.bare and turn % 2 else "hub"
            frame = frames([head + b"1" + tail] * per_write, batch=True)
            begun, cpu, done = time.monotonic(), time.process_time(), 0
            while (passed := time.monotonic() - begun) < SECONDS / SLICES:
                due = int(passed * RATE) - done
                done += due
                if peer == "hub" and due:
                    self.publish(due)
                for number in range(due if peer == "bare" else 0):
                    change(1, 1, 50.0)
                    if (done - number) % per_write == 0:
                        for transport in self.bare:
                            transport.write(frame)
                await asyncio.sleep(PACE_S)
            used[peer] += time.process_time() - cpu
            sent[peer] += done
            per_write = max(1, round(sent["hub"] * n_viewers / (self.hub.stats.n_frames - written)))
        found = {peer: spent / sent[peer] / n_viewers for peer, spent in used.items() if sent[peer]}
        return {**found, "per_write": per_write, "gained": rss_bytes(os.getpid()) - rss}

    async def phase_held(self) -> int:
        """What the slowest viewer holds of ours: the transport's buffer and the kernel's."""
        return max(map(_held, self.hub._sessions), default=0)

    async def phase_rss(self) -> int:
        """Resident memory now."""
        gc.collect()
        return rss_bytes(os.getpid())


def _held(session: Session) -> int:
    outq = fcntl.ioctl(session.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    return session.transport.get_write_buffer_size() + int.from_bytes(outq, sys.byteorder)


@contextlib.contextmanager
def served() -> Iterator[str]:
    """A fresh server, for the time of the ``with``; its URL."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    yield ours.recv()
    ours.send("stop")
    server.join()


def serve(pipe: Connection) -> None:
    """The server's process."""

    async def run() -> None:
        server = Server()
        app = web.Application()
        app.router.add_get("/ws", server.viewer)
        app.router.add_get("/bare", server.bare_viewer)
        app.router.add_get("/go", server.go)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
        await site.start()
        pipe.send(f"http://127.0.0.1:{runner.addresses[0][1]}")
        await asyncio.to_thread(pipe.recv)

    asyncio.run(run())


def view(url: str, path: str, n: int, pipe: Connection) -> None:
    """The viewers' process: ``n`` sockets read to the full; the first few keep what they read, with its instant."""
    socks = [open_viewer(f"{url}", "bench", "batch=1") if path == "/ws" else open_bare(url, path) for _ in range(n)]
    kept = keep_reading(socks, SAMPLED, pipe)
    pipe.send([delay for pieces in kept for delay in delays(pieces)])


def open_bare(url: str, path: str) -> socket.socket:
    """A viewer of another path, or without ``batch``."""
    parts = urllib.parse.urlsplit(path)
    if parts.path == "/ws":
        return open_viewer(url, "bench", parts.query)
    sock = socket.create_connection((urllib.parse.urlsplit(url).hostname or "", urllib.parse.urlsplit(url).port or 0))
    sock.sendall(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    sock.recv(4096)
    return sock


def delays(pieces: list[tuple[float, bytes]]) -> list[float]:
    """Milliseconds from the making of each event to its reading."""
    found, held = [], bytearray()
    for at, piece in pieces:
        held += piece
        for frame in split_frames(held):
            messages = msgspec.json.decode(frame)
            for message in messages if isinstance(messages, list) else [messages]:
                if message["type"].startswith("job_"):
                    found.append((at - message["data"]["metrics"]["sentAt"]) * 1000)
    return found


class Viewers:
    """A process of viewers, for the time of a ``with``; ``delays`` after it."""

    def __init__(self, url: str, path: str, n: int) -> None:
        self.delays: list[float] = []
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=view, args=(url, path, n, theirs), daemon=True)

    def __enter__(self) -> Viewers:
        self._process.start()
        self._pipe.recv()
        return self

    def __exit__(self, *exc: object) -> None:
        self._pipe.send("stop")
        self.delays = self._pipe.recv()
        self._process.join()


def go(url: str, phase: str) -> Any:
    """Run a phase on the server."""
    with urllib.request.urlopen(f"{url}/go?phase={phase}", timeout=120) as answer:
        return msgspec.json.decode(answer.read())


def measure() -> list[Row]:
    """Every row; peers interleaved, medians over the runs."""
    with served() as url:
        rows = [*singles(url), *busy(url), *stalled(url)]
    with served() as url:
        return [*rows, *idle(url)]


def singles(url: str) -> list[Row]:
    """Single events to 100 viewers, beside the bare loop."""
    runs = []
    for _ in range(RUNS):
        with Viewers(url, "/ws?topics=jobs", N_VIEWERS), Viewers(url, "/bare", N_VIEWERS):
            runs.append(go(url, "single"))
    ratio = median(run["hub"] / run["bare"] for run in runs)
    peer = "bare loop {:.2f} µs, hub {:.2f} µs of CPU per delivery".format(
        *(median(run[peer] for run in runs) * 1e6 for peer in ("bare", "hub"))
    )
    return [Row(what="fan-out of single events, 100 viewers", value=ratio, unit="×", at_most=1.3, peer=peer)]


def busy(url: str) -> list[Row]:
    """1,000 events a second to 100 viewers, batched and not, beside the bare loop."""
    rows = []
    for path, what in (("/ws", "batched"), ("/ws?topics=jobs", "one message a frame")):
        runs = []
        for _ in range(RUNS):
            with Viewers(url, path, N_VIEWERS), Viewers(url, "/bare", N_VIEWERS):
                runs.append(go(url, "busy"))
        bare, n = (median(run[key] for run in runs) for key in ("bare", "per_write"))
        rows.append(
            Row(
                what=f"fan-out at 1,000/s to 100 viewers, {what}",
                value=median(run["hub"] for run in runs) * 1e6,
                unit="µs/delivery",
                at_most=1.0,
                peer=f"bare loop, {n:.0f} a write as the hub: {bare * 1e6:.2f} µs",
            )
        )
    return rows


def stalled(url: str) -> list[Row]:
    """One viewer that reads nothing, beside none."""
    alone, beside, gained = [], [], []
    for _ in range(RUNS):
        with Viewers(url, "/ws", N_VIEWERS - 1) as viewers:
            go(url, "busy")
        alone += [percentile(viewers.delays, 0.5), percentile(viewers.delays, 0.99)]
        with Viewers(url, "/ws", N_VIEWERS - 1) as viewers, open_viewer(url, "bench", "topics=jobs"):
            gained.append((max(0, go(url, "busy")["gained"]) + go(url, "held")) / 1e6)
        beside += [percentile(viewers.delays, 0.5), percentile(viewers.delays, 0.99)]
    peer = f"p50/p99 without: {median(alone[::2]):.1f}/{median(alone[1::2]):.1f} ms, with: " + (
        f"{median(beside[::2]):.1f}/{median(beside[1::2]):.1f} ms"
    )
    ratio = median(beside[::2]) / median(alone[::2])
    return [
        Row(what="one viewer that stops reading: delay of the other 99", value=ratio, unit="×", at_most=1.1, peer=peer),
        Row(
            what="one viewer that stops reading: memory",
            value=median(gained),
            unit="MB",
            at_most=1.0,
            note="resident growth, and what the kernel holds for it",
        ),
    ]


def idle(url: str) -> list[Row]:
    """1,000 idle viewers."""
    before = go(url, "rss")
    with Viewers(url, "/ws", N_IDLE):
        value = (go(url, "rss") - before) / N_IDLE / 1000
    return [Row(what="an idle viewer of 1,000: memory", value=value, unit="KB", at_most=25)]


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main(measure)
