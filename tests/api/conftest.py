"""Shared by the API's tests: a clock that stands still until it is moved, a guard over routes of the test's own, and
the whole server in a thread (which starts ten times as fast as a process).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
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
from etlmon.server.main import StopSignal, serve
from etlmon.server.store.tokens import Token
from etlmon.server.wiring import Launch
from world import ServerProcess


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
            submitting=absent,
            dispatch=absent,
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


class ServerThread(ServerProcess):
    """The server on a loop of its own in a thread; asked as a ``ServerProcess`` is."""

    def run(self) -> None:
        """Start it and wait until it serves."""
        self._told: list[str] = []
        self._faults: list[Exception] = []
        self._serves_now = threading.Event()
        self._thread = threading.Thread(target=self._live, name="server")
        logging.getLogger("etlmon").addHandler(handler := logging.Handler())
        handler.emit = lambda record: self._told.append(logging.Formatter().format(record))  # type: ignore[method-assign]
        self._handler = handler
        self._thread.start()
        assert self._serves_now.wait(30)
        if self._faults:
            raise self._faults[0]
        self.port = int(self.url.rsplit(":", 1)[1])
        self.token = (self.data_dir / "admin.token").read_text().strip()

    def _live(self) -> None:
        async def live() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), StopSignal()
            config = replace(DEFAULT, server=replace(DEFAULT.server, port=0))
            origins = {"server.port": "--port"}
            launch = Launch(config=config, origins=origins, config_file=None, data_dir=self.data_dir, tell=self._tell)
            await serve(launch, self._stop)

        try:
            asyncio.run(live())
        except Exception as fault:  # noqa: BLE001  # told to the test, which waits in another thread
            self._faults.append(fault)
            self._serves_now.set()

    def _tell(self, url: str) -> None:
        self.url = url
        self._serves_now.set()

    def log(self) -> str:
        """What it has logged."""
        return "\n".join(self._told)

    def end(self) -> None:
        """Ask it to stop, and wait until it has."""
        self._loop.call_soon_threadsafe(self._stop.ask)
        self._thread.join(30)
        logging.getLogger("etlmon").removeHandler(self._handler)
        assert not self._faults


@pytest.fixture
def api(data_dir: Path) -> Iterator[ServerThread]:
    """The whole server, in a thread."""
    running = ServerThread(data_dir)
    running.run()
    yield running
    running.end()
