"""How the server and the jobs perform: percentiles over a window, and this instant."""

from __future__ import annotations

from etlmon.core.access import READERS
from etlmon.core.instants import format_instant
from etlmon.core.job import Record
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


ROUTES = (
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
