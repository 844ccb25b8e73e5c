"""``etlmon run``: start the command, let it be itself, tell what it does, obey, end as it ended.

Law 5: whatever goes wrong on our side, the command runs on, its output arrives and its exit status is ours.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

import msgspec

from etlmon.agent.asked import Ending, Options, Way
from etlmon.agent.foreground import Foreground
from etlmon.agent.process import Launch, NotStarted, start, start_in_session
from etlmon.agent.pty import ControllingTerminal, alone_in_group
from etlmon.agent.signals import Signals, die_of
from etlmon.agent.stdio import arrange, fill_closed
from etlmon.agent.wrapper import Wrapper
from etlmon.core.ids import is_job_id
from etlmon.host.clock import monotonic_s, new_id, now_ms

TIMED_OUT = 124
SWITCH_S = 0.0005
"""How long the reading of lines may keep the interpreter from the copy (Python: 5 ms): three times the throughput."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How the wrapper is to end: with an exit code, or of the signal that the child died of."""

    code: int = 0
    signum: int | None = None
    whole_group: bool = False

    def take(self) -> NoReturn:
        """Die of the signal, or leave with the exit code (128 + n where the signal cannot end us).

        Without the interpreter's own end: it would wait for, or stumble over, threads that still wait for a pipe.
        """
        if self.signum is not None:
            die_of(self.signum, whole_group=self.whole_group)
        os._exit(self.code if self.signum is None else 128 + self.signum)


def run(options: Options, way: Way) -> Outcome:
    """Run the command of ``options`` as a job, to its end. OSError when not even the wrapper can start."""
    closed = fill_closed()
    sys.setswitchinterval(SWITCH_S)
    signals = Signals()
    signals.install()
    job_id, outer_job = new_id(), _outer_job()
    arrangement = arrange(closed, capture=options.capture)
    session = arrangement.session
    terminal = None if session is not None else ControllingTerminal.open()
    in_front = terminal is not None and terminal.is_ours()
    eager = in_front and alone_in_group()
    launch = Launch(
        argv=tuple(os.fsencode(word) for word in options.argv),
        env=child_environment(job_id, unbuffered=options.unbuffered),
        fds=(arrangement.fds[0], arrangement.fds[1], arrangement.fds[2]),
        terminal=session.slave if session is not None else terminal.fd if terminal is not None and eager else None,
        unasked=in_front and not eager,
    )
    at = now_ms()
    try:
        child = start(launch, signals) if session is None else start_in_session(launch, signals, session.slave)
    except NotStarted as fault:
        if terminal is not None and eager:
            terminal.give(os.getpgrp())
        return _not_started(options, way, job_id, outer_job, at, fault)
    finally:
        arrangement.close_childs()
    foreground = Foreground(arrangement, terminal, child, signals, given=eager)
    wrapper = Wrapper(options, way, job_id, child, signals, arrangement, foreground, parent_id=outer_job)
    try:
        return _outcome(wrapper.live(), wrapper)
    finally:
        foreground.leave()


def _outcome(ending: Ending, wrapper: Wrapper) -> Outcome:
    if wrapper.timed_out:
        return Outcome(code=TIMED_OUT)
    return Outcome(code=ending.code or 0, signum=ending.signum, whole_group=wrapper.whole_group)


def _not_started(options: Options, way: Way, job_id: str, outer_job: str | None, at: int, fault: NotStarted) -> Outcome:
    program = options.argv[0]
    with contextlib.suppress(OSError):
        os.write(2, os.fsencode(f"etlmon: {program}: {fault}\n"))
    with contextlib.suppress(Exception):
        from etlmon.agent.teller import Teller

        teller = Teller.open(job_id, options, way, lambda _: None)
        teller.started(at=at, parent_id=outer_job)
        teller.not_started(fault.exit_code, str(fault))
        teller.leave(monotonic_s())
    return Outcome(code=fault.exit_code)


def _outer_job() -> str | None:
    """The job that we run inside of, if we do."""
    outer = os.environ.get("ETLMON_JOB_ID", "")
    return outer if is_job_id(outer) else None


def child_environment(job_id: str, *, unbuffered: bool) -> dict[bytes, bytes]:
    """What we were given and the job's id. Python's own addition to the C locale (PEP 538) is taken out again."""
    env = dict(os.environb)
    with contextlib.suppress(OSError), open("/proc/self/environ", "rb") as found:
        if not any(entry.startswith(b"LC_CTYPE=") for entry in found.read().split(b"\0")):
            env.pop(b"LC_CTYPE", None)
    env[b"ETLMON_JOB_ID"] = job_id.encode()
    if unbuffered:
        env[b"PYTHONUNBUFFERED"] = b"1"
    return env
