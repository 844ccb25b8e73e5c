"""The hub: the stream's door. Told of every commit; knows every connection; lets in, watches over and closes them.

How messages reach the live is the fan-out's affair, what a viewer says its session's, what it missed the catch-up's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import msgspec
from aiohttp import web

from etlmon.core.access import Identity, Role
from etlmon.core.errors import Fault, Invalid, NotAuthenticated, TooManyRequests, Unavailable
from etlmon.core.events import Item, JobChange, Notice
from etlmon.core.filters import Node
from etlmon.core.job import Job
from etlmon.core.protocol import (
    AUTH_DEADLINE_S,
    STALLED_S,
    CloseCode,
    Cursor,
    MessageType,
    Wanted,
    wanted_from_query,
)
from etlmon.server.limits import is_loopback
from etlmon.server.stream.fanout import Fanout
from etlmon.server.stream.groups import Group, Groups
from etlmon.server.stream.messages import ChangeEntry, NoticeEntry, entry_of
from etlmon.server.stream.selection import Selection, parse_selection
from etlmon.server.stream.session import Session
from etlmon.server.stream.snapshot import KEPT_S, Snapshot, build_snapshot
from etlmon.server.stream.stats import StreamStats
from etlmon.server.stream.viewer_socket import CLOSING_S, ViewerSocket
from etlmon.server.stream.views import ConnectionView, view_session

logger = logging.getLogger(__name__)

N_READING = 8
"""How many sessions may read the store for their catch-up at once."""
MAX_VOLATILE = 10_000
"""Uncommitted states remembered to tell changes; the oldest is forgotten first."""
RETRY_S = 5.0
ANYONE = Identity(token_id=None, name="", role=Role.VIEWER)


class Logs(Protocol):
    """What the hub asks of the store's logs."""

    @property
    def oldest_seq(self) -> int: ...


class Journal(Protocol):
    """What the hub asks of the store."""

    @property
    def logs(self) -> Logs: ...

    @property
    def epoch(self) -> str: ...
    @property
    def head(self) -> int: ...
    @property
    def oldest(self) -> int: ...
    async def active_jobs(self) -> list[Job]: ...
    async def items_after(
        self, after: int, upto: int, limit: int, *, jobs: bool, logs: bool
    ) -> tuple[list[Item], int]: ...


