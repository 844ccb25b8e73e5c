"""Shared by the API's tests: a clock that stands still until it is moved, and a guard over routes of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from msgspec.structs import replace

from etlmon.core.access import Role
from etlmon.core.config import DEFAULT, Config
from etlmon.server.api.routes import Context, Route
from etlmon.server.app import build_app
from etlmon.server.auth import Tokens, hash_token, mint_token
from etlmon.server.connection import Connections
from etlmon.server.limits import Limits
from etlmon.server.store.tokens import Token


class Clock:
    """Wall milliseconds and monotonic seconds that move only when told."""

    def __init__(self) -> None:
        self.ms = 1_763_865_407_000

    def now(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    def advance(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@dataclass
class Answer:
    """One HTTP answer, read raw."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Guarded:
    """A real server over given routes, one token per role, and raw requests to it."""

    port: int
    connections: Connections
    context: Context
    plain: dict[str, str] = field(default_factory=dict)

    async def send(self, data: bytes) -> Answer:
        """Raw bytes on a connection of their own; the answer that comes (status 0: closed without one)."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
            return await _read(reader, data.startswith(b"HEAD"))
        finally:
            writer.close()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        role: str | None = "admin",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        more: bytes = b"",
    ) -> Answer:
        """One request; ``headers`` win over those made here, and None in them takes one away."""
        made: dict[str, str | None] = {"Host": f"127.0.0.1:{self.port}", "Connection": "close"}
        if role is not None:
            made["Authorization"] = f"Bearer {self.plain[role]}"
        if body is not None:
            made |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        made |= headers or {}
        lines = "".join(f"{name}: {value}\r\n" for name, value in made.items() if value is not None)
        head = f"{method} {path} HTTP/1.1\r\n{lines}".encode()
        return await self.send(head + more + b"\r\n" + (body or b""))


async def _read(reader: asyncio.StreamReader, is_head: bool) -> Answer:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return Answer(0, {}, b"")
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    headers = {name.title(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = b"" if is_head else await _body(reader, headers)
    return Answer(int(first.split()[1]), headers, body)


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "Content-Length" in headers:
        return await reader.readexactly(int(headers["Content-Length"]))
    parts = []
    while headers.get("Transfer-Encoding") == "chunked":
        size = int(await reader.readline(), 16)
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
        if not size:
            break
    return b"".join(parts)


@pytest.fixture
def guarded(clock: Clock) -> Callable[..., AbstractAsyncContextManager[Guarded]]:
    """Makes a server over routes of the test's own: ``async with guarded([route]) as server``."""

    @asynccontextmanager
    async def make(
        routes: list[Route], *, config: Config = DEFAULT, read_deadline_s: float = 10.0, limit: int = 100
    ) -> AsyncIterator[Guarded]:
        plain = {role.value: mint_token(role) for role in Role}
        tokens = [
            Token(id=f"t-{role}", name=role, owner=None, role=Role(role), hash=hash_token(text), created_at=0)
            for role, text in plain.items()
        ]
        absent: Any = None  # the guard itself uses none of the parts behind it
        context = Context(
            config=config,
            origins={},
            config_file=None,
            data_dir=absent,
            store=absent,
            recorder=absent,
            hub=absent,
            tokens=Tokens(tokens, enabled=config.auth.enabled, now=clock.now),
            limits=Limits(per_token_s=10, burst=20, failures_per_minute=10, monotonic=clock.monotonic),
            follows=absent,
            counters=absent,
            resources=absent,
            now=clock.now,
            started_at=clock.now(),
        )
        runner = web.AppRunner(build_app(context, tuple(routes)), access_log=None, shutdown_timeout=1)
        await runner.setup()
        assert runner.server is not None
        connections = Connections(runner.server, limit=limit, read_deadline_s=read_deadline_s)
        listening = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0)
        try:
            yield Guarded(listening.sockets[0].getsockname()[1], connections, context, plain)
        finally:
            listening.close()
            await runner.cleanup()

    return make


@pytest.fixture
def with_server() -> Callable[..., Config]:
    """The default config with other ``[server]`` settings."""
    return lambda **given: replace(DEFAULT, server=replace(DEFAULT.server, **given))
