"""aiohttp's WebSocket as viewers need it, and the bounds on what a peer that does not read holds of ours."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from aiohttp import WSCloseCode, web

from etlmon.core.protocol import MAX_CLIENT_FRAME

CLOSING_S = 4.0
"""How long a planned end may take before the connections are cut."""
WRITE_HIGH = 64 * 1024
WRITE_LOW = 16 * 1024
NOTSENT_LOWAT = 32 * 1024
"""With these a peer that never reads holds about 150 KB of ours, kernel included (facts, realtime §2.2)."""


class ViewerSocket(web.WebSocketResponse):
    """Without compression, which would forbid shared frames; ``send_frame`` and ``ping`` wait while the peer is full.

    ``on_close`` is called before a close frame goes out, whoever began: nothing may follow it.
    """

    def __init__(self) -> None:
        super().__init__(
            compress=False, autoping=False, max_msg_size=MAX_CLIENT_FRAME, writer_limit=0, timeout=CLOSING_S
        )
        self.on_close: Callable[[], None] = _nothing

    async def close(self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True) -> bool:
        """As aiohttp's."""
        on_close, self.on_close = self.on_close, _nothing
        on_close()
        return await super().close(code=code, message=message, drain=drain)


def _nothing() -> None:
    """What happens at the second close."""


def bound_buffers(transport: asyncio.Transport) -> None:
    """Bound the transport's buffer and what the kernel takes before it is sent."""
    transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
    sock = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None and sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, option, NOTSENT_LOWAT)
