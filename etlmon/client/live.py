"""The live reader: one subscription as an async iterator that reconnects, resumes and says how it stands.

Where the socket is refused it polls REST, and tries the socket again in between.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from etlmon.client.away import Where, look_up
from etlmon.client.live_socket import SUBSCRIPTION, BrokenError, LiveSocket, RefusedError
from etlmon.client.polling import Message, Poller
from etlmon.client.rest import AWAY, Client
from etlmon.core import errors
from etlmon.core.protocol import Cursor, MessageType, Wanted

if TYPE_CHECKING:
    from aiohttp import ClientSession

__all__ = ["Link", "LinkState", "Live", "LiveItem", "Message", "Reset", "Timing", "position"]


class LinkState(StrEnum):
    """How a live reader stands with its server."""

    CONNECTING = "connecting"
    CATCHING_UP = "catching up"
    LIVE = "live"
    POLLING = "polling"
    """The socket is refused; REST is asked every ``poll_s``."""
    WAITING = "waiting"
    """No server answers; the next try is in ``retry_in_s``."""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A change of how the reader stands; ``detail`` is a sentence that says why it waits or polls."""

    state: LinkState
    detail: str | None = None
    retry_in_s: float | None = None


class Reset(msgspec.Struct, frozen=True, kw_only=True):
    """What was missed cannot be told: forget what you hold. For jobs a snapshot follows."""

    reason: str


LiveItem = Link | Reset | Message


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """How patient a live reader is, in seconds. A wait is drawn from 0 to a bound that doubles (full jitter)."""

    first_retry_s: float = 0.5
    longest_retry_s: float = 20.0
    connect_s: float = 10.0
    poll_s: float = 2.0
    socket_again_s: float = 30.0
    """While polling: how often the socket is tried again."""
    silences: float = 2.5
    """Heartbeats that may be missing before the connection counts as dead."""


