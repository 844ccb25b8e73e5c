"""The hub: told of every commit, it hands each group's messages to its live members. It never waits for one.

A registry with a clock; what a viewer says is the session's affair, and what it missed the catch-up's.
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
from etlmon.server.stream.groups import Group, Groups
from etlmon.server.stream.messages import ChangeEntry, Entry, NoticeEntry, entry_of, frames
from etlmon.server.stream.ring import Ring
from etlmon.server.stream.selection import Selection, parse_selection
from etlmon.server.stream.session import Session
from etlmon.server.stream.snapshot import KEPT_S, Snapshot, build_snapshot
from etlmon.server.stream.stats import StreamStats
from etlmon.server.stream.subscription import Subscription
from etlmon.server.stream.viewer_socket import CLOSING_S, ViewerSocket
from etlmon.server.stream.views import ConnectionView, view_session

logger = logging.getLogger(__name__)

TICK_S = 0.01
"""A busy group's messages are gathered this long (facts, realtime §2.2: 1 µs a delivery at 100,000 a second)."""
N_READING = 8
"""How many sessions may read the store for their catch-up at once."""
MAX_VOLATILE = 10_000
"""Uncommitted states remembered to tell changes; the oldest is forgotten first."""
MAX_DELAYS = 10_000
"""Update delays of one frame that are kept to be counted."""
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
        self.head = store.head
        self.ring = Ring(settings.ring_size, self.head)
        self.groups = Groups()
        self.stats = StreamStats()
        self.reading = asyncio.Semaphore(N_READING)
        self.auth_deadline_s = AUTH_DEADLINE_S
        self.stalled_s = STALLED_S
        self._settings = settings
        self._sessions: dict[Session, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._dirty: dict[Group, None] = {}
        self._flushing: asyncio.Handle | None = None
        self._flush_at = 0.0
        self._sweeping: asyncio.TimerHandle | None = None
        self._movers: list[asyncio.Future[None]] = []
        self._volatile: dict[str, Job] = {}
        self._closed = False
        self._emptied = asyncio.Event()
        self._emptied.set()

    # What happened.

    def publish(self, items: Sequence[Item], head: int) -> None:
        """Take committed items, in ``seq`` order; ``head`` is the number up to which all is committed."""
        for item in items:
            if self._volatile and isinstance(item, JobChange):
                self._volatile.pop(item.after.id, None)
            entry = entry_of(item)
            self.ring.append(entry)
            self._offer(entry)
        self.head = head
        for mover in self._movers:
            if not mover.done():
                mover.set_result(None)
        self._movers.clear()
        self._schedule()

    def publish_volatile(self, jobs: Sequence[Job]) -> None:
        """Show live viewers states that cannot be committed now: ``durable`` false, ``seq`` null, never replayed."""
        now = self.clock.now_ms()
        for job in jobs:
            before = self._volatile.pop(job.id, None)
            self._volatile[job.id] = job
            change = JobChange(seq=self.head, at=now, before=before, after=job)
            self._offer(ChangeEntry(change, durable=False))
        while len(self._volatile) > MAX_VOLATILE:
            del self._volatile[next(iter(self._volatile))]
        self._schedule()

    def announce(self, topic: str, kind: MessageType, data: dict[str, Any]) -> None:
        """Tell live viewers of a topic something that is not journaled (a measurement): ``seq`` null."""
        notice = Notice(seq=self.head, at=self.clock.now_ms(), topic=topic, type=kind, data=data)
        self._offer(NoticeEntry(notice, durable=False))
        self._schedule()

    def _offer(self, entry: Entry) -> None:
        for group in self.groups.interested(entry):
            if group.is_watched:
                self._collect(group, entry)

    def _collect(self, group: Group, entry: Entry) -> None:
        box = group.pending
        read_at = entry.change.received_at if type(entry) is ChangeEntry else None
        for sample_of, seq, made in group.messages(entry, 0):
            if not box:
                group.pending_from = max(group.position, self.head)
                self._dirty[group] = None
            box.add(sample_of, made)
            if read_at is not None and len(group.read_at) < MAX_DELAYS:
                group.read_at.append(read_at)
            if box.full:
                self.flush(group, seq)

    # Frames to groups.

    def _schedule(self) -> None:
        """See to it that every group with something pending is flushed when it is due."""
        if not self._dirty:
            return
        now = self.monotonic()
        due = min(self._due(group) for group in self._dirty)
        if self._flushing is not None:
            if self._flush_at <= due or self._flush_at <= now:
                return
            self._flushing.cancel()
        self._flush_at = due
        loop = asyncio.get_running_loop()
        self._flushing = loop.call_soon(self._flush_due) if due <= now else loop.call_at(due, self._flush_due)

    def _due(self, group: Group) -> float:
        """When the next frame goes out: at once after a pause, else a tick after the last; samples can wait longer."""
        due = group.flushed_at + TICK_S
        window = self._settings.sample_window_ms
        if window and group.pending.only_samples:
            due = max(due, group.sampled_at + window / 1000)
        return due

    def _flush_due(self) -> None:
        self._flushing = None
        soon = self.monotonic() + TICK_S / 10
        for group in list(self._dirty):
            if self._due(group) <= soon:
                self.flush(group)
        self._schedule()

    def flush(self, group: Group, end: int | None = None) -> None:
        """Hand what is pending to every live member, as one shared frame; who cannot take it falls behind."""
        self._dirty.pop(group, None)
        if not group.pending:
            return
        reached = self.head if end is None else max(end, group.position)
        had_samples = group.pending.has_samples
        late = self._write(group, group.pending.take(), reached)
        group.flushed_at = self.monotonic()
        if had_samples:
            group.sampled_at = group.flushed_at
        if group.read_at:
            self._observe_delays(group)
        for subscription in late:
            self.stats.n_fell_behind += 1
            group.drop(subscription)
            subscription.session.fall_behind(subscription)

    def _write(self, group: Group, messages: list[bytes], reached: int) -> list[Subscription]:
        """Write to the members, and move the group to ``reached``; those left out are returned, at their old place."""
        start, late = group.position, list[Subscription]()
        for batch in (False, True):
            members = group.members[batch]
            if not members:
                continue
            frame, n_late = frames(messages, batch=batch), len(late)
            for member in members:  # the hot loop: 100,000 turns a second when 100 viewers watch 1,000 changes
                session = member.session
                if session.protocol.writing_paused or member.cursor != start:
                    late.append(member)
                else:
                    session.transport.write(frame)
                    member.cursor = reached
            n_written = len(members) - len(late) + n_late
            self.stats.n_frames += n_written
            self.stats.n_bytes += n_written * len(frame)
        for member in late:
            if member.cursor == start:
                member.cursor = group.pending_from
            else:
                self.stats.n_misplaced += 1
                logger.error("A live member was not where its group was", extra={"action": "member_misplaced"})
        group.position = reached
        return late

    def _observe_delays(self, group: Group) -> None:
        now = self.clock.now_ms()
        for read_at in group.read_at:
            self.stats.update_delay.observe(max(0, now - read_at) / 1000)
        group.read_at.clear()

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
        self.ring.size = settings.ring_size

    async def close(self, reason: str) -> None:
        """Say goodbye to everybody and close; who takes no notice is cut. No one is let in from here on."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._flushing is not None:
            self._flushing.cancel()
        for group in list(self._dirty):
            self.flush(group)
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
