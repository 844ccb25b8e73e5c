"""From a change to a viewer: 100 jobs making 1,000 reports a second together, 100 viewers with ``batch=1``.

The time counts from just before the report is sent (so it holds the whole request) to the viewer's read of its frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import selectors
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from bench.table import Row, cpu_s, main, median, percentile
from bench.wire import Poster, open_viewer, split_frames
from world import ServerProcess, new_id, started

N_JOBS, N_VIEWERS, RATE, SECONDS, SAMPLED, RUNS = 100, 100, 1000, 6.0, 10, 3


def view(url: str, token: str, pipe: Connection) -> None:
    """The viewers' process: reads all, keeps the sampled ones' bytes with their instants, reckons at the end."""
    socks = [open_viewer(url, token) for _ in range(N_VIEWERS)]
    selector = selectors.DefaultSelector()
    for n, sock in enumerate(socks):
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, n)
    kept: list[list[tuple[float, bytes]]] = [[] for _ in range(SAMPLED)]
    pipe.send("ready")
    while not pipe.poll(0):
        for key, _ in selector.select(0.05):
            with contextlib.suppress(BlockingIOError):
                piece = key.fileobj.recv(1 << 18)  # type: ignore[union-attr]
                if key.data < SAMPLED:
                    kept[key.data].append((time.time(), piece))
    pipe.send([reckon(pieces) for pieces in kept])


def reckon(pieces: list[tuple[float, bytes]]) -> list[float]:
    """The delays (ms) of one viewer's progress messages."""
    data, delays = bytearray(), []
    for at, piece in pieces:
        data += piece
        for frame in split_frames(data):
            for message in json.loads(frame):
                if message["type"] == "job_progress" and "sentAt" in message["data"]["metrics"]:
                    delays.append((at - message["data"]["metrics"]["sentAt"]) * 1000)
    return delays


async def produce(url: str, token: str) -> int:
    """Each job reports at an even pace over a connection of its own; how many reports were acknowledged."""
    posters = [await Poster(url, token).open() for _ in range(N_JOBS)]
    jobs = [new_id() for _ in range(N_JOBS)]
    taken = 0

    async def job(n: int) -> None:
        nonlocal taken
        producer = new_id()
        first = {"reports": [started(jobs[n], name=f"job_{n}", recordsTotal=10**6)], "producer": producer, "seq": 1}
        await posters[n].post(json.dumps(first).encode())
        begun = time.monotonic() + n / RATE
        for k in range(int(SECONDS * RATE / N_JOBS)):
            await asyncio.sleep(max(0.0, begun + k * N_JOBS / RATE - time.monotonic()))
            report = {"kind": "progress", "jobId": jobs[n], "recordsProcessed": k, "metrics": {"sentAt": time.time()}}
            body = {"reports": [report], "producer": producer, "seq": k + 2}
            status, _ = await posters[n].post(json.dumps(body).encode())
            taken += status == 200

    await asyncio.gather(*(job(n) for n in range(N_JOBS)))
    for poster in posters:
        poster.close()
    return taken


def one_run() -> tuple[list[float], float]:
    """The delays of a run, and the share of a core that the server used."""
    with tempfile.TemporaryDirectory() as directory:
        server = ServerProcess(Path(directory)).start()
        assert server.process is not None
        ours, theirs = multiprocessing.Pipe()
        viewers = multiprocessing.Process(target=view, args=(server.url, server.token, theirs), daemon=True)
        viewers.start()
        ours.recv()
        before, begun = cpu_s(server.process.pid), time.monotonic()
        asyncio.run(produce(server.url, server.token))
        share = (cpu_s(server.process.pid) - before) / (time.monotonic() - begun)
        ours.send("stop")
        delays = [delay for viewer in ours.recv() for delay in viewer]
        viewers.join()
        server.stop()
    return delays, share


def measure() -> list[Row]:
    """Medians over the runs."""
    runs = [one_run() for _ in range(RUNS)]
    seen = median(len(delays) for delays, _ in runs) / SAMPLED / (RATE * SECONDS)
    busy = median(share for _, share in runs)
    note = f"{RATE} reports/s, {N_VIEWERS} viewers; server at {busy:.0%} of a core, {seen:.0%} of samples seen"
    return [
        Row(
            what="change → viewer, p50",
            value=median(percentile(d, 0.5) for d, _ in runs),
            unit="ms",
            at_most=12,
            note=note,
        ),
        Row(what="change → viewer, p99", value=median(percentile(d, 0.99) for d, _ in runs), unit="ms", at_most=40),
    ]


if __name__ == "__main__":
    main(measure)
