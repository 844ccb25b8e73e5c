"""The log store alone: what a line costs in CPU and on disk, and how long reads take with 10 M lines in it.

The floor is the same text joined, compressed and inserted in a bare loop with the same durability: no seq, no level,
no search, nothing to read it by. ``ETLMON_BENCH_LINES`` makes it smaller.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import re
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import zstandard

from bench.table import Row, main, median, percentile
from etlmon.core.job import LogLine
from etlmon.server.store.logs import LogQuery, LogSettings, LogStore

N_LINES = int(os.environ.get("ETLMON_BENCH_LINES", "10_000_000"))
N_JOBS, BATCH, RUNS = 200, 500, 7
START, DAY = 1_763_899_200_000, 86_400_000
TABLES = ("orders", "customers", "invoices", "shipments", "payments", "ledger_entries", "inventory", "crm_contacts")
FORMS = (
    "Loaded batch {a} of {t}: {n} rows in {ms} ms, id {h}",
    "Validated record {h} in step transform: {n} checks passed, {a} warnings",
    "Upsert into warehouse.{t} key={h} rows={n} elapsed={ms} ms attempt={a} of 500",
    "Fetched page {a} from https://api.example.com/v2/{t}?cursor={h} status=200 in {ms} ms",
    "Retrying {t} chunk {h} after {ms} ms: connection reset by peer, attempt {a} of 500",
    "Committed transaction {h}: {n} inserts, {a} updates, 0 deletes on warehouse.{t} in {ms} ms",
    "Wrote {n} rows to s3://warehouse/{t}/part-{a}.parquet ({ms} ms) checksum {h}",
    "Skipped row {n} of {t}: column amount is not a number: '{h}' (rule amount_is_decimal)",
)


def line_batches(n: int) -> Iterator[list[LogLine]]:
    """ETL-like lines of about 91 bytes from 200 jobs in random turn, a fresh 12-hex id in each."""
    dice = random.Random(1)
    ids = [
        f"0190f6{dice.getrandbits(8):02x}-{dice.getrandbits(16):04x}-7000-8000-{dice.getrandbits(48):012x}"
        for _ in range(N_JOBS)
    ]
    names = [f"{dice.choice(TABLES)}_{dice.choice(('nightly', 'hourly', 'sync'))}_{i}" for i in range(N_JOBS)]
    levels = [20] * 80 + [10] * 12 + [30] * 6 + [40] * 2
    for first in range(1, n + 1, BATCH):
        lines = []
        for seq in range(first, min(first + BATCH, n + 1)):
            bits = dice.getrandbits(96)
            job = bits % N_JOBS
            message = FORMS[bits >> 8 & 7].format(
                a=bits >> 11 & 511,
                t=TABLES[bits >> 20 & 7],
                n=bits >> 23 & 65535,
                ms=bits >> 39 & 4095,
                h=f"{bits >> 48:012x}",
            )
            step = ("extract", "load")[job & 1]
            lines.append(
                LogLine(seq, ids[job], names[job], START + seq // 10, levels[bits % 97], message, "etl.load", step)
            )
        yield lines


def floor_us(directory: Path) -> float:
    """CPU of the bare loop for a line."""
    connection = sqlite3.connect(directory / "floor.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE block (id INTEGER PRIMARY KEY, data BLOB)")
    compressor = zstandard.ZstdCompressor(level=1)
    n, spent = 0, 0.0
    for lines in line_batches(200_000):
        began = time.process_time()
        text = "\n".join([line.message for line in lines])
        connection.execute("INSERT INTO block (data) VALUES (?)", (compressor.compress(text.encode()),))
        spent += time.process_time() - began
        n += len(lines)
    connection.close()
    return spent / n * 1e6


class Filled:
    """The store after all appends, and what they took."""

    def __init__(self, directory: Path) -> None:
        self.now = START
        self.directory = directory
        self.store = self._open(0)
        self.waits: list[float] = []
        self.text = 0
        self.sample: LogLine | None = None
        written, began, making = _written_bytes(), time.process_time(), 0.0
        for lines in self._batches():
            making += lines.made_in
            waited = time.perf_counter()
            self.store.append(lines.lines)
            self.waits.append((time.perf_counter() - waited) * 1000)
        self._seal()
        self.us = (time.process_time() - began - making) / N_LINES * 1e6
        self.written = (_written_bytes() - written) / N_LINES

    def _open(self, head: int) -> LogStore:
        store = LogStore(self.directory, LogSettings(max_bytes=10**12), lambda: self.now)
        store.open(head)
        return store

    def _batches(self) -> Iterator[Timed]:
        batches = line_batches(N_LINES)
        while True:
            began = time.thread_time()
            lines = next(batches, None)
            if lines is None:
                return
            self.text += sum(len(line.message) for line in lines)
            if lines[0].seq > N_LINES // 3 and self.sample is None:
                self.sample = lines[0]
            yield Timed(lines, time.thread_time() - began)

    def _seal(self) -> None:
        """Ends the day, so that every line is compacted and paid for."""
        self.now += DAY
        self.store.prune(self.now)
        asyncio.run(self.store.runs(N_LINES, N_LINES, 1))
        while self.store.stats().uncompacted:
            time.sleep(0.01)
        self.store.close()
        self.store = self._open(N_LINES)


class Timed:
    """Lines, and the CPU that making them took, which is not the store's."""

    def __init__(self, lines: list[LogLine], made_in: float) -> None:
        self.lines = lines
        self.made_in = made_in


