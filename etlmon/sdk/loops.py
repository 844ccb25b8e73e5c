"""The tracked loops that are open in one job, and what the outermost of them tells of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from etlmon.sdk.guard import harmless

if TYPE_CHECKING:
    from etlmon.sdk.job import Job
    from etlmon.sdk.track import Loop


class Loops:
    """Begun and ended by the threads that iterate, hurried by any."""

    def __init__(self, job: Job) -> None:
        self.open: list[Loop] = []
        """The outermost first: its count is the job's."""
        self._job = job
        self._lock = threading.RLock()

    @harmless
    def loop_begins(self, loop: Loop) -> None:
        """A loop asks for its first item."""
        job = self._job
        if loop.step is not None:
            job.start_step(str(loop.step))
        with self._lock:
            loop.counts = not self.open
            self.open.append(loop)
        if not loop.counts:
            return
        found: dict[str, Any] = {}
        if job.known.get("recordsProcessed") is not None:
            found["recordsProcessed"] = 0  # this loop counts anew; for the first, saying 0 would begin its rate at 0
        if loop.total is not None:
            found["recordsTotal"] = loop.total
        elif job.total is None and job.known.get("recordsTotal") is not None:
            found["recordsTotal"] = None  # the total of the loop before is not this one's
        if found:
            job.measure(found)

    @harmless
    def loop_counts(self, loop: Loop, n: int) -> None:
        """A loop looks at the clock."""
        if loop.counts:
            self._job.measure({"recordsProcessed": n})

    @harmless
    def loop_ends(self, loop: Loop, n: int, *, finished: bool) -> None:
        """A loop is over."""
        with self._lock:
            if loop in self.open:
                self.open.remove(loop)
        if loop.counts:
            self._job.measure({"recordsProcessed": n}, now=True)
        if finished and loop.step is not None:
            self._job.finish_step(str(loop.step))

    def hurry(self, *, only_overdue: bool = False) -> None:
        """Make every loop look at its next item; with ``only_overdue`` those that have not looked for long."""
        for loop in list(self.open):
            loop.hurry(only_overdue=only_overdue)

    def after_fork(self) -> None:
        """In a forked child: a lock that another thread of the parent may have held is not ours."""
        self._lock = threading.RLock()
