"""How the server and the jobs perform: percentiles over a window, and this instant."""

from __future__ import annotations

from etlmon.core.access import READERS
from etlmon.core.durations import UNIT_MS
from etlmon.core.instants import format_instant
from etlmon.core.job import Record
from etlmon.server.api.analytics import DurationGroup, Durations, WindowParams, durations_of, whole, window_of
from etlmon.server.api.routes import Call, Route

RATE_S = 10
"""Rates are over the last so many whole seconds."""


class Latency(Record, frozen=True):
    """From the reading of a report to the write to its viewers, since the start; null before the first."""

    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    count: int


class Realtime(Record, frozen=True):
    """This instant. Rates are per second over the last ten seconds; cpu, memory and disk are shares from 0 to 1."""

    at: str
    jobs: dict[str, int]
    jobs_per_second: float
    reports_per_second: float
    lines_per_second: float
    connections: int
    update_latency: Latency
    cpu: float | None
    memory: float | None
    disk: float | None
    process_cpu_percent: float | None
    process_memory: int | None


class Performance(Record, frozen=True):
    """Finished jobs of a window: percentiles in all and by type, and throughput."""

    since: str
    until: str
    jobs: int
    success_rate: float | None
    durations: Durations
    by_type: list[DurationGroup]
    jobs_per_hour: float
    rows_per_second: float
    update_latency: Latency


def latency(call: Call) -> Latency:
    """What the hub measured."""
    delay = call.context.hub.stats.update_delay
    p50, p90, p99 = (None if (found := delay.quantile(q)) is None else found * 1000 for q in (0.5, 0.9, 0.99))
    return Latency(p50_ms=p50, p90_ms=p90, p99_ms=p99, count=delay.n)


async def get_realtime(call: Call) -> Realtime:
    """This instant."""
    context, now = call.context, call.received_at
    sample = await context.resources.newest(now)
    rates = context.counters.rates(now, RATE_S)
    counts = await context.store.counts_by_status()
    return Realtime(
        at=format_instant(now),
        jobs={str(status): n for status, n in counts.items()},
        jobs_per_second=rates.finished / RATE_S,
        reports_per_second=rates.reports / RATE_S,
        lines_per_second=rates.lines / RATE_S,
        connections=context.hub.n_connections,
        update_latency=latency(call),
        cpu=sample.host.get("cpu"),
        memory=sample.host.get("memory"),
        disk=sample.host.get("disk"),
        process_cpu_percent=sample.process.get("cpuPercent"),
        process_memory=sample.process.get("rss"),
    )


async def get_performance(call: Call) -> Performance:
    """Percentiles and throughput of a window."""
    window = window_of(call.query, call.received_at)
    total = await whole(call, window)
    types = await call.context.store.analytics.tallies(window, "type")
    most = sorted(types.items(), key=lambda pair: -pair[1].counts["completed"])[: call.query.limit]
    elapsed_ms = max(1, window.until - window.since)
    return Performance(
        since=format_instant(window.since),
        until=format_instant(window.until),
        jobs=total.n,
        success_rate=total.success_rate,
        durations=Durations(**durations_of(total)),
        by_type=[
            DurationGroup(key=str(key), count=tally.counts["completed"], **durations_of(tally)) for key, tally in most
        ],
        jobs_per_hour=round(total.n * UNIT_MS["h"] / elapsed_ms, 3),
        rows_per_second=round(total.rows * 1000 / elapsed_ms, 3),
        update_latency=latency(call),
    )


ROUTES = (
    Route(
        method="GET",
        path="/api/metrics/performance",
        aliases=("/status/metrics/performance",),
        handler=get_performance,
        roles=READERS,
        summary="Percentiles and throughput",
        query=WindowParams,
        answer=Performance,
        tag="metrics",
    ),
    Route(
        method="GET",
        path="/api/metrics/realtime",
        aliases=("/status/metrics/realtime",),
        handler=get_realtime,
        roles=READERS,
        summary="This instant",
        answer=Realtime,
        tag="metrics",
    ),
)
