"""The server's life: bind, open the store, start hub, recorder and duties, serve, say so; and the way back.

Nothing is announced (``server.json``, the line on stdout) before it is true, and the store is closed last.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Any

from aiohttp import web

from etlmon import __version__
from etlmon.core.config import Config, check_config
from etlmon.core.errors import EtlmonError
from etlmon.host.endpoint import remove_server_file, write_server_file
from etlmon.server.admin_token import keep_admin_token, keep_worker_token
from etlmon.server.api.routes import Context
from etlmon.server.api.table import routes_of
from etlmon.server.app import build_app
from etlmon.server.connection import Connections
from etlmon.server.embedded_worker import EmbeddedWorker
from etlmon.server.listening import bind, raise_file_limit, tls_context, url_of
from etlmon.server.wiring import Launch, Publisher, build_context, build_duties, open_store

logger = logging.getLogger(__name__)

DRAIN_S = 3.5
GOODBYE_S = 2.0
IN_FLIGHT_S = 1.5
"""aiohttp waits up to twice this for handlers; with the worker, goodbye and the store's close it stays below 10 s."""
SPARE_CONNECTIONS = 1024


class StopSignal:
    """SIGTERM or SIGINT asks the server to stop; a second one hastens it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hastened = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> StopSignal:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(number)

    def ask(self) -> None:
        """Ask once, then hasten."""
        (self.hastened if self.asked.is_set() else self.asked).set()

    async def within(self, work: Awaitable[Any], limit_s: float) -> None:
        """Wait for ``work`` at most ``limit_s`` and not at all once hastened; what is not done then is given up."""
        task, bell = asyncio.ensure_future(work), asyncio.ensure_future(self.hastened.wait())
        await asyncio.wait({task, bell}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        bell.cancel()
        for outcome in await asyncio.gather(task, bell, return_exceptions=True):
            if isinstance(outcome, Exception):
                logger.error("A part did not stop cleanly", exc_info=outcome, extra={"action": "stop"})


def run(launch: Launch) -> None:
    """Serve until asked to stop. Raises EtlmonError when it cannot begin."""

    async def live() -> None:
        with StopSignal() as stop:
            await serve(launch, stop)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(live())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def serve(launch: Launch, stop: StopSignal) -> None:
    """One server's whole life, until ``stop`` is asked."""
    config = launch.config
    check_config(config)
    tls = tls_context(config.server)
    with ExitStack() as sockets:
        own = sockets.enter_context(bind(config.server, config.server.port))
        other = config.monitoring.websocket.port
        socks = [own, *([sockets.enter_context(bind(config.server, other))] if other else ())]
        async with AsyncExitStack() as cellar:  # left in the opposite order
            cellar.callback(remove_server_file, launch.data_dir, os.getpid())
            publisher = Publisher()
            store = await open_store(config, launch.data_dir, publisher)
            cellar.push_async_callback(store.close)
            context = await build_context(launch, store, publisher)
            await keep_admin_token(context, launch.data_dir)
            worker = await _worker_of(launch, context)
            runner = web.AppRunner(
                build_app(context, routes_of(config)),
                access_log=None,
                handle_signals=False,
                shutdown_timeout=IN_FLIGHT_S,
            )
            await runner.setup()
            connections = _connections(runner, config)
            loop = asyncio.get_running_loop()
            listening = [await loop.create_server(connections, sock=s, ssl=tls, backlog=1024) for s in socks]
            _announce(launch, url_of(config.server, own), store.epoch)
            async with asyncio.TaskGroup() as duties:
                tasks = [duties.create_task(duty.run(), name=name) for name, duty in build_duties(context).items()]
                if worker is not None:
                    tasks.append(duties.create_task(worker.run(), name="embedded worker"))
                await stop.asked.wait()
                if worker is not None:
                    context.dispatch.stop_waiting()
                    await stop.within(worker.drain(), DRAIN_S)
                await _stop(context, listening, runner, stop)
                for task in tasks:
                    task.cancel()
    logger.info("The server has stopped", extra={"action": "stopped"})


async def _worker_of(launch: Launch, context: Context) -> EmbeddedWorker | None:
    if not launch.worker:
        return None
    token = await keep_worker_token(context, launch.data_dir)
    return EmbeddedWorker(launch.data_dir, launch.config_file, token)


def _announce(launch: Launch, url: str, epoch: str) -> None:
    """Tell programs and people where it serves."""
    try:
        write_server_file(launch.data_dir, url=url, pid=os.getpid(), version=__version__, epoch=epoch)
    except OSError as fault:  # a full disk must not keep the server from being restarted on it
        logger.error("server.json could not be written", extra={"action": "announce", "why": fault.strerror})
    launch.tell(url)
    logger.info("The server serves", extra={"action": "start", "url": url, "epoch": epoch})


async def _stop(context: Context, listening: list[asyncio.Server], runner: web.AppRunner, stop: StopSignal) -> None:
    """No new connections; goodbye to viewers; what is in flight is answered."""
    logger.info("The server stops", extra={"action": "stop"})
    for each in listening:
        each.close()
    context.stopping.set()
    context.follows.close()
    context.recorder.stop_waiting()
    context.dispatch.stop_waiting()
    await stop.within(context.hub.close("restart"), GOODBYE_S)
    await stop.within(runner.cleanup(), 2 * IN_FLIGHT_S + 0.5)


def _connections(runner: web.AppRunner, config: Config) -> Connections:
    limit = config.monitoring.websocket.max_connections + SPARE_CONNECTIONS
    raise_file_limit(limit + 256)
    if runner.server is None:
        raise EtlmonError("The HTTP server could not be set up.")
    return Connections(runner.server, limit=limit)
