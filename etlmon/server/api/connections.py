"""Who watches live now."""

from __future__ import annotations

from etlmon.core.access import READERS
from etlmon.core.job import Record
from etlmon.server.api.routes import Call, Route
from etlmon.server.stream.hub import ConnectionView


class ConnectionList(Record):
    """Every open WebSocket connection."""

    items: list[ConnectionView]
    next_cursor: str | None = None


async def list_connections(call: Call) -> ConnectionList:
    """Who is connected, with what filters, how far behind."""
    return ConnectionList(items=call.context.hub.connections())


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
