"""Acknowledged log ingest over HTTP: batches of 500 lines, word index on, until all of it is in its final form on disk.

The floor is the same lines compressed and inserted into SQLite in a bare loop, in the same run.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import tempfile
import time
from pathlib import Path

import zstandard

from bench.table import Row, cpu_s, main, median
from bench.wire import Poster
from world import ServerProcess, new_id, started

BATCH, BATCHES, PRODUCERS, RUNS = 500, 200, 8, 3
WORDS = (
    "loaded",
    "rows",
    "table",
    "orders",
    "batch",
    "checkpoint",
    "written",
    "retry",
    "connection",
    "partition",
    "commit",
    "stage",
)


def line(n: int, dice: random.Random) -> str:
    """An ETL-like line of 91 bytes in the mean, with an id of 12 hex digits, as in facts of the field."""
    first, second, third = dice.choices(WORDS, k=3)
    head = f"{first} {second} {dice.randrange(10**6)} {third} id={dice.randbytes(6).hex()} "
    return (head + " ".join(dice.choice(WORDS) for _ in range(12)))[: dice.randrange(72, 112)]


def bodies(producer: str, job: str, seed: int) -> list[bytes]:
    """The batches of one producer, ready to post."""
    dice, at = random.Random(seed), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    out = [json.dumps({"reports": [started(job)], "producer": producer, "seq": 1}).encode()]
    for seq in range(BATCHES):
        reports = [
            {"kind": "log", "jobId": job, "at": at, "level": "info", "message": line(n, dice)} for n in range(BATCH)
        ]
        out.append(
            json.dumps({"producer": producer, "seq": seq + 2, "reports": reports}, separators=(",", ":")).encode()
        )
    return out


async def send(url: str, token: str, work: list[list[bytes]]) -> None:
    """All producers at once, one batch in flight each."""

    async def one(batches: list[bytes]) -> None:
        poster = await Poster(url, token).open()
        for body in batches:
            status, answer = await poster.post(body)
            assert status == 200, answer
        poster.close()

    await asyncio.gather(*(one(batches) for batches in work))


def floor(work: list[list[bytes]], directory: Path) -> float:
    """µs of CPU a line for the same lines, zstd-compressed by the batch and inserted, nothing else."""
    texts = [[r["message"] for r in json.loads(body)["reports"]] for batches in work for body in batches[1:]]
    db = sqlite3.connect(directory / "floor.db")
    db.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE block (id INTEGER PRIMARY KEY, data BLOB)"
    )
    packer = zstandard.ZstdCompressor(level=1)
    begun = time.process_time()
    for messages in texts:
        with db:
            db.execute("INSERT INTO block (data) VALUES (?)", (packer.compress("\n".join(messages).encode()),))
    return (time.process_time() - begun) / (len(texts) * BATCH) * 1e6


def disk(directory: Path) -> int:
    """Bytes of the log files, write-ahead log left out."""
    return sum(f.stat().st_size for f in (directory / "logs").glob("*.db"))


def one_run(seed: int) -> dict[str, float]:
    """One server, all lines, then quiet until its compaction is done."""
    with tempfile.TemporaryDirectory() as directory:
        server = ServerProcess(Path(directory)).start()
        assert server.process is not None
        work = [bodies(new_id(), new_id(), seed * 100 + n) for n in range(PRODUCERS)]
        n_lines = BATCH * BATCHES * PRODUCERS
        n_bytes = sum(
            len(r["message"]) for batches in work for body in batches[1:] for r in json.loads(body)["reports"]
        )
        before, begun = cpu_s(server.process.pid), time.monotonic()
        asyncio.run(send(server.url, server.token, work))
        took = time.monotonic() - begun
        last = cpu_s(server.process.pid)
        while True:  # the compaction and the word index are part of the cost: wait until the server is idle
            time.sleep(1.0)
            now = cpu_s(server.process.pid)
            if now - last < 0.03:
                break
            last = now
        cpu = (last - before) / n_lines * 1e6
        server.stop()
        return {
            "rate": n_lines / took,
            "cpu": cpu,
            "ratio": cpu / floor(work, Path(directory)),
            "disk": disk(Path(directory)) / n_lines,
            "mean": n_bytes / n_lines,
        }


def measure() -> list[Row]:
    """Medians over the runs."""
    runs = [one_run(seed) for seed in range(RUNS)]
    mid = {key: median(run[key] for run in runs) for key in runs[0]}
    note = f"{PRODUCERS} producers, batches of {BATCH}, {mid['mean']:.0f} B a line"
    return [
        Row(what="acknowledged log ingest over HTTP", value=mid["rate"], unit="lines/s", at_least=100_000, note=note),
        Row(what="server CPU a line, index included", value=mid["cpu"], unit="µs", at_most=8),
        Row(
            what="the same, to compress + insert alone",
            value=mid["ratio"],
            unit="×",
            peer="zstd-1 + SQLite in a bare loop",
        ),
        Row(what="disk a line", value=mid["disk"], unit="B", at_most=55),
    ]


if __name__ == "__main__":
    main(measure)
