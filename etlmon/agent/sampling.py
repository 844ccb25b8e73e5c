"""What the command uses: CPU and memory of its whole tree every two seconds, as ``metrics`` reports.

A thread of its own: looking through all processes takes milliseconds, and psutil takes fifty to import.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from etlmon.agent.asked import Reports
from etlmon.agent.telling import instant
from etlmon.core import reports as r

FIRST_S = 0.5
EVERY_S = 2.0
TOLD_EVERY = 5
"""A sample that says nearly what the last one said is told only every so often: reports may have to wait on disk."""


class Sampler(threading.Thread):
    """Samples one tree until ``finish``. A command that ends within half a second costs nothing."""

    def __init__(self, job_id: str, pid: int, reports: Reports, now: Callable[[], int]) -> None:
        super().__init__(name="sampler", daemon=True)
        self.peak_memory: int | None = None
        self._job_id = job_id
        self._pid = pid
        self._reports = reports
        self._now = now
        self._done = threading.Event()

    def run(self) -> None:
        """One sample now and then; a fault ends the sampling and nothing else."""
        try:
            if not self._done.wait(FIRST_S):
                self._sample_on()
        except Exception as fault:  # noqa: BLE001 - Law 5, and stderr is the command's
            told = [f"etlmon: CPU and memory are not sampled any more: {fault!r}"]
            self._reports.log_lines(self._job_id, told, ["warning"], at=self._now(), logger="etlmon")

    def _sample_on(self) -> None:
        from etlmon.host.resources import ProcessSampler

        sampler = ProcessSampler(self._pid)
        told: tuple[float, int] | None = None
        silent = 0
        while (sample := sampler.sample()) is not None:
            self.peak_memory = max(self.peak_memory or 0, sample.rss)
            cpu = sample.cpu_percent
            silent += 1
            if told is None or silent >= TOLD_EVERY or _differs(told, (cpu or 0.0, sample.rss)):
                metrics = {"memoryUsage": sample.rss} | ({} if cpu is None else {"cpuUsage": cpu})
                self._reports.report(r.MetricsReport(job_id=self._job_id, at=instant(self._now()), metrics=metrics))
                told, silent = (cpu or 0.0, sample.rss), 0
            if self._done.wait(EVERY_S):
                return

    def finish(self) -> None:
        """The command has ended."""
        self._done.set()


def _differs(one: tuple[float, int], other: tuple[float, int]) -> bool:
    """Whether CPU moved by a percent point or memory by a percent."""
    return abs(one[0] - other[0]) >= 1.0 or abs(one[1] - other[1]) * 100 >= one[1]
