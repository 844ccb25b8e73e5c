"""A process of its own beside each worker: when the worker dies, or stands still for longer than a lease, it kills the
process groups that the worker had started, so that no job runs twice. Run by path, with the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time


def watch(limit_s: float) -> None:
    """Read what the worker says in lines: ``+pgid``, ``-pgid``, ``=limit`` or nothing; until it closes its end."""
    groups: set[int] = set()
    heard_at = time.monotonic()
    rest = b""
    while True:
        left = heard_at + limit_s - time.monotonic()
        ready, _, _ = select.select((0,), (), (), max(0.0, left) if groups else None)
        if not ready:
            kill(groups)
            continue
        said = os.read(0, 65_536)
        if not said:
            kill(groups)
            return
        heard_at = time.monotonic()
        *lines, rest = (rest + said).split(b"\n")
        for line in lines:
            if line[:1] == b"+":
                groups.add(int(line[1:]))
            elif line[:1] == b"-":
                groups.discard(int(line[1:]))
            elif line[:1] == b"=":
                limit_s = float(line[1:])


def kill(groups: set[int]) -> None:
    """SIGKILL to every group, and forget them."""
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)
    groups.clear()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watch(float(sys.argv[1]))
