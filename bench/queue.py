"""The queue at work: no-op jobs claimed and finished over 20 connections, beside a store of a million finished jobs.

``ETLMON_BENCH_JOBS`` makes the store smaller. The floor is the same work as bare SQL: a claim and an end are each an
update of the job's row and a journal row, and 20 of them share a commit.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import time
from pathlib import Path

import msgspec

from bench.million import fill
from bench.table import Row, main
from bench.wire import Poster
from world import ServerProcess, new_id

N_STORED = int(os.environ.get("ETLMON_BENCH_JOBS", "1000000"))
CONNECTIONS = 20
N_JOBS = 6_000
PACE = 1_500
BATCH = 4
"""As many jobs as a worker runs at once unless told otherwise (worker.concurrency)."""
NOTHING = {"source": {"path": "in.csv"}, "sink": {"path": "out.csv"}}
CLAIM, REPORT, SUBMIT = "/api/queue/claim", "/api/reports", "/api/jobs"


class Given(msgspec.Struct):
    """What a worker of this kind reads of a job."""

    id: str


class Item(msgspec.Struct):
    """One claim."""

    job: Given
    token: int = msgspec.field(name="fencingToken")


class Answer(msgspec.Struct):
    """What was claimed."""

    items: list[Item]


_answers = msgspec.json.Decoder(Answer)


async def submit_all(server: ServerProcess, n_jobs: int) -> float:
    """Jobs queued a second."""
    body = msgspec.json.encode({"type": "csv_processing", "config": NOTHING, "name": "orders_nightly"})

    async def one(n: int) -> None:
        poster = await Poster(server.url, server.token, SUBMIT).open()
        for _ in range(n):
            status, answer = await poster.post(body)
            assert status == 201, answer
        poster.close()

    begun = time.perf_counter()
    await asyncio.gather(*(one(n_jobs // CONNECTIONS) for _ in range(CONNECTIONS)))
    return n_jobs / (time.perf_counter() - begun)


async def work_all(
    server: ServerProcess, n_jobs: int, most: int, pace: float | None = None
) -> tuple[float, list[float]]:
    """Jobs claimed and finished a second, and what each claim took (s). Each worker holds up to ``most`` at once;
    all together take ``pace`` jobs a second (None: as many as they can)."""
    claims: list[float] = []
    left = n_jobs
    period = 0.0 if pace is None else CONNECTIONS * most / pace

    async def one(n: int) -> None:
        nonlocal left
        worker, producer, seq = new_id(), new_id(), 0
        claiming = await Poster(server.url, server.token, CLAIM).open()
        reporting = await Poster(server.url, server.token, REPORT).open()
        asked = {"id": worker, "host": "etl-3", "pid": 7, "version": "0", "concurrency": most}
        due = time.perf_counter() + n * period / CONNECTIONS
        while left > 0:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            due += period
            wanted = min(most, left)
            if wanted < 1:
                break
            left -= wanted
            body = msgspec.json.encode({"worker": asked, "max": wanted, "waitMs": 1000})
            begun = time.perf_counter()
            status, answer = await claiming.post(body)
            claims.append(time.perf_counter() - begun)
            assert status == 200, answer
            items = _answers.decode(answer).items
            left += wanted - len(items)
            if not items:
                continue
            seq += 1
            ends = [{"kind": "completed", "jobId": item.job.id, "fencingToken": item.token} for item in items]
            status, answer = await reporting.post(
                msgspec.json.encode({"producer": producer, "seq": seq, "reports": ends})
            )
            assert status == 200, answer
            assert not msgspec.json.decode(answer)["rejected"], answer
        claiming.close()
        reporting.close()

    begun = time.perf_counter()
    await asyncio.gather(*map(one, range(CONNECTIONS)))
    return n_jobs / (time.perf_counter() - begun), claims


def bare(directory: Path, n_jobs: int) -> float:
    """Jobs a second of the SQL alone: claimed and finished in one thread, 20 to a commit, synced."""
    db = sqlite3.connect(directory / "floor.db", isolation_level=None)
    db.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "CREATE TABLE queue (id INTEGER PRIMARY KEY, state INTEGER, priority INTEGER, due_at INTEGER, body BLOB);"
        "CREATE INDEX ready ON queue (priority DESC, due_at) WHERE state = 0;"
        "CREATE TABLE journal (seq INTEGER PRIMARY KEY, body BLOB);"
    )
    body = b"x" * 900  # what a job's body and a journal row weigh here
    db.execute("BEGIN")
    db.executemany("INSERT INTO queue VALUES (?, 0, 0, ?, ?)", ((n, n, body) for n in range(n_jobs)))
    db.execute("COMMIT")
    claim = (
        "UPDATE queue SET state = 1, body = ? WHERE id IN (SELECT id FROM queue WHERE state = 0 "
        "ORDER BY priority DESC, due_at LIMIT 1) RETURNING id"
    )
    begun = time.perf_counter()
    for _ in range(n_jobs // CONNECTIONS):
        db.execute("BEGIN IMMEDIATE")
        held = []
        for _ in range(CONNECTIONS):
            held.append(db.execute(claim, (body,)).fetchone())
            db.execute("INSERT INTO journal (body) VALUES (?)", (body,))
        db.execute("COMMIT")
        db.execute("BEGIN IMMEDIATE")
        for (key,) in held:
            db.execute("UPDATE queue SET state = 2, body = ? WHERE id = ?", (body, key))
            db.execute("INSERT INTO journal (body) VALUES (?)", (body,))
        db.execute("COMMIT")
    took = time.perf_counter() - begun
    db.close()
    return n_jobs / took


def p99_ms(times: list[float]) -> float:
    """The 99th percentile, in ms."""
    return sorted(times)[int(0.99 * len(times))] * 1000


def measure() -> list[Row]:
    """Submissions, then workers that hold a few jobs at once, then workers that hold one."""
    with tempfile.TemporaryDirectory() as directory:
        data_dir = Path(directory) / "data"
        data_dir.mkdir(mode=0o700)
        if N_STORED:
            fill(data_dir, N_STORED)
        config = data_dir / "config.toml"
        config.write_text("[queue]\nmax_depth = 100000\n")
        config.chmod(0o600)
        server = ServerProcess(data_dir).start()
        asyncio.run(submit_all(server, 400))
        asyncio.run(work_all(server, 400, BATCH))  # caches are warm, as in a server that has served
        submitted = asyncio.run(submit_all(server, 3 * N_JOBS))
        rate, _ = asyncio.run(work_all(server, N_JOBS, BATCH))
        _, claims = asyncio.run(work_all(server, N_JOBS, BATCH, pace=PACE))
        single, single_claims = asyncio.run(work_all(server, N_JOBS, 1))
        server.stop()
        floor = bare(Path(directory), N_JOBS)
    note = f"{CONNECTIONS} workers, {N_STORED:,} jobs in the store"
    return [
        Row(what=f"claim + finish, {BATCH} jobs at a time", value=rate, unit="jobs/s", at_least=1500, note=note),
        Row(what=f"p99 of a claim at {PACE:,} jobs/s", value=p99_ms(claims), unit="ms", at_most=25),
        Row(what="claim + finish, to bare SQL", value=rate / floor, unit="×", peer=f"SQLite alone {floor:,.0f} jobs/s"),
        Row(what="claim + finish, 1 job at a time", value=single, unit="jobs/s", note="two requests a job"),
        Row(what="the same: p99 of a claim", value=p99_ms(single_claims), unit="ms", note="all 20 ask without a pause"),
        Row(what="submissions over 20 connections", value=submitted, unit="jobs/s"),
    ]


if __name__ == "__main__":
    main(measure)
