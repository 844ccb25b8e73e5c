"""``etlmon run`` beside the bare command: what it adds to a start, what a line costs it, how fast output passes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.table import Row, main, median
from world import ServerProcess

LINES = 200_000
RATE = 20_000
STARTS = 11
ROUNDS = 3

SOURCE = """
import sys, time
lines, rate, told = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
text = "2026-01-31 08:00:00,123 INFO loader: row %07d of orders_nightly taken in 12 ms, none rejected\\n"
out, begun, done = sys.stdout, time.perf_counter(), 0
while done < lines:
    for _ in range(rate // 1000 or 1000):
        out.write(text % done)
        done += 1
        if rate:
            out.flush()
    ahead = begun + done / rate - time.perf_counter() if rate else 0
    if ahead > 0:
        time.sleep(ahead)
out.flush()
open(told, "w").write(str(time.process_time()))
"""
"""A command that prints log lines, each with a write of its own, at a rate (0: as fast as it can)."""


def seconds_to_first_byte(argv: list[str], env: dict[str, str]) -> float:
    """From the start of the process to the first byte of its command."""
    begun = time.perf_counter()
    process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(1)
    seconds = time.perf_counter() - begun
    process.communicate()
    return seconds


def passed(argv: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Seconds from the first byte to the last, and CPU seconds of the process and all that it waited for."""
    read, write = os.pipe()
    process = subprocess.Popen(argv, env=env, stdout=write)
    os.close(write)
    os.read(read, 1)
    begun = time.perf_counter()
    last = begun
    while os.read(read, 65536):
        last = time.perf_counter()
    os.close(read)
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    return last - begun, used.ru_utime + used.ru_stime


def measure() -> list[Row]:
    """Each figure beside the bare command's in the same run."""
    with tempfile.TemporaryDirectory() as directory:
        server = ServerProcess(Path(directory)).start()
        try:
            return [*starts(server.env), *lines(server.env, Path(directory))]
        finally:
            server.stop()


def wrapped(*words: str) -> list[str]:
    """The command under ``etlmon run``."""
    return [str(Path(sys.executable).parent / "etlmon"), "run", "--", *words]


def starts(env: dict[str, str]) -> list[Row]:
    """What comes before the command's first byte, with the server there and with the server away."""
    spool = f"{env['ETLMON_DATA_DIR']}/away"
    away = env | {"ETLMON_URL": "http://127.0.0.1:1", "ETLMON_TOKEN": "none", "ETLMON_SPOOL_DIR": spool}
    bare, near, far = [], [], []
    for _ in range(STARTS):
        bare.append(seconds_to_first_byte(["echo", "up"], env))
        near.append(seconds_to_first_byte(wrapped("echo", "up"), env))
    for _ in range(3):
        far.append(seconds_to_first_byte(wrapped("echo", "up"), away))
    end_flushers(spool)
    python = median(seconds_to_first_byte([sys.executable, "-c", "print('up')"], env) for _ in range(STARTS))
    note = f"bare {median(bare) * 1000:.0f} ms, a bare Python {python * 1000:.0f} ms"
    return [
        Row(
            what="etlmon run: added to a start",
            value=(median(near) - median(bare)) * 1000,
            unit="ms",
            at_most=200,
            note=note,
        ),
        Row(
            what="etlmon run: the same, server away", value=(median(far) - median(bare)) * 1000, unit="ms", at_most=200
        ),
    ]


def end_flushers(spool: str) -> None:
    """Runs without a server leave one behind, to go on trying."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "etlmon.sdk.flush" in words and words[-1] == spool:
            with contextlib.suppress(psutil.Error):
                process.kill()


def lines(env: dict[str, str], directory: Path) -> list[Row]:
    """What a line costs, and how fast output passes."""
    source, told = directory / "source.py", directory / "cpu"
    source.write_text(SOURCE)
    idle = median(passed(wrapped("echo", "up"), env)[1] for _ in range(3))
    costs, shares, full = [], [], []
    for _ in range(ROUNDS):
        words = [sys.executable, str(source), str(LINES), str(RATE), str(told)]
        bare_s, _ = passed(words, env)
        wrapped_s, cpu_s = passed(wrapped(*words), env)
        shares.append(bare_s / wrapped_s)
        costs.append((cpu_s - idle - float(told.read_text())) / LINES * 1e6)
        words[3] = "0"
        full.append(passed(words, env)[0] / passed(wrapped(*words), env)[0])
    return [
        Row(what="etlmon run: CPU per line at 20,000 lines/s", value=median(costs), unit="µs", at_most=8),
        Row(what="etlmon run: a command of 20,000 lines/s runs at", value=median(shares), unit="× bare", at_least=0.9),
        Row(what="etlmon run: a command that prints without a pause", value=median(full), unit="× bare"),
    ]


if __name__ == "__main__":
    main(measure)
