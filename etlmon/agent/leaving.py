"""The way out: what the child wrote is delivered whole, a grandchild is not waited for, nor cut off."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import time
from collections.abc import Sequence

from etlmon.agent.copying import CHUNK, Copy
from etlmon.agent.signals import Signals

GRANDCHILD_S = 1.0
_STEP_S = 0.02
_ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})


def drain(copies: Sequence[Copy], signals: Signals) -> None:
    """Wait until the channels end. After a second only what was written by then is still delivered.

    However long its reader takes: the child would have had to wait for it as well. A signal to end ends this too.
    """
    deadline = time.monotonic() + GRANDCHILD_S
    limits: dict[Copy, int] = {}
    while any(not copy.ended.is_set() for copy in copies):
        left = deadline - time.monotonic()
        if left <= 0:
            limits = limits or {copy: copy.copied + CHUNK for copy in copies}
            if all(copy.idle() or copy.copied >= limits[copy] for copy in copies):
                return
        select.select((signals,), (), (), max(_STEP_S, left))
        if _ENDING.intersection(signals.take()):
            return


def hand_over(copies: Sequence[Copy]) -> None:
    """Leave a plain ``cat`` behind for a grandchild that goes on writing to a file or a terminal.

    To a pipe nothing is left: whoever reads it waits for our end, and is not to wait for more than a second.
    """
    for copy in copies:
        sink = copy.channel.sink
        if copy.ended.is_set() or stat.S_ISFIFO(os.fstat(sink).st_mode) or stat.S_ISSOCK(os.fstat(sink).st_mode):
            continue
        if copy.stop():
            import subprocess

            os.set_blocking(copy.channel.source, True)
            with contextlib.suppress(OSError):
                subprocess.Popen(
                    ("cat",), stdin=copy.channel.source, stdout=sink, stderr=subprocess.DEVNULL, start_new_session=True
                )
