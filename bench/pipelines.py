"""csv_processing on a large file beside a bare csv.reader → csv.writer copy of it, monitored by a real server.

ETLMON_BENCH_CSV_MB is the size of the file (450).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.table import Row, main, median
from world import ServerProcess

MB = int(os.environ.get("ETLMON_BENCH_CSV_MB", "450"))
ROUNDS = 3
HEADER = "order_id,ordered_at,day,customer,country,quantity,price,discount,paid,note\n"
COPY = """
import csv, sys
with open(sys.argv[1], newline="", encoding="utf-8") as source, open(sys.argv[2], "w", newline="") as out:
    csv.writer(out).writerows(csv.reader(source))
"""
RUN = """
import atexit, sys
peak = sys.argv.pop(1)
atexit.register(lambda: open(peak, "w").write(open("/proc/self/status").read()))
from etlmon.pipelines.main import main
sys.exit(main(sys.argv[1:]))
"""
"""The pipeline as ``python -m etlmon.pipelines`` runs it; its own peak, not that of the process which it came from."""
COLUMNS: dict[str, Any] = {
    "order_id": {"type": "integer", "required": True, "min": 1},
    "ordered_at": {"type": "datetime", "required": True},
    "day": {"type": "date"},
    "customer": {"type": "string", "required": True},
    "country": {"enum": ["DE", "FR", "IT", "ES", "US", "JP"]},
    "quantity": {"type": "integer", "min": 1, "max": 1000},
    "price": {"type": "number", "min": 0},
    "paid": {"type": "boolean"},
}
"""Eight of the ten columns have rules; discount and note are kept as they are."""


def generate(path: Path, *, quoted: bool, reject_every: int) -> None:
    """A file of orders. ``quoted``: some notes hold commas and quotes; a bad quantity now and then."""
    rng = random.Random(7)
    countries, size, n = list(COLUMNS["country"]["enum"]), MB * 1_000_000, 0
    with open(path, "w", encoding="utf-8", newline="") as out:
        out.write(HEADER)
        while out.tell() < size:
            lines = []
            for _ in range(10_000):
                n += 1
                day = f"2026-{n // 30_000 % 12 + 1:02}-{n // 1000 % 28 + 1:02}"
                note = '"fragile, say ""hello"" first"' if quoted and n % 50 == 0 else "leave it at the door"
                quantity = "many" if reject_every and n % reject_every == 0 else rng.randrange(1, 100)
                lines.append(
                    f"{n},{day}T{n % 24:02}:{n % 60:02}:{n // 7 % 60:02},{day},customer{rng.randrange(1_000_000)},"
                    f"{countries[n % 6]},{quantity},{rng.randrange(100, 100_000) / 100},,true,{note}\n"
                )
            out.write("".join(lines))


def used(argv: list[str], env: dict[str, str] | None = None) -> float:
    """Wall seconds of a process."""
    begun = time.perf_counter()
    subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def beside_copy(directory: Path, server: ServerProcess, what: str, columns: dict[str, Any]) -> list[Row]:
    """Both in turns, so that they see the same machine."""
    config = {
        "source": {"path": "orders.csv"},
        "sink": {"path": "clean.csv"},
        "columns": columns,
    }
    spec = directory / "spec.json"
    spec.write_text(json.dumps({"type": "csv_processing", "name": "orders", "config": config, "cwd": str(directory)}))
    copy = [sys.executable, "-c", COPY, str(directory / "orders.csv"), str(directory / "copy.csv")]
    peak = directory / "peak"
    ours = [sys.executable, "-c", RUN, str(peak), str(spec)]
    pairs = [(used(copy), used(ours, server.env)) for _ in range(ROUNDS)]
    copied, took = median(each for each, _ in pairs), median(each for _, each in pairs)
    note = f"{took:.1f} s for {MB} MB"
    return [
        Row(
            what=f"csv_processing, {what}",
            value=median(each / other for each, other in pairs),
            unit="× a bare csv copy",
            at_least=0.5,
            peer=f"csv.reader → csv.writer {copied:.1f} s",
            note=note,
        ),
        Row(
            what=f"csv_processing, {what}: memory",
            value=int(peak.read_text().split("VmHWM:")[1].split()[0]) / 1000,
            unit="MB",
            at_most=60,
        ),
    ]


def measure() -> list[Row]:
    """A plain file that is clean, and one with quotes and refused records."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "data").mkdir(mode=0o700)
        server = ServerProcess(directory / "data").start()
        try:
            generate(directory / "orders.csv", quoted=False, reject_every=0)
            rows = beside_copy(directory, server, "8 of 10 columns checked", COLUMNS)
            rows += beside_copy(directory, server, "nothing checked", {})
            generate(directory / "orders.csv", quoted=True, reject_every=100)
            return rows + beside_copy(directory, server, "2 % quoted, 1 % refused", COLUMNS)
        finally:
            server.stop()


if __name__ == "__main__":
    main(measure)
