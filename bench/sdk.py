"""What the SDK costs the program that it is a guest of."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.table import Row, main, median, percentile

ITEMS = 1_000_000
ROUNDS = 7
LINES = 50_000
RUNS = 9


def per_item_ns(wrap: Callable[[Iterable[int]], Iterable[int]]) -> float:
    """Nanoseconds per item of a loop that does nothing else."""
    begun = time.perf_counter_ns()
    for _ in wrap(range(ITEMS)):
        pass
    return (time.perf_counter_ns() - begun) / ITEMS


def measure_track(job: Any) -> list[Row]:
    """``job.track`` and tqdm in turns, so that both see the same machine."""
    from tqdm import tqdm

    with open(os.devnull, "w") as nowhere:
        pairs = [(per_item_ns(job.track), per_item_ns(lambda items: tqdm(items, file=nowhere))) for _ in range(ROUNDS)]
    ours, theirs = median(one for one, _ in pairs), median(other for _, other in pairs)
    ratio = median(one / other for one, other in pairs)
    return [
        Row(
            what="job.track, per item",
            value=ratio,
            unit="×",
            at_most=0.6,
            peer=f"tqdm {theirs:.0f} ns",
            note=f"{ours:.0f} ns, the bare loop {per_item_ns(lambda items: items):.0f} ns",
        )
    ]


def measure_emit() -> list[Row]:
    """``LogHandler.emit`` of records made beforehand, with the server away."""
    import etlmon

    handler = etlmon.LogHandler()
    records = [
        logging.LogRecord("orders.load", logging.INFO, __file__, 1, "line %d of %s", (n, "orders"), None)
        for n in range(LINES)
    ]
    for record in records[:2000]:
        handler.emit(record)
    times: list[float] = []
    clock = time.perf_counter_ns
    for record in records:
        begun = clock()
        handler.emit(record)
        times.append((clock() - begun) / 1000)
    return [
        Row(what="LogHandler.emit, server away, mean", value=sum(times) / len(times), unit="µs", at_most=20),
        Row(what="LogHandler.emit, server away, p99", value=percentile(times, 0.99), unit="µs", at_most=1000),
    ]


def import_ms(statement: str) -> tuple[float, float]:
    """Milliseconds of a statement in a fresh process, and of the whole process; medians."""
    program = f"import time; t = time.perf_counter(); {statement}; print((time.perf_counter() - t) * 1000)"
    inside: list[float] = []
    whole: list[float] = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        whole.append((time.perf_counter() - begun) * 1000)
        inside.append(float(done.stdout))
    return median(inside), median(whole)


def measure_import() -> list[Row]:
    """The SDK's names, all of them, as a program would load them."""
    ours, whole = import_ms("import etlmon; etlmon.job; etlmon.LogHandler")
    msgspec, _ = import_ms("import msgspec, logging")
    note = f"of which msgspec and logging {msgspec:.0f} ms; the whole process {whole:.0f} ms"
    return [Row(what="import etlmon (job, LogHandler), fresh process", value=ours, unit="ms", at_most=60, note=note)]


def measure() -> list[Row]:
    """All of it; the server's place is a port where nobody listens."""
    from etlmon.host.endpoint import Endpoint
    from etlmon.sdk import process
    from etlmon.sdk.reporter import Reporter

    rows = measure_import()
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        nobody = Endpoint(url="http://127.0.0.1:9", token="t", origin="bench")
        reporter = Reporter(nobody, spool_dir=Path(directory) / "spool")
        stack.callback(reporter.close, 0, away_s=0)
        process.use_reporter(reporter)
        import etlmon

        with etlmon.job("bench") as job:
            rows += measure_track(job)
            rows += measure_emit()
    return rows


if __name__ == "__main__":
    main(measure)
