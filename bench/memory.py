"""Memory: the idle server, and ten minutes of 100 viewers.

``ETLMON_SOAK_MINUTES`` shortens the long part (the growth is counted from a fifth of it on).
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import tempfile
import threading
import time
from pathlib import Path

from bench.table import Row, main, median, rss_bytes
from bench.wire import Poster, open_viewer
from world import ServerProcess, new_id, started

MB = 1_000_000
SOAK_MINUTES = float(os.environ.get("ETLMON_SOAK_MINUTES", "10"))
N_VIEWERS = 100


def idle() -> Row:
    """A server that nobody talks to."""
    with tempfile.TemporaryDirectory() as directory:
        server = ServerProcess(Path(directory)).start()
        assert server.process is not None
        time.sleep(2.0)
        value = rss_bytes(server.process.pid) / MB
        server.stop()
    return Row(what="idle server, resident", value=value, unit="MB", at_most=70)


def drain(socks: list[object], stop: threading.Event) -> None:
    """Read and forget."""
    selector = selectors.DefaultSelector()
    for sock in socks:
        selector.register(sock, selectors.EVENT_READ)  # type: ignore[arg-type]
    while not stop.is_set():
        for key, _ in selector.select(0.1):
            key.fileobj.recv(1 << 18)  # type: ignore[union-attr]


async def report(server: ServerProcess, minutes: float, sizes: list[tuple[float, int]]) -> None:
    """100 reports a second of 20 jobs and 200 log lines a second, the server's size every two seconds."""
    assert server.process is not None
    poster = await Poster(server.url, server.token).open()
    jobs = [new_id() for _ in range(20)]
    await poster.post(json.dumps({"reports": [started(job, name=f"soak_{n}") for n, job in enumerate(jobs)]}).encode())
    begun, n = time.monotonic(), 0
    while (passed := time.monotonic() - begun) < minutes * 60:
        reports = [{"kind": "progress", "jobId": jobs[(n + k) % 20], "recordsProcessed": n + k} for k in range(10)]
        reports += [{"kind": "log", "jobId": jobs[k % 20], "message": f"line {n} {k} of the soak"} for k in range(20)]
        await poster.post(json.dumps({"reports": reports}).encode())
        n += 10
        if n % 200 == 0:
            sizes.append((passed, rss_bytes(server.process.pid)))
        await asyncio.sleep(max(0.0, begun + n / 100 - time.monotonic()))
    poster.close()


def soak() -> Row:
    """How much the server grows while 100 viewers watch."""
    with tempfile.TemporaryDirectory() as directory:
        server = ServerProcess(Path(directory)).start()
        socks = [open_viewer(server.url, server.token, "batch=1&topics=jobs,logs") for _ in range(N_VIEWERS)]
        stop, sizes = threading.Event(), list[tuple[float, int]]()
        reader = threading.Thread(target=drain, args=(socks, stop))
        reader.start()
        asyncio.run(report(server, SOAK_MINUTES, sizes))
        stop.set()
        reader.join()
        server.stop()
    settled = [size for at, size in sizes if at >= SOAK_MINUTES * 12]
    first, last = median(settled[:5]), median(settled[-5:])
    return Row(
        what=f"growth with {N_VIEWERS} viewers, from minute {SOAK_MINUTES / 5:.0f} to {SOAK_MINUTES:.0f}",
        value=(last / first - 1) * 100, unit="%", at_most=5, note=f"{first / MB:.0f} → {last / MB:.0f} MB",
    )  # fmt: skip


def measure() -> list[Row]:
    """All of it."""
    return [idle(), soak()]


if __name__ == "__main__":
    main(measure)
