"""Every route of the server, in one list. What is not in it does not exist; each says who may use it."""

from __future__ import annotations

from etlmon.core.config import Config
from etlmon.server.api import (
    analytics,
    bulk,
    connections,
    definitions,
    health,
    history,
    jobs,
    logs,
    names,
    performance,
    queue,
    reports,
    settings,
    socket,
    submit,
    tokens,
    workers,
)
from etlmon.server.api.openapi import published
from etlmon.server.api.routes import Route


def routes_of(config: Config) -> tuple[Route, ...]:
    """The routes that a server with this config has: without live streams when they are switched off."""
    streams = config.monitoring.websocket.enabled
    return tuple(route for route in ROUTES if streams or route.media != "websocket")


ROUTES: tuple[Route, ...] = published(
    (
        *jobs.ROUTES,
        *submit.ROUTES,
        *bulk.ROUTES,
        *logs.ROUTES,
        *history.ROUTES,
        *analytics.ROUTES,
        *names.ROUTES,
        *performance.ROUTES,
        *queue.ROUTES,
        *workers.ROUTES,
        *definitions.ROUTES,
        *reports.ROUTES,
        *socket.ROUTES,
        *connections.ROUTES,
        *health.ROUTES,
        *settings.ROUTES,
        *tokens.ROUTES,
    )
)