class Clock(Protocol):
    """What the hub asks of ``etlmon.host.clock``."""

    def now_ms(self) -> int: ...
    def new_id(self) -> str: ...


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub needs of the configuration (durations in ms). ``per_token`` does not bind loopback."""

    max_connections: int = 1000
    per_token: int = 64
    heartbeat_ms: int = 30_000
    ring_size: int = 10_000
    sample_window_ms: int = 0
    log_streaming: bool = True


class Hub:
    """See the module. ``authenticate``: a token → who it is, for connections that could not set a header."""

    def __init__(
        self,
        store: Journal,
        clock: Clock,
        settings: Settings,
        *,
        authenticate: Callable[[str], Identity] | None = None,
        version: str = "",
    ) -> None:
        self.store = store
        self.clock = clock
        self.version = version
        self.authenticate = authenticate or _refuse
        self.stats = StreamStats()
        self.fanout = Fanout(
            store.head,
            settings.ring_size,
            sample_window_ms=settings.sample_window_ms,
            stats=self.stats,
            now=clock.now_ms,
        )
        self.reading = asyncio.Semaphore(N_READING)
        self.auth_deadline_s = AUTH_DEADLINE_S
        self.stalled_s = STALLED_S
        self._settings = settings
        self._sessions: dict[Session, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._movers: list[asyncio.Future[None]] = []
        self._volatile: dict[str, Job] = {}
        self._closed = False
        self._emptied = asyncio.Event()
        self._emptied.set()

    # What happened.

    def publish(self, items: Sequence[Item], head: int) -> None:
        """Take committed items, in ``seq`` order; ``head`` is the number up to which all is committed."""
        fanout = self.fanout
        for item in items:
            if self._volatile and isinstance(item, JobChange):
                self._volatile.pop(item.after.id, None)
            entry = entry_of(item)
            fanout.ring.append(entry)
            fanout.offer(entry)
        fanout.head = head
        for mover in self._movers:
            if not mover.done():
                mover.set_result(None)
        self._movers.clear()
        fanout.schedule()

    def publish_volatile(self, jobs: Sequence[Job]) -> None:
        """Show live viewers states that cannot be committed now: ``durable`` false, ``seq`` null, never replayed."""
        now = self.clock.now_ms()
        for job in jobs:
            before = self._volatile.pop(job.id, None)
            self._volatile[job.id] = job
            change = JobChange(seq=self.head, at=now, before=before, after=job)
            self.fanout.offer(ChangeEntry(change, durable=False))
        while len(self._volatile) > MAX_VOLATILE:
            del self._volatile[next(iter(self._volatile))]
        self.fanout.schedule()

    def announce(self, topic: str, kind: MessageType, data: dict[str, Any]) -> None:
        """Tell live viewers of a topic something that is not journaled (a measurement): ``seq`` null."""
        notice = Notice(seq=self.head, at=self.clock.now_ms(), topic=topic, type=kind, data=data)
        self.fanout.offer(NoticeEntry(notice, durable=False))
        self.fanout.schedule()

    # Connections.

    async def serve(self, request: web.Request, identity: Identity | None) -> web.WebSocketResponse:
        """Answer a WebSocket upgrade and stay until either side leaves. ``identity`` None: the first frame tells.

        Before the upgrade: Invalid for a wrong query string, Unavailable or TooManyRequests when there is no room.
        """
        query = {key: request.query.getall(key) for key in request.query if key != "batch"}
        wanted = wanted_from_query(query)
        self.select(wanted, identity or ANYONE)
        self._make_room()
        if identity is not None:
            self.admit(identity, request.remote)
        ws = ViewerSocket()
        await ws.prepare(request)
        session = Session(self, ws, request, identity)
        self._sessions[session] = None
        self._emptied.clear()
        self.stats.n_connected += 1
        self._sweep_later()
        try:
            await session.run(wanted)
        except ConnectionError:
            pass  # the peer left while it was being told something
        finally:
            session.leave()
            await session.closed()
            del self._sessions[session]
            if not self._sessions:
                self._emptied.set()
        return ws

    def _make_room(self) -> None:
        if self._closed:
            raise Unavailable("The server is stopping: connect again.", retry_after_s=RETRY_S)
        if len(self._sessions) >= self._settings.max_connections:
            self.stats.n_refused += 1
            raise Unavailable("Every connection for viewers is taken: try again later.", retry_after_s=RETRY_S)

    def admit(self, identity: Identity, address: str | None) -> None:
        """TooManyRequests when the identity's token has as many connections as it may; loopback has no such limit."""
        token_id = identity.token_id
        if token_id is None or is_loopback(address or ""):
            return
        if sum(_token_of(each) == token_id for each in self._sessions) >= self._settings.per_token:
            self.stats.n_refused += 1
            raise TooManyRequests("This token has too many connections open: close some.", retry_after_s=RETRY_S)

    def select(
        self, wanted: Wanted, identity: Identity, *, channel: str | None = None
    ) -> tuple[Selection, Node] | None:
        """What a client wants, checked as ``parse_selection`` does; Invalid for lines where they are not streamed."""
        parsed = parse_selection(wanted, identity, self.clock.now_ms(), channel=channel)
        if parsed is not None and parsed[0].logs and not self._settings.log_streaming:
            why = "log lines are not streamed here: job_tracking.log_streaming_enabled is off"
            raise Invalid(f"This subscription is wrong at topics: {why}.", errors=(Fault("topics", why),))
        return parsed

    def connections(self) -> list[ConnectionView]:
        """Who is connected."""
        return [view_session(session, self.head) for session in self._sessions]

    @property
    def n_connections(self) -> int:
        """How many are connected."""
        return len(self._sessions)

    def by_role(self) -> Counter[str]:
        """How many are connected, by role."""
        return Counter(s.identity.role.value if s.identity is not None else "none" for s in self._sessions)

    def drop_token(self, token_id: str) -> None:
        """Close every connection of a token that is no longer good."""
        for session in list(self._sessions):
            if _token_of(session) == token_id:
                session.cut(CloseCode.NOT_AUTHORISED, "the token was revoked")

    def apply(self, settings: Settings) -> None:
        """Take changed settings; connections stay."""
        self._settings = settings
        self.fanout.ring.size = settings.ring_size
        self.fanout.sample_window_ms = settings.sample_window_ms

    async def close(self, reason: str) -> None:
        """Say goodbye to everybody and close; who takes no notice is cut. No one is let in from here on."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        self.fanout.close()
        for number, session in enumerate(list(self._sessions)):
            session.say_goodbye(reason, retry_after_ms=500 + number * 10)
            session.cut(CloseCode.RESTART, reason)
        try:
            async with asyncio.timeout(CLOSING_S):
                await self._emptied.wait()
        except TimeoutError:
            logger.warning("Viewers were cut", extra={"action": "viewers_cut", "viewers": len(self._sessions)})
            for session in self._sessions:
                session.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # For sessions.

    @property
    def head(self) -> int:
        """All up to here is committed, and known to every group."""
        return self.fanout.head

    @property
    def groups(self) -> Groups:
        """Every group in use."""
        return self.fanout.groups

    @property
    def heartbeat_s(self) -> float:
        """How often a connection is asked whether it lives."""
        return self._settings.heartbeat_ms / 1000

    def monotonic(self) -> float:
        """The loop's clock."""
        return asyncio.get_running_loop().time()

    def oldest(self, selection: Selection) -> int:
        """A cursor before this has lost something of the selection to retention."""
        return max(self.store.oldest, self.store.logs.oldest_seq) if selection.logs else self.store.oldest

    def cursor(self) -> Cursor:
        """The newest committed place."""
        return Cursor(self.store.epoch, self.head)

    async def moved(self) -> None:
        """Wait for the next commit."""
        mover: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._movers.append(mover)
        await mover

    async def snapshot(self, group: Group) -> Snapshot:
        """What the group sees now. One read serves all who asked before it began."""
        asked_at = self.monotonic()
        async with group.snapshotting:
            found = group.snapshot
            if found is not None and (found.begun_at >= asked_at or found.position == self.head):
                return found
            begun_at, head = self.monotonic(), self.head  # before the read: nothing can fall between
            async with self.reading:
                jobs = await self.store.active_jobs() if group.selection.jobs else []
            # One read sees whole commits, in order: what came before the newest change in it is in it as well.
            position = Cursor(self.store.epoch, max(head, *(job.seq for job in jobs), 0))
            found = await build_snapshot(group, jobs, position, self.clock.now_ms(), begun_at)
            group.snapshot = found
            asyncio.get_running_loop().call_later(KEPT_S, _forget, group, found)
            return found

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Own a task until it ends."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        fault = None if task.cancelled() else task.exception()
        if fault is not None and not isinstance(fault, ConnectionError):
            logger.error("A task of the stream failed", exc_info=fault, extra={"action": "stream_task_failed"})

    def _sweep_later(self) -> None:
        if self._sweeping is None and self._sessions and not self._closed:
            pause = min(1.0, self.heartbeat_s / 8, self.stalled_s / 8)
            self._sweeping = asyncio.get_running_loop().call_later(pause, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        now = self.monotonic()
        for session in list(self._sessions):
            session.check(now)
        self._sweep_later()


def _token_of(session: Session) -> str | None:
    return session.identity.token_id if session.identity is not None else None


def _forget(group: Group, snapshot: Snapshot) -> None:
    if group.snapshot is snapshot:
        group.snapshot = None


def _refuse(token: str) -> Identity:
    raise NotAuthenticated("This server takes no token in a frame: send the Authorization header.")
