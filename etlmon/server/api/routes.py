"""What a route is: declared once as data, enforced by the guard, published by openapi. No route is in here."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from etlmon.core.access import Identity, Role
from etlmon.core.errors import EtlmonError, NotFound
from etlmon.core.ids import is_job_id
from etlmon.core.job import Job
from etlmon.server.api.params import NoParams

if TYPE_CHECKING:
    from etlmon.core.config import Config
    from etlmon.server.auth import Tokens
    from etlmon.server.dispatch import Dispatch
    from etlmon.server.follows import Follows
    from etlmon.server.limits import Limits
    from etlmon.server.metrics import Counters
    from etlmon.server.recorder import Recorder
    from etlmon.server.services.duty import Duty
    from etlmon.server.services.resources import Resources
    from etlmon.server.store.store import Store
    from etlmon.server.stream.hub import Hub
    from etlmon.server.submitting import Submitting

logger = logging.getLogger(__name__)

KIB = 1024
DEFAULT_BODY = 1024 * KIB
DEFAULT_DEADLINE_S = 10.0


class Access(StrEnum):
    """How a route asks for a token."""

    REQUIRED = "required"
    FIRST_FRAME = "first_frame"
    """The header, or the first frame of the socket (interface.md, WebSocket)."""
    NONE = "none"
    """Anybody. Only what tells nothing."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the handlers work with: the parts that ``main`` built, and the clock."""

    config: Config
    origins: dict[str, str]
    store: Store
    recorder: Recorder
    submitting: Submitting
    dispatch: Dispatch
    hub: Hub
    tokens: Tokens
    limits: Limits
    follows: Follows
    counters: Counters
    now: Callable[[], int]
    started_at: int
    data_dir: Path
    config_file: Path | None
    resources: Resources
    duties: dict[str, Duty] = field(default_factory=dict)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One admitted request: who asks, and all it carries. ``query`` and ``body`` are of the route's types."""

    context: Context
    request: web.Request
    identity: Identity
    path: dict[str, str]
    query: Any
    body: Any
    received_at: int

    async def job(self, job_id: str | None = None) -> Job:
        """The job ``job_id``, or that of the path; NotFound when there is none that this token may see (one answer)."""
        job_id = self.path["id"] if job_id is None else job_id
        job = await self.context.store.job(job_id) if is_job_id(job_id) else None
        if job is None or not self.identity.sees(job):
            known = "`etlmon jobs list` (GET /api/jobs) lists what this token may see"
            raise NotFound(f"There is no job {job_id[:128]!r} here: {known}.")
        return job


Answer = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One route. ``answer`` is the type that is encoded as JSON, or None when the handler makes its own response;
    ``body_schema`` documents a body that the handler takes as bytes."""

    method: str
    path: str
    handler: Answer
    roles: frozenset[Role]
    summary: str
    answer: Any = None
    query: type = NoParams
    body: type | None = None
    body_schema: Any = None
    aliases: tuple[str, ...] = ()
    access: Access = Access.REQUIRED
    status: int = 200
    deadline_s: float | None = DEFAULT_DEADLINE_S
    body_limit: int = DEFAULT_BODY
    body_optional: bool = False
    encodings: bool = False
    media: str = "application/json"
    tag: str = "jobs"

    @property
    def writes(self) -> bool:
        """Whether it changes something: then a browser's Origin must be one of ours."""
        return self.method != "GET"

    @property
    def paths(self) -> tuple[str, ...]:
        """Its path and its aliases."""
        return (self.path, *self.aliases)


NDJSON = "application/x-ndjson"
STALLED_S = 60.0
"""A reader of a stream that takes nothing for this long is cut."""


async def stream(call: Call, pages: AsyncGenerator[bytes, None], media: str = NDJSON) -> web.StreamResponse:
    """Send ``pages`` of encoded text as they come; a peer that does not read is cut, and little is buffered for it.

    The first page (it may be empty) is made before the answer begins, so that a fault in the request still becomes
    a problem; a fault after that can only break the answer off.
    """
    async with aclosing(pages):
        first = await anext(pages, b"")
        response = web.StreamResponse(headers={"Content-Type": media, "X-Accel-Buffering": "no"})
        _buffer_little(call.request.transport)
        await response.prepare(call.request)
        if call.request.method == "HEAD":
            return response
        try:
            await _send(response, first)
            async for page in pages:
                await _send(response, page)
            async with asyncio.timeout(STALLED_S):
                await response.write_eof()
        except TimeoutError:
            logger.warning("A reader that took nothing was cut", extra={"action": "stream_cut", "seconds": STALLED_S})
            _abort(call.request.transport)
        except EtlmonError as fault:
            logger.warning("A stream broke off", extra={"action": "stream_broken", "why": fault.detail})
            _abort(call.request.transport)
    return response


async def _send(response: web.StreamResponse, page: bytes) -> None:
    if page:
        async with asyncio.timeout(STALLED_S):
            await response.write(page)


def _buffer_little(transport: asyncio.Transport | None) -> None:
    """Let the kernel hold 32 KiB unsent instead of 4 MB (facts: realtime §2.2): a stalled reader costs little."""
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is not None and hasattr(socket, "TCP_NOTSENT_LOWAT") and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 32 * KIB)


def _abort(transport: asyncio.Transport | None) -> None:
    if transport is not None:
        transport.abort()


def json_response(value: Any, status: int = 200) -> web.Response:
    """Any msgspec-encodable value as JSON."""
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")
