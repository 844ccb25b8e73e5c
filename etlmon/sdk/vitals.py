"""What this process uses, read cheaply and without psutil: resident memory in bytes, CPU in percent of one core."""

from __future__ import annotations

import os
import sys
import time
from typing import Final

from etlmon.host.clock import monotonic_s

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int | None:
    """The memory that the process holds now; its peak where the system does not tell more; None when unknown."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


class Vitals:
    """Samples of one process; the CPU share is that since the sample before."""

    def __init__(self) -> None:
        self._cpu_s = time.process_time()
        self._at_s = monotonic_s()

    def sample(self) -> dict[str, float]:
        """``memoryUsage`` and ``cpuUsage``, as a job's metrics name them."""
        cpu_s, at_s = time.process_time(), monotonic_s()
        elapsed = at_s - self._at_s
        found: dict[str, float] = {}
        if elapsed > 0:
            found["cpuUsage"] = round(max(0.0, cpu_s - self._cpu_s) / elapsed * 100, 1)
        self._cpu_s, self._at_s = cpu_s, at_s
        memory = resident_bytes()
        if memory is not None:
            found["memoryUsage"] = memory
        return found
