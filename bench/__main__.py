"""Run every benchmark in a process of its own and print one table. ``python -m bench NAME…`` runs some."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from bench.table import Row, show

NAMES = (
    "latency",
    "ingest",
    "fanout",
    "store",
    "queue",
    "logs_store",
    "memory",
    "commands",
    "sdk",
    "run",
    "pipelines",
    "worker",
    "console",
    "console_logs",
)


def measure(name: str) -> list[Row]:
    """The rows of one benchmark; a benchmark that breaks is a row that says so."""
    with tempfile.NamedTemporaryFile() as out:
        done = subprocess.run([sys.executable, "-m", f"bench.{name}"], env=os.environ | {"ETLMON_BENCH_ROWS": out.name})
        if done.returncode != 0:
            return [Row(what=f"{name} broke: run python -m bench.{name}", value=float("nan"), unit="", at_most=0)]
        lines = Path(out.name).read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Row) for line in lines if line]


def main() -> None:
    """The whole table."""
    names = [name for name in sys.argv[1:] if name in NAMES] or list(NAMES)
    rows = [row for name in names for row in measure(name)]
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} processors, {platform.system()} {platform.machine()}\n"
    )
    print(show(rows))


if __name__ == "__main__":
    main()
