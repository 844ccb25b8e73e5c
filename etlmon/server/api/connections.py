"""Who watches live now."""

from __future__ import annotations

from typing import Any

import msgspec

from etlmon.core.access import READERS
from etlmon.core.instants import format_instant
from etlmon.core.job import Record
from etlmon.server.api.routes import Call, Route


class ConnectionEntry(Record, frozen=True):
    """One WebSocket connection: who, since when, what it asked for, how many numbers it is behind."""

    id: str
    name: str | None
    role: str | None
    owner: str | None
    address: str | None
    since: str
    batch: bool
    state: str
    lag: int
    dropped: int
    latency_ms: float | None
    subscriptions: list[dict[str, Any]]


class ConnectionList(Record, frozen=True):
    """Every open WebSocket connection."""

    items: list[ConnectionEntry]
    next_cursor: str | None = None


async def list_connections(call: Call) -> ConnectionList:
    """Who is connected, with what filters, how far behind."""
    shown = []
    for found in call.context.hub.connections():
        values = msgspec.to_builtins(found)
        values["since"] = format_instant(found.since)
        shown.append(msgspec.convert(values, ConnectionEntry))
    return ConnectionList(items=shown)


ROUTES = (
    Route(
        method="GET",
        path="/api/monitor/connections",
        handler=list_connections,
        roles=READERS,
        summary="Who watches live",
        answer=ConnectionList,
        tag="stream",
    ),
)
