"""What processes and this machine use: CPU, memory, disk. psutil is imported with the first sample."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import psutil


class TreeSample(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A process and all that it started: CPU in percent of one core since the last sample (None: the first), bytes."""

    cpu_percent: float | None
    rss: int
    n_processes: int


class HostSample(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The machine: shares from 0 to 1 (cpu None in the first sample, disk None where there is none), bytes."""

    cpu: float | None
    memory: float
    memory_total: int
    memory_available: int
    disk: float | None
    disk_total: int | None
    disk_free: int | None
    load: float
    n_cpus: int


class ProcessSampler:
    """Samples the tree of one process, as long as it lives."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._process: psutil.Process | None = None
        self._cpu_s: float | None = None
        self._at_s = 0.0

    def sample(self) -> TreeSample | None:
        """The tree now; None once the process is gone."""
        import psutil

        try:
            if self._process is None:
                self._process = psutil.Process(self.pid)
            if not self._process.is_running():  # or its pid is another's by now
                return None
            tree = [self._process, *self._process.children(recursive=True)]
        except psutil.Error:
            return None
        cpu_s, rss, n_processes = 0.0, 0, 0
        for process in tree:
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    rss += process.memory_info().rss
            except psutil.Error:
                continue  # it ended meanwhile; what it used is in its parent's children_*
            cpu_s += sum(times[:4])  # with that of ended children, so that the sum never falls when one ends
            n_processes += 1
        if n_processes == 0:
            return None
        return TreeSample(cpu_percent=self._since_last(cpu_s), rss=rss, n_processes=n_processes)

    def _since_last(self, cpu_s: float) -> float | None:
        before_s, before_at_s = self._cpu_s, self._at_s
        self._cpu_s, self._at_s = cpu_s, time.monotonic()
        elapsed_s = self._at_s - before_at_s
        if before_s is None or elapsed_s <= 0:
            return None
        return round(max(0.0, cpu_s - before_s) / elapsed_s * 100, 1)


class HostSampler:
    """Samples the machine; CPU since the sampler's last sample."""

    def __init__(self) -> None:
        self._busy_s: float | None = None
        self._total_s = 0.0

    def sample(self, disk_of: str | Path | None = None) -> HostSample:
        """The machine now, with the disk that holds ``disk_of``."""
        import psutil

        memory = psutil.virtual_memory()
        disk = _disk(disk_of)
        return HostSample(
            cpu=self._cpu(psutil.cpu_times()),
            memory=round(1 - memory.available / memory.total, 4),
            memory_total=memory.total,
            memory_available=memory.available,
            disk=disk and round(1 - disk[1] / disk[0], 4),
            disk_total=disk and disk[0],
            disk_free=disk and disk[1],
            load=round(psutil.getloadavg()[0], 2),
            n_cpus=psutil.cpu_count() or 1,
        )

    def _cpu(self, times: tuple[float, ...]) -> float | None:
        named: dict[str, float] = times._asdict()  # type: ignore[attr-defined]  # its fields differ by platform
        idle = named.get("idle", 0.0) + named.get("iowait", 0.0)
        counted_twice = named.get("guest", 0.0) + named.get("guest_nice", 0.0)  # in user and nice already
        total = sum(times) - counted_twice
        busy, before, before_total = total - idle, self._busy_s, self._total_s
        self._busy_s, self._total_s = busy, total
        if before is None or total <= before_total:
            return None
        return round(min(1.0, max(0.0, (busy - before) / (total - before_total))), 4)


def _disk(place: str | Path | None) -> tuple[int, int] | None:
    """Bytes in all and free (to us) of the disk that holds ``place``; None when that cannot be said."""
    if place is None:
        return None
    import shutil

    try:
        usage = shutil.disk_usage(place)
    except OSError:
        return None
    return (usage.total, usage.free) if usage.total else None


_HOST = HostSampler()


def host_sample(disk_of: str | Path | None = None) -> HostSample:
    """The machine now; ``cpu`` is the share since this process last asked."""
    return _HOST.sample(disk_of)
