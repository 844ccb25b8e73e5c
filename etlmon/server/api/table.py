"""Every route of the server, in one list. What is not in it does not exist; each says who may use it."""

from __future__ import annotations

from etlmon.server.api import (
    analytics,
    bulk,
    connections,
    health,
    history,
    jobs,
    logs,
    names,
    performance,
    reports,
    settings,
    socket,
    tokens,
)
from etlmon.server.api.openapi import published
from etlmon.server.api.routes import Route

ROUTES: tuple[Route, ...] = published(
    (
        *jobs.ROUTES,
        *bulk.ROUTES,
        *logs.ROUTES,
        *history.ROUTES,
        *analytics.ROUTES,
        *names.ROUTES,
        *performance.ROUTES,
        *reports.ROUTES,
        *socket.ROUTES,
        *connections.ROUTES,
        *health.ROUTES,
        *settings.ROUTES,
        *tokens.ROUTES,
    )
)
