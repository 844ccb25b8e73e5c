"""A worker beside a server: from submit to running, how soon a pause holds, 150 jobs at once under viewers' eyes."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import latency
from bench.table import Row, main, median, percentile
from bench.wire import Poster
from world import ServerProcess, new_id, started

SUBMITS, PAUSES = 25, 3
N_JOBS, PER_SECOND, SECONDS = 150, 10, 8.0
ROWS = 5_000_000
"""Rows of the file that a job is paused in: some ten seconds of work."""


def instant(text: str) -> float:
    """A timestamp as seconds."""
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def until(server: ServerProcess, job_id: str, *statuses: str, within_s: float = 60.0) -> dict[str, Any]:
    """The job once it has one of these statuses."""
    end = time.monotonic() + within_s
    while (job := server.api("GET", f"/api/jobs/{job_id}"))["status"] not in statuses:
        if time.monotonic() > end:
            raise TimeoutError(f"{job_id} is {job['status']}, not {statuses}: {job['failure']}")
        time.sleep(0.002)
    return dict(job)


def submit(server: ServerProcess, source: Path, sink: Path) -> str:
    """A csv_processing job that checks every column."""
    columns = {"a": {"type": "integer", "min": 0}, "b": {"type": "string", "required": True}}
    config = {"source": {"path": str(source)}, "sink": {"path": str(sink)}, "columns": columns}
    return str(server.api("POST", "/api/jobs", {"type": "csv_processing", "config": config})["id"])


def starts(server: ServerProcess, directory: Path) -> list[float]:
    """From a submit's request to the instant at which the job runs (ms), on an idle worker."""
    source = directory / "small.csv"
    source.write_text("a,b\n" + "1,2\n" * 10)
    delays = []
    for n in range(SUBMITS):
        asked = time.time()
        job = until(server, submit(server, source, directory / f"out{n}.csv"), "completed")
        delays.append((instant(job["startedAt"]) - asked) * 1000)
    return delays


def pauses(server: ServerProcess, directory: Path) -> list[float]:
    """From an operator's pause to the instant at which the job stands still (ms)."""
    source = directory / "large.csv"
    source.write_text("a,b,c\n" + "12345,some words here,2026-01-01\n" * ROWS)
    job_id, delays = submit(server, source, directory / "large.out.csv"), []
    until(server, job_id, "running")
    for _ in range(PAUSES):
        asked = time.time()
        server.api("POST", f"/api/jobs/{job_id}/pause", {})
        delays.append((instant(until(server, job_id, "paused")["pausedAt"]) - asked) * 1000)
        server.api("POST", f"/api/jobs/{job_id}/resume", {})
        until(server, job_id, "running")
    server.api("POST", f"/api/jobs/{job_id}/cancel", {})
    until(server, job_id, "cancelled")
    return delays


async def report(url: str, token: str, jobs: list[str]) -> int:
    """Every job reports at an even pace over a connection of its own; how many reports were acknowledged."""

    async def one(n: int, job_id: str) -> int:
        poster, producer, taken = await Poster(url, token).open(), new_id(), 0
        body = {"reports": [started(job_id, f"job_{n:03d}", recordsTotal=10**6)], "producer": producer, "seq": 1}
        await poster.post(json.dumps(body).encode())
        begun = time.monotonic() + n / (len(jobs) * PER_SECOND)
        for k in range(int(SECONDS * PER_SECOND)):
            await asyncio.sleep(max(0.0, begun + k / PER_SECOND - time.monotonic()))
            progress = {"kind": "progress", "jobId": job_id, "recordsProcessed": k, "metrics": {"sentAt": time.time()}}
            body = {"reports": [progress], "producer": producer, "seq": k + 2}
            status, _ = await poster.post(json.dumps(body).encode())
            taken += status == 200
        poster.close()
        return taken

    return sum(await asyncio.gather(*(one(n, job_id) for n, job_id in enumerate(jobs))))


def crowd(server: ServerProcess) -> tuple[list[float], int]:
    """What viewers see of 150 jobs that report ten times a second each: delays (ms), and reports that were lost."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    viewers = context.Process(target=latency.view, args=(server.url, server.token, theirs))
    viewers.start()
    assert ours.recv() == "ready"
    jobs = [new_id() for _ in range(N_JOBS)]
    taken = asyncio.run(report(server.url, server.token, jobs))
    time.sleep(0.5)
    ours.send("stop")
    delays = [read for viewer in ours.recv() for read, _ in viewer]
    viewers.join()
    held = sum(server.api("GET", f"/api/jobs/{job}")["metrics"]["recordsProcessed"] + 1 for job in jobs)
    return delays, int(N_JOBS * SECONDS * PER_SECOND) - min(taken, held)


def measure() -> list[Row]:
    """The rows of the worker."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        data = directory / "data"
        data.mkdir(mode=0o700)
        config = data / "config.toml"
        config.write_text(f"[worker]\nallowed_roots = [{name!r}]\n")
        config.chmod(0o600)
        server = ServerProcess(data).start()
        worker = subprocess.Popen([sys.executable, "-m", "etlmon", "worker"], env=server.env, stdout=subprocess.DEVNULL)
        try:
            begun, paused = starts(server, directory)[1:], pauses(server, directory)
            worker.terminate()
            worker.wait()
            delays, lost = crowd(server)
        finally:
            worker.kill()
            server.stop()
    note = f"p50 {percentile(delays, 0.5):.1f} ms; {latency.N_VIEWERS} viewers, {len(delays):,} samples"
    seen = percentile(delays, 0.99)
    return [
        Row(what="submit → running (claimed) on an idle worker, median", value=median(begun), unit="ms", at_most=150,
            note=f"most {max(begun):.0f} ms"),
        Row(what="pause → the pipeline stands still", value=median(paused), unit="ms", at_most=500,
            note=f"most {max(paused):.0f} ms"),
        Row(what="150 jobs × 10 reports/s → viewer, p99", value=seen, unit="ms", at_most=100, note=note),
        Row(what="reports lost of those", value=float(lost), unit="", at_most=0),
    ]  # fmt: skip


if __name__ == "__main__":
    main(measure)
