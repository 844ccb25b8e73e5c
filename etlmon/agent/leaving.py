"""The way out: what the child wrote is delivered whole, a grandchild is not waited for, the last report is sent."""

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
from etlmon.agent.telling import Reports, Way

GRANDCHILD_S = 1.0
AWAY_S = 1.2
"""How long after the child's end an answer is waited for; with the half second that closing may take, under 2 s."""
ANSWERING_S = 10.0
_STEP_S = 0.02
_SLICE_S = 0.25
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


def say_goodbye(reports: Reports, way: Way, ended: float) -> None:
    """Leave when all is acknowledged, or when the server does not answer.

    ``ended`` is when the child ended (monotonic seconds). A server that answers is waited for up to ten seconds; what
    it has not acknowledged by then a process of its own goes on sending.
    """
    done = _all_acknowledged(reports, ended)
    reports.close(0.0)
    if not done:
        way.leave_flusher()


def _all_acknowledged(reports: Reports, ended: float) -> bool:
    while True:
        patience = ANSWERING_S if reports.reached else AWAY_S
        left = ended + patience - time.monotonic()
        if left <= 0:
            return False
        if reports.flush(min(_SLICE_S, left)):
            return True
