"""What the server counts of itself, and Prometheus' view of it. Counting is cheap and always on; prometheus-client
is opened at the first scrape. Values by job come from the store at scrape time: no label set is kept for ever.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from etlmon.core.events import Item, JobChange, LogRun
from etlmon.core.job import Job, Status

if TYPE_CHECKING:
    from prometheus_client.core import Metric

DURATION_BUCKETS_S = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0)
DELAY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
MAX_LABELS = 500
"""Distinct types (or names) that get a series of their own; what comes after is counted under ``other``."""
WINDOW_S = 60


class Histogram:
    """Counts per bucket (the last one is unbounded), and the sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def n(self) -> int:
        """How many were observed."""
        return sum(self.counts)

    def quantile(self, q: float) -> float | None:
        """An upper bound for the value below which the share ``q`` lies; None when nothing was observed."""
        wanted, seen = q * self.n, 0
        for bound, count in zip((*self.bounds, self.bounds[-1]), self.counts, strict=True):
            seen += count
            if count and seen >= wanted:
                return bound
        return None

    def cumulative(self) -> list[tuple[str, float]]:
        """The buckets as Prometheus wants them: (le, how many at most that)."""
        seen, found = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            seen += count
            found.append((bound, float(seen)))
        return found


class Tick(msgspec.Struct):
    """What happened within one second."""

    second: int
    reports: int = 0
    lines: int = 0
    finished: int = 0


class Counters:
    """Counts since the start, and the last minute second by second. Told of every commit, in order."""

    def __init__(self) -> None:
        self.n_reports = 0
        self.n_lines = 0
        self.finished: Counter[tuple[str, str]] = Counter()
        self.durations: dict[str, Histogram] = {}
        self.last_success_at: dict[str, int] = {}
        self._ticks: deque[Tick] = deque(maxlen=WINDOW_S)

    def observe(self, items: Sequence[Item], now: int) -> None:
        """Count what a commit brought; ``now`` is the instant at which it is published."""
        tick = self._tick(now)
        for item in items:
            if type(item) is JobChange:
                self.n_reports += 1
                tick.reports += 1
                if item.after.is_final and (item.before is None or item.before.status != item.after.status):
                    tick.finished += 1
                    self._finish(item.after)
            elif type(item) is LogRun:
                self.n_lines += len(item.lines)
                tick.lines += len(item.lines)

    def rates(self, now: int, seconds: int = 10) -> Tick:
        """What happened in the last ``seconds`` whole seconds, as one tick."""
        first = now // 1000 - seconds
        total = Tick(first)
        for tick in self._ticks:
            if first <= tick.second < now // 1000:
                total.reports += tick.reports
                total.lines += tick.lines
                total.finished += tick.finished
        return total

    def seed(self, jobs: Iterable[Job]) -> None:
        """Learn the last successes from finished jobs: a restart must not forget them."""
        for job in jobs:
            if job.status is Status.COMPLETED and job.finished_at is not None:
                self._succeed(job.name, max(job.finished_at, self.last_success_at.get(job.name, 0)))

    def _tick(self, now: int) -> Tick:
        second = now // 1000
        if not self._ticks or self._ticks[-1].second != second:
            self._ticks.append(Tick(second))
        return self._ticks[-1]

    def _finish(self, job: Job) -> None:
        kind = job.type if job.type in self.durations or len(self.durations) < MAX_LABELS else "other"
        self.finished[kind, job.status.value] += 1
        histogram = self.durations.setdefault(kind, Histogram(DURATION_BUCKETS_S))
        took = job.execution_ms(job.finished_at or job.updated_at)
        if took is not None:
            histogram.observe(took / 1000)
        if job.status is Status.COMPLETED:
            self._succeed(job.name, job.finished_at or job.updated_at)

    def _succeed(self, name: str, at: int) -> None:
        if name in self.last_success_at or len(self.last_success_at) < MAX_LABELS:
            self.last_success_at[name] = at


@dataclass(frozen=True, kw_only=True)
class Gauges:
    """What is true at the instant of a scrape."""

    jobs: dict[str, int]
    ws_connections: int
    update_delay: Histogram
    queue_depth: int
    queue_oldest_s: float
    degraded: bool
    version: str


def exposition(counters: Counters, gauges: Gauges, accept: str) -> tuple[bytes, str]:
    """The text that Prometheus reads, and its content type (by ``accept``, OpenMetrics or the older form)."""
    from prometheus_client import CollectorRegistry  # 110 ms to import: only for those who scrape
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(counters, gauges))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Collector:
    """Yields the families of one scrape (custom collector: facts, ecosystem §2.1)."""

    def __init__(self, counters: Counters, gauges: Gauges) -> None:
        self.counters = counters
        self.gauges = gauges

    def describe(self) -> list[Any]:
        """Nothing ahead of time: collect says it all."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family (names: interface.md, last lines)."""
        yield from self._of_jobs()
        yield from self._of_traffic()
        yield from self._of_state()

    def _of_jobs(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        counters = self.counters
        jobs = GaugeMetricFamily("etlmon_jobs", "Jobs in the store by status.", labels=["status"])
        for status in Status:
            jobs.add_metric([status.value], self.gauges.jobs.get(status.value, 0))
        yield jobs
        finished = CounterMetricFamily("etlmon_jobs_finished", "Jobs ended since the start.", labels=["type", "status"])
        for (kind, word), n in counters.finished.items():
            finished.add_metric([kind, word], n)
        yield finished
        took = HistogramMetricFamily("etlmon_job_duration_seconds", "What ended jobs took.", labels=["type"])
        for kind, histogram in counters.durations.items():
            took.add_metric([kind], histogram.cumulative(), histogram.total)
        yield took
        name = "etlmon_job_last_success_timestamp_seconds"
        success = GaugeMetricFamily(name, "When a job of the name last completed.", labels=["name"])
        for job_name, at in counters.last_success_at.items():
            success.add_metric([job_name], at / 1000)
        yield success

    def _of_traffic(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        counters, delay = self.counters, self.gauges.update_delay
        yield CounterMetricFamily("etlmon_reports", "Reports that changed a job.", value=counters.n_reports)
        yield CounterMetricFamily("etlmon_log_lines", "Log lines committed.", value=counters.n_lines)
        yield HistogramMetricFamily(
            "etlmon_update_delay_seconds",
            "From the reading of a report to the write to its viewers.",
            buckets=delay.cumulative(),
            sum_value=delay.total,
        )

    def _of_state(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

        now = self.gauges
        for name, what, value in (
            ("etlmon_ws_connections", "Open WebSocket connections.", now.ws_connections),
            ("etlmon_queue_depth", "Jobs that wait to be started.", now.queue_depth),
            ("etlmon_queue_oldest_seconds", "Age of the oldest waiting job.", now.queue_oldest_s),
            ("etlmon_store_degraded", "1 while the store cannot commit.", float(now.degraded)),
        ):
            yield GaugeMetricFamily(name, what, value=value)
        yield InfoMetricFamily("etlmon_build", "The running version.", value={"version": now.version})
