"""The command line as a script meets it: whole processes, against a server that holds 1,000 jobs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.table import Row, main, median
from world import ServerProcess, new_id, started

RUNS = 9


def whole_process(argv: list[str], env: dict[str, str]) -> float:
    """Median wall seconds of the command."""
    times = []
    for _ in range(RUNS + 1):
        begun = time.perf_counter()
        subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - begun)
    return median(times[1:])


def measure() -> list[Row]:
    """The commands that scripts call most, and the bare interpreter beside them."""
    with tempfile.TemporaryDirectory() as directory:
        server = ServerProcess(Path(directory)).start()
        server.report(*(started(new_id(), name=f"job_{n % 50}") for n in range(1000)))
        bare = whole_process([sys.executable, "-c", "pass"], server.env)
        etlmon = str(Path(sys.executable).parent / "etlmon")
        listed = whole_process([etlmon, "jobs", "list"], server.env)
        filtered = whole_process([etlmon, "jobs", "list", "--status", "failed", "-o", "json"], server.env)
        server.stop()
    note = f"bare interpreter {bare * 1000:.0f} ms"
    return [
        Row(what="etlmon jobs list, whole process", value=listed, unit="s", at_most=0.25, note=note),
        Row(what="etlmon jobs list --status failed -o json", value=filtered, unit="s", at_most=0.25),
    ]


if __name__ == "__main__":
    main(measure)
