"""One HTTP connection, guarded: aiohttp gives a request no time to arrive in, so a peer that sends half of one
would be kept for ever (facts: reliability §1.3). Counts connections too, in all and per address.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast

from aiohttp import web

from etlmon.core.errors import EtlmonError, Malformed
from etlmon.server.api.problems import problem
from etlmon.server.limits import is_loopback

READ_DEADLINE_S = 10.0
KEEPALIVE_S = 75.0
MAX_PER_ADDRESS = 100
FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Connections:
    """How many connections there are; the factory of new ones for ``loop.create_server``."""

    def __init__(
        self,
        server: web.Server,
        *,
        limit: int,
        per_address: int = MAX_PER_ADDRESS,
        read_deadline_s: float = READ_DEADLINE_S,
    ) -> None:
        self.server = server
        self.limit = limit
        self.per_address = per_address
        self.read_deadline_s = read_deadline_s
        self.n_refused = 0
        self.n_late = 0
        self._addresses: Counter[str] = Counter()

    def __call__(self) -> GuardedConnection:
        """A protocol for one accepted socket."""
        return GuardedConnection(self)

    def enter(self, address: str) -> bool:
        """Count a new connection; False when there is no room for it."""
        full = self._addresses.total() >= self.limit
        crowded = not is_loopback(address) and self._addresses[address] >= self.per_address
        if full or crowded:
            self.n_refused += 1
            return False
        self._addresses[address] += 1
        return True

    def leave(self, address: str) -> None:
        """A counted connection ended."""
        self._addresses[address] -= 1
        if self._addresses[address] <= 0:
            del self._addresses[address]

    def __len__(self) -> int:
        return self._addresses.total()


class GuardedConnection(web.RequestHandler):
    """aiohttp's connection with a deadline for each request's head, which ``request_began`` meets."""

    __slots__ = ("_address", "_busy", "_connections", "_deadline")

    def __init__(self, connections: Connections) -> None:
        super().__init__(
            connections.server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEPALIVE_S,
            access_log=None,  # type: ignore[arg-type]  # aiohttp takes None for no access log
            auto_decompress=False,
            lingering_time=5.0,
        )
        self._connections = connections
        self._address: str | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it, or turn it away; the first request's time runs from here."""
        address = address_of(transport)
        if not self._connections.enter(address):
            cast("asyncio.Transport", transport).write(FULL)
            transport.close()
            return
        self._address = address
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count it out."""
        self._disarm()
        if self._address is None:
            return
        self._connections.leave(self._address)
        self._address = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a next request start its clock."""
        if self._address is None:
            return
        if not self._busy and self._deadline is None:
            self._arm()
        super().data_received(data)

    def request_began(self) -> None:
        """The head is whole: called by the guard as its first act."""
        self._busy = True
        self._disarm()

    def request_ended(self) -> None:
        """The answer is made; the next request's clock starts with its first byte."""
        self._busy = False

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """aiohttp's own refusals (a head that cannot be parsed), telling nothing of the inside."""
        self._disarm()
        fault: EtlmonError = Malformed("The request is not valid HTTP.")
        if status != 400:
            fault = EtlmonError("The request could not be answered.")
        if status != 400 and not isinstance(exc, ConnectionError):  # a peer that left is no fault of ours
            self.logger.error("A request failed outside the routes", exc_info=exc)
        response = problem(fault, None)
        response.force_close()
        return response

    def _arm(self) -> None:
        self._deadline = self._loop.call_later(self._connections.read_deadline_s, self._late)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if not self._busy and self.transport is not None:
            self._connections.n_late += 1
            self.transport.abort()


def address_of(transport: Any) -> str:
    """The peer's IP address as text; empty for a Unix socket or a peer that has gone."""
    peer = transport.get_extra_info("peername") if transport is not None else None
    return str(peer[0]) if isinstance(peer, tuple) and peer else ""
