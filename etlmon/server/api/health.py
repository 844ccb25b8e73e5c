"""Health, Prometheus' metrics, and the server's own resources."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from etlmon import __version__
from etlmon.core.access import EVERYONE, READERS
from etlmon.core.job import Record
from etlmon.server.api.queue import overview
from etlmon.server.api.routes import Access, Call, Context, Route
from etlmon.server.metrics import Gauges, exposition


class HealthView(Record, frozen=True):
    """How the server does: ``degraded`` while the store cannot commit; ``checks`` says which part and why."""

    status: str
    version: str
    uptime_ms: int
    checks: dict[str, str]


class SystemHealth(Record, frozen=True):
    """The host's and the server's resources, the store's state, and each service's."""

    status: str
    version: str
    uptime_ms: int
    host: dict[str, Any]
    process: dict[str, Any]
    store: dict[str, Any]
    queue: dict[str, Any]
    connections: dict[str, Any]
    services: dict[str, Any]


def health_view(context: Context, now: int) -> HealthView:
    """The short health: what anybody may know."""
    degraded = context.store.degraded
    checks = {"store": degraded or "ok", "stream": "ok"}
    checks.update({name: state for name, duty in context.duties.items() if (state := duty.health) != "ok"})
    if context.stopping.is_set():
        checks["server"] = "it stops"
    return HealthView(
        status="ok" if all(state == "ok" for state in checks.values()) else "degraded",
        version=__version__,
        uptime_ms=max(0, now - context.started_at),
        checks=checks,
    )


async def get_health(call: Call) -> web.Response:
    """200 while it serves, degraded or not; 503 when it stops."""
    found = health_view(call.context, call.received_at)
    status = 503 if call.context.stopping.is_set() else 200
    return web.Response(status=status, body=msgspec.json.encode(found), content_type="application/json")


async def get_metrics(call: Call) -> web.Response:
    """What Prometheus scrapes."""
    context = call.context
    counts = await context.store.counts_by_status()
    standing = await overview(context, call.received_at)
    gauges = Gauges(
        jobs={str(status): n for status, n in counts.items()},
        ws_connections=context.hub.n_connections,
        update_delay=context.hub.stats.update_delay,
        queue_depth=standing.depth,
        queue_oldest_s=(standing.oldest_ms or 0) / 1000,
        degraded=context.store.degraded is not None,
        version=__version__,
    )
    body, content_type = exposition(context.counters, gauges, call.request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})


async def get_system_health(call: Call) -> SystemHealth:
    """Everything an operator asks first when the server is slow."""
    context, now = call.context, call.received_at
    short, standing = health_view(context, now), await overview(context, now)
    sample = await context.resources.newest(now)
    return SystemHealth(
        status=short.status,
        version=short.version,
        uptime_ms=short.uptime_ms,
        host=sample.host,
        process=sample.process,
        store={**context.store.stats(), "logs": msgspec.to_builtins(context.store.logs.stats())},
        queue={
            "depth": standing.depth,
            "running": standing.running,
            "oldestMs": standing.oldest_ms,
            "paused": msgspec.to_builtins(standing.paused),
        },
        connections={"open": context.hub.n_connections, "follows": len(context.follows)},
        services={name: duty.state() for name, duty in context.duties.items()},
    )


ROUTES = (
    Route(
        method="GET",
        path="/api/health",
        handler=get_health,
        roles=EVERYONE,
        access=Access.NONE,
        summary="Whether the server does well",
        answer=HealthView,
        tag="system",
    ),
    Route(
        method="GET",
        path="/metrics",
        handler=get_metrics,
        roles=READERS,
        summary="Prometheus metrics",
        media="text/plain",
        tag="system",
    ),
    Route(
        method="GET",
        path="/api/system/health",
        aliases=("/status/system/health",),
        handler=get_system_health,
        roles=READERS,
        summary="Host and server resources, store, queue and services",
        answer=SystemHealth,
        tag="system",
    ),
)