class Live:
    """One subscription, kept alive: iterate it for each event and line once, in ``seq`` order, and how the link stands.

    ``where`` is the server's place or what gives it, asked again before each connection.
    ``since`` resumes from a cursor; without it the first messages are a snapshot. ``after`` is the last log line had,
    where the socket was refused and no cursor is known. ``cursor`` is the place reached.
    A refusal that no retry heals (token, filter) is raised. Close the iterator (``aclosing``) to let the connection go.
    """

    def __init__(
        self,
        where: Where,
        wanted: Wanted,
        *,
        since: str | None = None,
        after: int | None = None,
        timing: Timing | None = None,
    ) -> None:
        self.where = where
        self.wanted = wanted
        self.timing = timing or Timing()
        self.cursor = Cursor.parse(since) if since else None
        self.state: LinkState | None = None
        self._poller = Poller(wanted, after=after)
        self.role: str | None = None
        """What the token may do, as the server's welcome says."""
        self.heard_s: float | None = None
        """When the server last said anything, its heartbeats included, by this machine's monotonic clock."""
        self._heard_at: str | None = None
        self._delivered = False
        self._failures = 0

    async def __aiter__(self) -> AsyncGenerator[LiveItem, None]:
        """Messages and changes, for ever; see the class."""
        from aiohttp import ClientSession

        async with ClientSession(trust_env=False) as http:
            while True:
                if self.state is not LinkState.POLLING:
                    yield self._now(LinkState.CONNECTING)
                polls, reason = False, ""
                try:
                    async with aclosing(self._follow_socket(http)) as items:
                        async for item in items:
                            yield item
                except RefusedError as error:
                    polls, reason = True, str(error)
                except BrokenError as error:  # again and again: perhaps a wall that lets REST through
                    polls, reason = self.state is LinkState.POLLING or self._failures >= 2, str(error)
                if polls:
                    async with aclosing(self._follow_polls(reason)) as items:
                        async for item in items:
                            yield item
                if self.state is not LinkState.POLLING:
                    delay = self._draw_delay()
                    yield self._now(LinkState.WAITING, detail=reason, retry_in_s=delay)
                    await asyncio.sleep(delay)

    def _now(self, state: LinkState, *, detail: str | None = None, retry_in_s: float | None = None) -> Link:
        self.state = state
        return Link(state=state, detail=detail, retry_in_s=retry_in_s)

    def _draw_delay(self) -> float:
        bound = min(self.timing.longest_retry_s, self.timing.first_retry_s * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        return random.uniform(0, bound)  # noqa: S311 - spreads reconnects, keeps no secret

    async def _follow_socket(self, http: ClientSession) -> AsyncGenerator[LiveItem, None]:
        endpoint = await asyncio.to_thread(look_up, self.where)
        socket = await LiveSocket.open(http, endpoint, self.timing.connect_s)
        try:
            welcome = await socket.greeted(self.timing.silences)
            await socket.subscribe(self.wanted, self._since(welcome))
            while True:
                message = await socket.next()
                self._heard_at, self.heard_s = message.at or self._heard_at, time.monotonic()
                for item in self._taken(message):
                    yield item
        finally:
            await socket.close()

    def _since(self, welcome: Message) -> str | None:
        """Where to go on: the cursor, or after polling alone the last line's place in this server's journal."""
        self.role = str(welcome.data.get("role") or "") or None
        if self.cursor is None and self._poller.last_seq is not None:
            self.cursor = Cursor(str(welcome.data.get("epoch")), self._poller.last_seq)
        return self.cursor.format() if self.cursor else None

    def _taken(self, message: Message) -> list[LiveItem]:
        """What one message means for the one who iterates, and for the cursor."""
        data = message.data
        match message.type:
            case MessageType.WELCOME | MessageType.PONG | MessageType.UNSUBSCRIBED | MessageType.GOODBYE:
                return []
            case MessageType.HEARTBEAT:
                self._heard_beat(data)
                return []
            case MessageType.SUBSCRIBED:
                return self._subscribed(data)
            case MessageType.LIVE:
                self._move(data.get("cursor"))
                self._failures = 0
                return [self._now(LinkState.LIVE)]
            case MessageType.SNAPSHOT if not data.get("more"):
                self._move(data.get("cursor"))
            case MessageType.ERROR if data.get("requestId") == SUBSCRIPTION:
                raise _refusal(data)
        if message.seq is not None and self.cursor is not None:
            if message.seq <= self.cursor.seq:
                return []
            self.cursor = Cursor(self.cursor.epoch, message.seq)
        self._delivered = True
        return [message] if self._poller.is_news(message) else []

    def _heard_beat(self, data: dict[str, Any]) -> None:
        """Take over the place that this subscription has passed (the beat's own ``cursor`` is the server's)."""
        for each in data.get("subscriptions") or ():
            if isinstance(each, dict) and each.get("id") == SUBSCRIPTION:
                self._move(each.get("cursor"))

    def _subscribed(self, data: dict[str, Any]) -> list[LiveItem]:
        link = self._now(LinkState.CATCHING_UP)
        if data.get("recovered"):
            return [link]
        missed = self._delivered or self.cursor is not None
        self.cursor = None
        self._poller.forget()
        if "jobs" not in self._poller.topics:  # no snapshot will name the place
            self._move(data.get("cursor"))
        return [Reset(reason=str(data.get("reason") or "it is no longer known")), link] if missed else [link]

    def _move(self, cursor: Any) -> None:
        """Take over a place that the server names, never backwards."""
        with suppress(errors.Invalid):
            there = Cursor.parse(str(cursor)) if cursor else None
            if there and (self.cursor is None or self.cursor.epoch != there.epoch or there.seq > self.cursor.seq):
                self.cursor = there

    async def _follow_polls(self, reason: str) -> AsyncGenerator[LiveItem, None]:
        """Poll until it is time to try the socket again, or until REST does not answer either."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.timing.socket_again_s
        client = Client(self.where, timeout_s=self.timing.connect_s)
        self._poller.go_on(self.cursor.seq if self.cursor else None, self._heard_at)
        try:
            while loop.time() < until:
                try:
                    messages = await asyncio.to_thread(self._poller.poll, client)
                except AWAY:
                    if self.state is LinkState.POLLING:
                        yield self._now(LinkState.CONNECTING)
                    return
                self._failures = 0
                if self.state is not LinkState.POLLING:
                    yield self._now(LinkState.POLLING, detail=reason)
                for message in messages:
                    self._delivered = True
                    yield message
                await asyncio.sleep(self.timing.poll_s)
        finally:
            client.close()


def _refusal(data: dict[str, Any]) -> errors.EtlmonError:
    """The fault that an ``error`` in answer to the subscription stands for."""
    message = str(data.get("message") or "The server refused the subscription.")
    listed = data.get("errors") if isinstance(data.get("errors"), list) else []
    faults = tuple(errors.Fault(str(each.get("path")), str(each.get("message"))) for each in listed or ())
    cls = {"not_authorised": errors.NotAuthenticated, "forbidden": errors.Forbidden, "too_many": errors.TooManyRequests}
    return cls.get(str(data.get("code")), errors.Invalid)(message, errors=faults)


async def position(where: Where, *, timing: Timing | None = None) -> Cursor | None:
    """The cursor of this instant: history read after it is joined by ``since`` it. None where the socket is refused."""
    from aiohttp import ClientSession

    timing = timing or Timing()
    async with ClientSession(trust_env=False) as http:
        try:
            socket = await LiveSocket.open(http, look_up(where), timing.connect_s)
            try:
                return Cursor.parse(str((await socket.greeted(timing.silences)).data.get("cursor")))
            finally:
                await socket.close()
        except (RefusedError, BrokenError, errors.Invalid):
            return None
