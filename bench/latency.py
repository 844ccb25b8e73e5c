"""From a change to a viewer: 100 jobs making 1,000 reports a second together, 100 viewers with ``batch=1``.

The time counts from the server's reading of the report (``updatedAt``, whole milliseconds) to the viewer's read of its
frame; the note has it from just before the report was sent, so with the whole request and its producer's own delay.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import tempfile
import time
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path

from bench.table import Row, cpu_s, main, median, percentile
from bench.wire import Poster, keep_reading, open_viewer, split_frames
from world import ServerProcess, new_id, started

N_JOBS, N_VIEWERS, RATE, SECONDS, SAMPLED, RUNS = 100, 100, 1000, 6.0, 10, 3


def view(url: str, token: str, pipe: Connection) -> None:
    """The viewers' process: reads all, keeps the sampled ones' bytes with their instants, reckons at the end."""
    socks = [open_viewer(url, token) for _ in range(N_VIEWERS)]
    kept = keep_reading(socks, SAMPLED, pipe)
    pipe.send([reckon(pieces) for pieces in kept])


def reckon(pieces: list[tuple[float, bytes]]) -> list[tuple[float, float]]:
    """The delays (ms) of one viewer's progress messages, from the reading and from the sending."""
    data, delays = bytearray(), []
    for at, piece in pieces:
        data += piece
        for frame in split_frames(data):
            for message in json.loads(frame):
                if message["type"] == "job_progress" and "sentAt" in message["data"]["metrics"]:
                    read_at = datetime.fromisoformat(message["data"]["updatedAt"]).timestamp()
                    sent_at = message["data"]["metrics"]["sentAt"]
                    delays.append(((at - read_at) * 1000, (at - sent_at) * 1000))
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


def one_run() -> tuple[list[tuple[float, float]], float]:
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
    rows = []
    for share, at_most in ((0.5, 12), (0.99, 40)):
        read, sent = (median(percentile([d[k] for d in delays], share) for delays, _ in runs) for k in (0, 1))
        what = f"change → viewer, p{share * 100:.0f}"
        rows.append(Row(what=what, value=read, unit="ms", at_most=at_most, note=f"{sent:.1f} ms from sending; {note}"))
    return rows


if __name__ == "__main__":
    main(measure)