def _written_bytes() -> int:
    found = re.search(r"^write_bytes: (\d+)", Path("/proc/self/io").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


async def reads(store: LogStore, sample: LogLine) -> list[Row]:
    """The reads that matter, each the median of some."""
    rare = re.findall(r"[0-9a-f]{12}", sample.message)[0]
    job = frozenset({sample.job_id})
    asked: dict[str, tuple[LogQuery, float | None]] = {
        "tail of a job": (LogQuery(job_ids=job, tail=100), 10),
        "newest 100 lines of all jobs": (LogQuery(tail=100), None),
        "rare word, all jobs": (LogQuery(words=rare), 100),
        "common words, newest 100": (LogQuery(words="rows warehouse", tail=100), None),
        "errors of a job, newest 100": (LogQuery(job_ids=job, level=40, tail=100), None),
    }
    rows = []
    for label, (query, goal) in asked.items():
        took = []
        for _ in range(RUNS):
            began = time.perf_counter()
            await store.read(query, N_LINES)
            took.append((time.perf_counter() - began) * 1000)
        rows.append(Row(what=f"logs, 10 M lines: {label}", value=median(took), unit="ms", at_most=goal))
    for label, query in (
        ("substring", LogQuery(contains=rare[1:-1])),
        ("RE2", LogQuery(regex=rare[1:-1] + r"\b")),
    ):
        began = time.perf_counter()
        page = await store.read(query, N_LINES)
        reached = N_LINES if page.next is None else int(page.next)
        rate = reached / (time.perf_counter() - began) / 1e6
        rows.append(Row(what=f"logs: {label} scan, one thread", value=rate, unit="M lines/s"))
    began, after = time.perf_counter(), 0
    while time.perf_counter() - began < 2 and after < N_LINES:
        after = (await store.runs(after, N_LINES, 1000))[-1][-1].seq
    rate = after / (time.perf_counter() - began)
    rows.append(Row(what="logs: catch-up of a stream from the first line", value=rate, unit="lines/s"))
    return rows


def measure() -> list[Row]:
    """The rows."""
    gc.freeze()
    with tempfile.TemporaryDirectory() as scratch:
        floor = floor_us(Path(scratch))
        filled = Filled(Path(scratch) / "logs")
        stats = filled.store.stats()
        text = f"{filled.text / N_LINES:.0f}-byte lines, {N_LINES:,}, batches of {BATCH}"
        assert filled.sample is not None
        rows = [
            Row(what="log line: append, compaction, word index", value=filled.us, unit="µs CPU", at_most=4, note=text),
            Row(what="log line: the same", value=filled.us / floor, unit="×", peer=f"bare loop, {floor:.2f} µs"),
            Row(what="log line on disk", value=stats.bytes / N_LINES, unit="bytes", at_most=55),
            Row(what="log line: bytes written to disk", value=filled.written, unit="bytes"),
            Row(what="append of 500 lines, p50", value=median(filled.waits), unit="ms"),
            Row(what="append of 500 lines, p99", value=percentile(filled.waits, 0.99), unit="ms"),
            *asyncio.run(reads(filled.store, filled.sample)),
        ]
        filled.store.close()
    return rows


if __name__ == "__main__":
    main(measure)
