"""The application: every route through one guard, in one order; nothing is answered that the guard has not let in."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from aiohttp import web

from etlmon.core.access import Identity
from etlmon.core.errors import (
    DeadlineExceeded,
    EtlmonError,
    Forbidden,
    Malformed,
    NotAuthenticated,
    UnsupportedMedia,
)
from etlmon.server.api.bodies import check_media, check_utf8, inflate, parse_body, read_body
from etlmon.server.api.params import parse_params, refuse_credentials
from etlmon.server.api.problems import NotHere, from_aiohttp, problem, protect
from etlmon.server.api.routes import Access, Call, Context, Route, json_response
from etlmon.server.auth import NOBODY, single_header
from etlmon.server.connection import GuardedConnection, address_of
from etlmon.server.listening import WILDCARDS

logger = logging.getLogger(__name__)

CONTEXT = web.AppKey("context", Context)
IDENTITY: web.RequestKey[Identity | None] = web.RequestKey("identity", object)  # type: ignore[arg-type]
FAILED = "The server failed to answer: its log tells why, by requestId."
AiohttpHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_app(context: Context, routes: Sequence[Route]) -> web.Application:
    """The application over ``context`` that serves ``routes`` and their aliases (HEAD wherever GET is)."""
    guard = Guard(context)

    @web.middleware
    async def door(request: web.Request, handler: AiohttpHandler) -> web.StreamResponse:
        return await guard.admit(request, handler)

    app = web.Application(middlewares=[door])
    app[CONTEXT] = context
    for route in routes:
        answer = guard.bind(route)
        for path in route.paths:
            resource = app.router.add_resource(path)
            resource.add_route(route.method, answer, expect_handler=proceed)
            if route.method == "GET" and route.media != "websocket":
                resource.add_route("HEAD", answer, expect_handler=proceed)
    app.on_response_prepare.append(add_headers)
    return app


async def proceed(request: web.Request) -> None:
    """Answer ``Expect: 100-continue``; other expectations are not ours to fail on (RFC 9110 §10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """What every answer carries, also those that a handler began itself."""
    protect(response)


class Guard:
    """The one door. The order: request id, URL, Host, Origin, token, limits, role, parameters, body, deadline."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._hosts = known_hosts(context)
        self._any_address = context.config.server.host.strip("[]") in WILDCARDS
        self._origins = frozenset(o.rstrip("/").lower() for o in context.config.server.allowed_origins)
        self._routes: dict[AiohttpHandler, Route] = {}

    def bind(self, route: Route) -> AiohttpHandler:
        """aiohttp's handler for ``route``, remembered so that the guard knows what was asked for."""

        async def answer(request: web.Request) -> web.StreamResponse:
            return await self._answer(request, route)

        self._routes[answer] = route
        return answer

    async def admit(self, request: web.Request, handler: AiohttpHandler) -> web.StreamResponse:
        """Answer one request: by its route when it is let in, else by a problem."""
        connection = request.protocol
        if isinstance(connection, GuardedConnection):
            connection.request_began()
        try:
            return await self._guarded(request, handler)
        except EtlmonError as fault:
            return self._refusal(request, fault, new_request_id())
        except web.HTTPException as refusal:
            response = self._refusal(request, from_aiohttp(refusal), new_request_id())
            if "Allow" in refusal.headers:
                response.headers["Allow"] = refusal.headers["Allow"]
            return response
        except ConnectionError:
            raise
        except Exception:
            request_id = new_request_id()
            logger.exception("A request failed", extra={"action": "request_failed", "request_id": request_id})
            return self._refusal(request, EtlmonError(FAILED), request_id)
        finally:
            if isinstance(connection, GuardedConnection):
                connection.request_ended()

    async def _guarded(self, request: web.Request, handler: AiohttpHandler) -> web.StreamResponse:
        self._check_target(request)
        route = self._routes.get(getattr(request.match_info, "handler", handler))
        if route is None or route.writes or route.access is Access.FIRST_FRAME:
            self._check_origin(request)
        identity = self._identify(request, route)
        if route is None:
            return await handler(request)  # aiohttp's 404 or 405, told only to those who have a token
        if identity is not None:
            if route.access is Access.REQUIRED:
                self.context.limits.admit(identity.token_id, request.remote or "")
            if identity.role not in route.roles:
                raise Forbidden(f"The role {identity.role} does not allow this: it needs {_either(route)}.")
        request[IDENTITY] = identity
        return await handler(request)

    def _check_target(self, request: web.Request) -> None:
        if not request.raw_path.startswith("/") or request.raw_path.startswith("//"):
            raise Malformed("The request's target must be a path.")
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1:
            raise Malformed("The request needs one Host header.")
        name = host_name(hosts[0])
        if name not in self._hosts and not (self._any_address and is_address(name)):
            raise NotHere(f"This server does not answer for the host {name[:100]!r}: add it to server.allowed_hosts.")
        if "?" in request.raw_path:
            refuse_credentials(request.query)

    def _check_origin(self, request: web.Request) -> None:
        origin = request.headers.get("Origin")
        if origin is None:
            return
        own = {f"{request.scheme}://{request.headers['Host']}".lower(), public_origin(self.context)}
        if origin.lower() not in own and origin.rstrip("/").lower() not in self._origins:
            raise Forbidden("Pages of this origin may not do this: add it to server.allowed_origins.")

    def _identify(self, request: web.Request, route: Route | None) -> Identity | None:
        if route is not None and route.access is Access.NONE:
            return None
        header = single_header(request.headers.getall("Authorization", []))
        if header is None and route is not None and route.access is Access.FIRST_FRAME and self.context.tokens.enabled:
            return None
        try:
            return self.context.tokens.identify(header)
        except NotAuthenticated:
            if header is not None:
                self.context.limits.check_failures(address_of(request.transport))
            raise

    async def _answer(self, request: web.Request, route: Route) -> web.StreamResponse:
        received_at = self.context.now()
        identity = request[IDENTITY]
        given = list(request.query.items()) if "?" in request.raw_path else []
        call = Call(
            context=self.context,
            request=request,
            identity=identity or NOBODY,
            path=dict(request.match_info),
            query=parse_params(given, route.query) if route.media != "websocket" else None,
            body=await self._body(request, route),
            received_at=received_at,
        )
        try:
            async with asyncio.timeout(route.deadline_s):
                value = await route.handler(call)
        except TimeoutError:
            detail = "The answer was not ready in time: narrow the request, or try again."
            raise DeadlineExceeded(detail) from None
        if isinstance(value, web.StreamResponse):
            return value
        if value is None:
            return web.Response(status=204)
        return json_response(value, route.status)

    async def _body(self, request: web.Request, route: Route) -> object:
        if not route.writes:
            return None
        if not request.can_read_body and (route.body is None or route.body_optional):
            return None if route.body is None else route.body()
        check_media(request)
        encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding != "identity" and not route.encodings:
            raise UnsupportedMedia("This path takes no compressed body.")
        raw = await read_body(request, route.body_limit)
        if encoding != "identity":
            raw = await inflate(raw, encoding)
        if route.body is None or route.body is bytes:
            check_utf8(raw)
            return raw
        if route.body_optional and not raw.strip():
            return route.body()
        return parse_body(raw, route.body)

    def _refusal(self, request: web.Request, fault: EtlmonError, request_id: str) -> web.StreamResponse:
        response = problem(fault, request_id)
        if request.can_read_body and not request.content.is_eof():
            response.force_close()  # the rest of its body is not worth reading
        return response


def new_request_id() -> str:
    """What a refusal and the log line about it share."""
    return os.urandom(6).hex()


def _either(route: Route) -> str:
    return " or ".join(sorted(route.roles))


def host_name(header: str) -> str:
    """The name in a Host header, without its port and brackets, in lower case."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if ":" in text else text


def is_address(name: str) -> bool:
    """Whether ``name`` is an IP address in its plain form: no rebound DNS name is."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def public_origin(context: Context) -> str:
    """The origin of ``server.public_url``; empty when it is not set."""
    parts = urlsplit(context.config.server.public_url or "")
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.netloc else ""


def known_hosts(context: Context) -> frozenset[str]:
    """The names that this server answers for."""
    server = context.config.server
    names = {
        "localhost",
        "127.0.0.1",
        "::1",
        socket.gethostname().lower(),  # no stranger can rebind the machine's own name
        server.host.lower().strip("[]"),
        *(host_name(h) for h in server.allowed_hosts),
    }
    if server.public_url:
        names.add((urlsplit(server.public_url).hostname or "").lower())
    return frozenset(names - {""})
