"""The WebSocket's door; what is said there is the hub's."""

from __future__ import annotations

from aiohttp import web

from etlmon.core.access import EVERYONE
from etlmon.server.api.routes import Access, Call, Route
from etlmon.server.auth import NOBODY


async def open_socket(call: Call) -> web.StreamResponse:
    """Upgrade, and hand the connection to the hub; without a token in the header the first frame must bring one."""
    identity = None if call.identity is NOBODY else call.identity
    return await call.context.hub.serve(call.request, identity)


ROUTES = (
    Route(
        method="GET",
        path="/ws",
        aliases=("/progress",),
        handler=open_socket,
        roles=EVERYONE,
        access=Access.FIRST_FRAME,
        summary="The live stream (WebSocket)",
        media="websocket",
        deadline_s=None,
        tag="stream",
    ),
)
