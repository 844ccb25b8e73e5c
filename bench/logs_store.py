"""What a log line costs in the log store: CPU, disk and write-ahead log per line, and how long reads take.

Run: python bench/logs_store.py [--lines 1000000] [--batch 500]. Prints one table. The floor is the same lines joined,
compressed and inserted in a bare loop with the same durability: no seq, no level, no search, nothing to read them by.
Trust ratios inside one run, not absolutes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import re
import resource
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

import zstandard

from etlmon.core.job import LogLine
from etlmon.server.store.logs import LogQuery, LogSettings, LogStore

DAY = 86_400_000
TABLES = ("orders", "customers", "invoices", "shipments", "payments", "ledger_entries", "inventory", "crm_contacts")
FORMS = (
    "Loaded batch {a} of {t}: {n} rows in {ms} ms, id {h}",
    "Validated record {h} in step {s}: {n} checks passed, {a} warnings, next",
    "Upsert into warehouse.{t} key={h} rows={n} elapsed={ms} ms attempt={a} of 5, queue default",
    "Fetched page {a} from https://api.example.com/v2/{t}?cursor={h} status=200 in {ms} ms",
    "Retrying {t} chunk {h} after {ms} ms: connection reset by peer (errno 104), attempt {a} of 5",
    "Committed transaction {h}: {n} inserts, {a} updates, 0 deletes on warehouse.{t} in {ms} ms",
    "Wrote {n} rows to s3://warehouse/{t}/part-{a}.parquet ({ms} ms) checksum {h}",
    "Skipped row {n} of {t}: column amount is not a number: '{h}' (rule amount_is_decimal)",
)


def make_lines(n: int, jobs: int = 200, seed: int = 1) -> list[LogLine]:
    """ETL-like lines of about 91 bytes from ``jobs`` jobs in random turn, a fresh 12-hex id in each."""
    dice = random.Random(seed)
    ids = [
        f"0190f6{dice.getrandbits(24):06x}"[:8]
        + f"-{dice.getrandbits(16):04x}-7{dice.getrandbits(12):03x}-8000-{dice.getrandbits(48):012x}"
        for _ in range(jobs)
    ]
    names = [f"{dice.choice(TABLES)}_{dice.choice(('nightly', 'hourly', 'sync'))}_{i}" for i in range(jobs)]
    at = 1_763_865_407_000
    lines = []
    for seq in range(1, n + 1):
        job = dice.randrange(jobs)
        at += dice.randrange(3)
        message = dice.choice(FORMS).format(
            a=dice.randrange(1, 500),
            t=dice.choice(TABLES),
            n=dice.randrange(1, 100_000),
            ms=dice.randrange(1, 5000),
            h=f"{dice.getrandbits(48):012x}",
            s=("extract", "validate", "transform", "load")[job % 4],
        )
        level = dice.choices((20, 10, 30, 40), (80, 12, 6, 2))[0]
        lines.append(LogLine(seq, ids[job], names[job], at, level, message, "etl.load", ("extract", "load")[job % 2]))
    return lines


def floor(lines: list[LogLine], batch: int, directory: Path) -> tuple[float, float]:
    """CPU µs and bytes a line of the bare loop."""
    connection = sqlite3.connect(directory / "floor.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE block (id INTEGER PRIMARY KEY, data BLOB)")
    compressor = zstandard.ZstdCompressor(level=1)
    began = time.process_time()
    for start in range(0, len(lines), batch):
        text = "\n".join([line.message for line in lines[start : start + batch]])
        connection.execute("INSERT INTO block (data) VALUES (?)", (compressor.compress(text.encode()),))
    spent = time.process_time() - began
    connection.close()
    return spent / len(lines) * 1e6, (directory / "floor.db").stat().st_size / len(lines)


def written_bytes() -> int:
    """Bytes that this process gave the disk so far."""
    return int(re.search(r"^write_bytes: (\d+)", Path("/proc/self/io").read_text(), re.M)[1])  # type: ignore[index]


async def reads(store: LogStore, lines: list[LogLine]) -> list[tuple[str, str]]:
    """The reads that matter, median of five, each with what it found."""
    head = lines[-1].seq
    some = lines[len(lines) // 3]
    rare = re.search(r"[0-9a-f]{12}", some.message)
    assert rare is not None
    job = frozenset({some.job_id})
    asked = {
        "tail of one job": LogQuery(job_ids=job, tail=100),
        "newest of all jobs": LogQuery(tail=100),
        "first page of one job": LogQuery(job_ids=job, limit=100),
        "rare word, all jobs": LogQuery(words=rare[0]),
        "common words, newest 100": LogQuery(words="rows warehouse", tail=100),
        "errors of one job, newest 100": LogQuery(job_ids=job, level=40, tail=100),
        "rare substring, a page of the scan": LogQuery(contains=rare[0][1:-1]),
        "rare regex, a page of the scan": LogQuery(regex=rare[0][1:-1] + r"\b"),
    }
    rows = []
    for label, query in asked.items():
        took = []
        for _ in range(5):
            began = time.perf_counter()
            page = await store.read(query, head)
            took.append((time.perf_counter() - began) * 1000)
        more = "" if page.next is None else f", more from {page.next}"
        rows.append((label, f"{statistics.median(took):8.1f} ms   ({len(page.lines)} lines{more})"))
    began, after, n = time.perf_counter(), 0, 0
    while time.perf_counter() - began < 2 and after < head:
        runs = await store.runs(after, head, 2000)
        n += sum(map(len, runs))
        after = runs[-1][-1].seq
    rows.append(("catch-up from the first line", f"{n / (time.perf_counter() - began):8,.0f} lines/s"))
    return rows


def measure(n: int, batch: int) -> list[tuple[str, str]]:
    """The table's rows."""
    lines = make_lines(n)
    gc.freeze()
    text = sum(len(line.message) for line in lines) / n
    with tempfile.TemporaryDirectory() as scratch:
        bare_us, bare_bytes = floor(lines, batch, Path(scratch))
        now = [1_763_899_200_000]
        store = LogStore(Path(scratch) / "logs", LogSettings(), lambda: now[0])
        store.open(0)
        wrote, cpu, wall = written_bytes(), time.process_time(), time.perf_counter()
        waits = []
        for start in range(0, n, batch):
            began = time.perf_counter()
            store.append(lines[start : start + batch])
            waits.append(time.perf_counter() - began)
        appended_us, appended_s = (time.process_time() - cpu) / n * 1e6, time.perf_counter() - wall
        now[0] += DAY
        store.prune(now[0])
        asyncio.run(store.read(LogQuery(limit=1), n))
        while store.stats().uncompacted:
            time.sleep(0.01)
        all_us, all_s = (time.process_time() - cpu) / n * 1e6, time.perf_counter() - wall
        wrote = written_bytes() - wrote
        stats = store.stats()
        waits.sort()
        rows = [
            ("line", f"{text:8.1f} bytes of text, batches of {batch}, {n:,} lines"),
            ("floor: CPU, disk", f"{bare_us:8.2f} µs/line {bare_bytes:6.1f} bytes/line"),
            ("append alone (compaction beside it)", f"{appended_us:8.2f} µs/line {n / appended_s:10,.0f} lines/s"),
            ("all: append, compaction, word index", f"{all_us:8.2f} µs/line {n / all_s:10,.0f} lines/s"),
            ("ratio to the floor", f"{all_us / bare_us:8.2f}"),
            ("disk", f"{stats.bytes / n:8.1f} bytes/line"),
            ("written to disk in all", f"{wrote / n:8.1f} bytes/line"),
            (
                "append p50, p99, max",
                f"{waits[len(waits) // 2] * 1e3:8.2f} {waits[int(len(waits) * 0.99)] * 1e3:.1f} {waits[-1] * 1e3:.1f} ms",
            ),
            ("peak RSS", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:8.0f} MB (the lines included)"),
            *asyncio.run(reads(store, lines)),
        ]
        store.close()
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=500)
    arguments = parser.parse_args()
    for label, value in measure(arguments.lines, arguments.batch):
        print(f"{label:38s} {value}")


if __name__ == "__main__":
    main()
