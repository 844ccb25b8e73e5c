"""The demo, as a newcomer first sees it: every job ends as it should, and nothing stays behind."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from world import wait_until

ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("ETLMON_")}


def left_behind(temp: Path) -> list[str]:
    """Processes that work in the demo's directory."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(temp) in words:
                found.append(words.replace(b"\0", b" ").decode())
    return found


@pytest.mark.slow
def test_without_a_terminal_the_whole_chain_is_run_printed_and_summed_up(tmp_path: Path) -> None:
    environment = ENVIRONMENT | {"TMPDIR": str(tmp_path)}
    argv = [sys.executable, "-m", "etlmon", "demo"]
    done = subprocess.run(
        argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    said = done.stdout
    for line in (
        r"✓ clean_flights   completed +\S+  51,955 records, 1,782 rejected",
        r"✓ map_flights     completed +\S+  50,173 records",
        r"✓ upload_flights  completed +\S+  50,173 records",
        r"✓ flights_load    completed +\S+  51,955 records, 1,782 rejected",
        r"✓ carrier_report  completed",
        r"✗ broken_feed     failed",
        r"    airlines.csv has no column year",
        r"flights_load    paused",
    ):
        assert re.search(f"^{line}", said, re.MULTILINE), line
    assert list(tmp_path.iterdir()) == []
    wait_until(lambda: left_behind(tmp_path) == [], "nothing of the demo runs on")


@pytest.mark.slow
def test_when_its_terminal_is_closed_nothing_stays_behind(tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-m", "etlmon", "demo"], {
            **ENVIRONMENT, "TMPDIR": str(tmp_path), "TERM": "xterm-256color"})  # fmt: skip
    seen, end = b"", time.monotonic() + 60
    while b"flights_load" not in seen:
        assert time.monotonic() < end, seen[-500:]
        if select.select([terminal], [], [], 0.5)[0]:
            seen += os.read(terminal, 1 << 16)
    assert left_behind(tmp_path) != []
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) in (128 + signal.SIGHUP, -signal.SIGHUP)
    wait_until(lambda: left_behind(tmp_path) == [], "nothing of the demo runs on")
    assert list(tmp_path.iterdir()) == []
