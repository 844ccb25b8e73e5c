"""What this process has of etlmon: one reporter, the jobs that are open in it, and the current one."""

from __future__ import annotations

import atexit
import os
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

from etlmon.sdk.guard import harmless
from etlmon.sdk.reporter import Reporter

if TYPE_CHECKING:
    from etlmon.core.reports import CommandItem
    from etlmon.sdk.job import Job

_lock = threading.RLock()
_reporter: Reporter | None = None
_exit_registered = False
_open: dict[int, Job] = {}
"""By ``id()``: joined jobs share one job id."""

current: ContextVar[Job | None] = ContextVar("etlmon_job", default=None)
"""The innermost job of this thread or task."""


def reporter() -> Reporter:
    """The process's reporter, made when it is first needed."""
    global _reporter
    with _lock:
        if _reporter is None:
            _reporter = Reporter()
            _attend(_reporter)
        return _reporter


def use_reporter(replacement: Reporter | None) -> Reporter | None:
    """Report through ``replacement`` from now on (None: a fresh one); the one before is returned, not closed."""
    global _reporter
    with _lock:
        before, _reporter = _reporter, replacement
        if replacement is not None:
            _attend(replacement)
        return before


def _attend(reporter: Reporter) -> None:
    reporter.on_tick(_tick)
    reporter.on_live_states(lambda: [job.live_state() for job in open_jobs()])


def open_jobs() -> list[Job]:
    """The jobs that are open in this process, oldest first."""
    return list(_open.values())


def enter(job: Job) -> None:
    """``job`` is open from now on."""
    global _exit_registered
    with _lock:
        _open[id(job)] = job
        _listen(job)
        if not _exit_registered:  # after the reporter's own, which its first report registered: last in, first out
            _exit_registered = True
            atexit.register(_at_exit)


def leave(job: Job) -> None:
    """``job`` is over."""
    with _lock:
        _open.pop(id(job), None)
        _listen(job)


def _listen(job: Job) -> None:
    """Ask for commands exactly while a job of our own is open; a joined one's are its wrapper's business."""
    wanted = any(other.is_ours and other.reporter is job.reporter for other in _open.values())
    job.reporter.on_command(obey if wanted else None)


def job_here() -> Job | None:
    """The job of this thread or task; else the process's only one; None when that would be a guess."""
    job = current.get()
    if job is not None and job.is_open:
        return job
    outermost = [job for job in open_jobs() if job.parent is None]
    return outermost[0] if len(outermost) == 1 else None


def obey(command: CommandItem) -> None:
    """Hand a command to its job, if that is open here and this process's to control."""
    for job in open_jobs():
        if job.id == command.job_id and job.obeys:
            job.control.obey(command)
            return
    # Its job has ended in the meantime: the final report settles the command.


def _tick() -> None:
    for job in open_jobs():
        harmless(job.tick)()


def _at_exit() -> None:
    """Jobs that the program never ended: say so, rather than let the server wait for their silence."""
    for job in reversed(open_jobs()):
        harmless(job.abandoned)()


def _after_fork_in_child() -> None:
    """The child keeps the parent's open jobs as its context; it is the parent who ends them and obeys for them."""
    global _lock
    _lock = threading.RLock()
    for job in open_jobs():
        job.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
