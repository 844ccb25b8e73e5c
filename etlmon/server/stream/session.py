"""One viewer's connection: what it says, what it is told of the conversation, and when it is cut.

No queue and, while it keeps up, no task beyond the handler's own: what is on its way is in the transport.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from etlmon.core.access import Identity
from etlmon.core.errors import EtlmonError, Invalid, Malformed, NotAuthenticated, TooManyRequests
from etlmon.core.filters import Node
from etlmon.core.protocol import (
    MAX_SUBSCRIPTIONS,
    PROTOCOL,
    Auth,
    ClientFrame,
    CloseCode,
    Cursor,
    MessageType,
    Ping,
    Subscribe,
    Unsubscribe,
    Wanted,
    parse_frame,
)
from etlmon.server.stream.catch_up import catch_up
from etlmon.server.stream.messages import frames, message
from etlmon.server.stream.pulse import Pulse
from etlmon.server.stream.selection import Selection
from etlmon.server.stream.subscription import State, Subscription
from etlmon.server.stream.viewer_socket import ViewerSocket, bound_buffers

if TYPE_CHECKING:
    from etlmon.server.stream.hub import Hub

logger = logging.getLogger(__name__)

MAIN = "main"
"""The id of the subscription that the query string asks for."""
ABORT_AFTER_S = 2.0
"""A closing transport would wait for ever to hand over its buffer (aiohttp: facts, realtime §3): then it is cut."""
PING_FRAME = b"\x89\x00"
DRAIN = b"drain"

CODES: dict[type[EtlmonError], str] = {
    Malformed: "malformed",
    Invalid: "invalid",
    NotAuthenticated: "not_authorised",
    TooManyRequests: "too_many",
}


class Session:
    """See the module. ``n_handed`` counts bytes given to the transport (but for groups' frames, which a stalled peer
    is not given), so that it can be told whether the peer took something."""

    __slots__ = (
        "_closer",
        "_closing",
        "_next_id",
        "_task",
        "address",
        "batch",
        "behind",
        "connected_at",
        "hub",
        "id",
        "identity",
        "n_dropped",
        "n_handed",
        "protocol",
        "pulse",
        "subscriptions",
        "transport",
        "ws",
    )

    def __init__(self, hub: Hub, ws: ViewerSocket, request: web.Request, identity: Identity | None) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the peer left during the handshake")
        self.hub = hub
        self.ws = ws
        self.identity = identity
        self.protocol = request.protocol
        self.transport = transport
        self.address = request.remote
        self.batch = request.query.get("batch", "") not in ("", "0", "false")
        self.id = hub.clock.new_id()
        self.connected_at = hub.clock.now_ms()
        self.subscriptions: dict[str, Subscription] = {}
        self.behind: dict[Subscription, None] = {}
        self.n_dropped = 0
        self.n_handed = 0
        self._task: asyncio.Task[None] | None = None
        self._closer: asyncio.Task[None] | None = None
        self._closing = False
        self._next_id = 1
        self.pulse = Pulse(hub.monotonic(), hub.heartbeat_s)
        bound_buffers(transport)
        ws.on_close = self.leave

    # The conversation.

    async def run(self, wanted: Wanted) -> None:
        """Greet, serve and listen until either side leaves."""
        identity = self.identity or await self._authenticate()
        if identity is None:
            return
        self.identity = identity
        await self._welcome(identity)
        self._subscribe(wanted, MAIN, identity)
        while not self._closing:
            msg = await self.ws.receive()
            if not self.pulse.hear(self.hub.monotonic(), is_pong=msg.type is WSMsgType.PONG):
                self.hub.stats.n_cut_talking += 1
                self.cut(CloseCode.TOO_MANY_MESSAGES, "too many messages")
                return
            if msg.type is WSMsgType.TEXT:
                await self._answer(msg.data, identity)
            elif not await self._hear(msg.type, msg.data):
                return

    async def _hear(self, kind: WSMsgType, data: Any) -> bool:
        """Answer one message that is no text; False when the conversation is over."""
        if kind is WSMsgType.PING:
            await self.ws.pong(data)
        elif kind is WSMsgType.PONG:
            if not data:
                self.pulse.answered()
        elif kind is WSMsgType.BINARY:
            await self._refuse(Malformed("Binary messages are not understood here: send JSON text."), None)
        else:
            return False
        return True

    async def _answer(self, text: str, identity: Identity) -> None:
        request_id = None
        try:
            frame = parse_frame(text)
            request_id = frame.id
            await self._obey(frame, identity)
        except EtlmonError as fault:
            await self._refuse(fault, request_id)

    async def _obey(self, frame: ClientFrame, identity: Identity) -> None:
        if isinstance(frame, Ping):
            await self.say(MessageType.PONG, {"requestId": frame.id, "cursor": self.hub.cursor().format()})
        elif isinstance(frame, Subscribe):
            self._subscribe(frame.data or Wanted(), self._name_of(frame), identity, channel=frame.channel)
        elif isinstance(frame, Unsubscribe):
            await self._unsubscribe(frame)
        else:
            raise Invalid("This connection is already authenticated.")

    async def _refuse(self, fault: EtlmonError, request_id: str | int | None) -> None:
        code = next((code for kind, code in CODES.items() if isinstance(fault, kind)), "refused")
        errors = [{"path": each.path, "message": each.message} for each in fault.errors]
        data = {"code": code, "message": fault.detail, "requestId": request_id, "errors": errors}
        await self.say(MessageType.ERROR, data)

    async def _authenticate(self) -> Identity | None:
        """Wait for the auth frame; None, and the connection closed, when it did not come in time or was not good."""
        try:
            async with asyncio.timeout(self.hub.auth_deadline_s):
                text = await self._first_text()
        except TimeoutError:
            text = None
        if text is None:
            self.cut(CloseCode.NO_AUTH_FRAME, "no auth frame")
            return None
        code = CloseCode.NO_AUTH_FRAME
        try:
            frame = parse_frame(text)
            if not isinstance(frame, Auth):
                raise NotAuthenticated('The first message must be {"type": "auth", "token": "…"}.')
            code = CloseCode.NOT_AUTHORISED
            identity = self.hub.authenticate(frame.token)
            code = CloseCode.TOO_MANY_MESSAGES
            self.hub.admit(identity, self.address)
            return identity
        except EtlmonError as fault:
            await self._refuse(fault, None)
            self.cut(code, "not let in")
            return None

    async def _first_text(self) -> str | None:
        while True:
            msg = await self.ws.receive()
            if msg.type is WSMsgType.TEXT:
                return str(msg.data)
            in_time = self.pulse.hear(self.hub.monotonic(), is_pong=msg.type is WSMsgType.PONG)
            if not in_time or not await self._hear(msg.type, msg.data):
                return None

    async def _welcome(self, identity: Identity) -> None:
        hub = self.hub
        data = {
            "connectionId": self.id,
            "serverVersion": hub.version,
            "protocol": PROTOCOL,
            "epoch": hub.store.epoch,
            "cursor": hub.cursor().format(),
            "oldest": Cursor(hub.store.epoch, hub.store.oldest).format(),
            "role": identity.role,
            "heartbeatMs": round(hub.heartbeat_s * 1000),
        }
        await self.say(MessageType.WELCOME, data)

    # Subscriptions.

    def _subscribe(self, wanted: Wanted, name: str, identity: Identity, *, channel: str | None = None) -> None:
        parsed = self.hub.select(wanted, identity, channel=channel)
        if parsed is not None:
            self._follow(*parsed, name, wanted.since)

    def _follow(self, selection: Selection, node: Node, name: str, since: str | None) -> None:
        former = self.subscriptions.get(name)
        if former is None and len(self.subscriptions) >= MAX_SUBSCRIPTIONS:
            raise TooManyRequests(f"A connection may hold {MAX_SUBSCRIPTIONS} subscriptions: end one first.")
        if former is not None:
            self._end(former)
        group = self.hub.groups.enter(selection, node, self.hub.head)
        subscription = Subscription(self, name, group, since)
        self.subscriptions[name] = subscription
        self._catch_up(subscription)

    async def _unsubscribe(self, frame: Unsubscribe) -> None:
        name = str(frame.id if frame.id is not None else frame.channel)
        subscription = self.subscriptions.get(name)
        if subscription is None:
            raise Invalid(f"There is no subscription {name[:80]!r} on this connection.")
        self._end(subscription)
        await self.say(MessageType.UNSUBSCRIBED, {"id": name}, ch=subscription.group.ch)

    def _name_of(self, frame: Subscribe) -> str:
        if frame.id is not None:
            return str(frame.id)[:200]
        if frame.channel is not None:
            return frame.channel[:200]
        self._next_id += 1
        return f"s{self._next_id}"

    def _end(self, subscription: Subscription) -> None:
        subscription.group.drop(subscription)
        subscription.state = State.ENDED
        self.behind.pop(subscription, None)
        del self.subscriptions[subscription.id]
        self.hub.groups.leave(subscription.group)

    def fall_behind(self, subscription: Subscription) -> None:
        """The peer's buffer is full: the subscription has left its group and reads on by its cursor."""
        subscription.state = State.LAGGING
        if not self._closing:
            self._catch_up(subscription)

    def _catch_up(self, subscription: Subscription) -> None:
        self.behind[subscription] = None
        if self._task is None:
            self._task = self.hub.spawn(self._caught_up(), f"catch-up {self.id}")

    async def _caught_up(self) -> None:
        try:
            await catch_up(self)
        except ConnectionError:
            return  # the peer is gone: the handler ends too
        except Exception:
            logger.exception(
                "A viewer could not be caught up", extra={"action": "catch_up_failed", "connection": self.id}
            )
            self.cut(CloseCode.RESTART, "could not be caught up")
        finally:
            self._task = None

    # Sending.

    async def say(self, kind: MessageType, data: Any, *, ch: int | None = None) -> None:
        """Send a message of the conversation, and wait while the peer takes nothing."""
        await self.hand([message(kind, self.hub.clock.now_ms(), data, ch=ch)])

    def say_now(self, kind: MessageType, data: Any, *, ch: int | None = None) -> None:
        """Send a message without waiting; only for a few small ones."""
        self.write(frames((message(kind, self.hub.clock.now_ms(), data, ch=ch),), batch=self.batch))

    async def hand(self, messages: list[bytes]) -> None:
        """Send messages, and wait while the peer takes nothing. ConnectionError when it is gone."""
        self.write(frames(messages, batch=self.batch))
        if self.protocol.writing_paused or self.transport.is_closing():
            await self.drained()

    def write(self, data: bytes) -> None:
        """Hand whole frames to the transport."""
        if not self.ws.closed and not self.transport.is_closing():
            self.transport.write(data)
            self.n_handed += len(data)

    async def drained(self) -> None:
        """Wait until the peer takes again; a ping carries the wait. ConnectionError when it is gone."""
        self.n_handed += len(PING_FRAME) + len(DRAIN)
        self.pulse.pinged()
        await self.ws.ping(DRAIN)

    # Watching.

    def check(self, now: float) -> None:
        """Called every second or so: cut a peer that is stalled or silent, beat for the others."""
        if self._closing:
            return
        heartbeat_s = self.hub.heartbeat_s
        if self.protocol.writing_paused:
            taken = self.n_handed - self.transport.get_write_buffer_size()
            if self.pulse.is_stalled(now, taken, self.hub.stalled_s):
                self.hub.stats.n_cut_slow += 1
                self.cut(CloseCode.SLOW, "slow")
        elif self.pulse.is_silent(now, heartbeat_s):
            self.hub.stats.n_cut_silent += 1
            self.cut(CloseCode.SILENT, "silent")
        elif self.pulse.is_due(now, heartbeat_s) and self.identity is not None:
            self._beat(now)

    def _beat(self, now: float) -> None:
        self.pulse.pinged(now)
        self.write(PING_FRAME)
        positions = [
            {"id": each.id, "ch": each.group.ch, "cursor": self._position(each), "state": each.state.value}
            for each in self.subscriptions.values()
        ]
        self.say_now(MessageType.HEARTBEAT, {"cursor": self.hub.cursor().format(), "subscriptions": positions})

    def _position(self, subscription: Subscription) -> str:
        seq = subscription.cursor
        if subscription.state is State.LIVE:
            seq = subscription.group.passed(self.hub.head)
        return Cursor(self.hub.store.epoch, seq).format()

    # The end.

    def say_goodbye(self, reason: str, *, retry_after_ms: int) -> None:
        """Announce a planned close."""
        if not self.protocol.writing_paused:
            self.say_now(MessageType.GOODBYE, {"reason": reason, "retryAfterMs": retry_after_ms})

    def cut(self, code: CloseCode, reason: str) -> None:
        """Close from our side, without waiting for a peer that may never read."""
        if self._closing:
            return
        self.leave()
        asyncio.get_running_loop().call_later(ABORT_AFTER_S, self.abort)
        self._closer = self.hub.spawn(self._close(code, reason), f"close {self.id}")

    async def _close(self, code: CloseCode, reason: str) -> None:
        await self.ws.close(code=code, message=reason.encode(), drain=False)

    def abort(self) -> None:
        """Cut the connection, if it still stands (asyncio's transports cannot be aborted after their end)."""
        if self.protocol.connected:
            self.transport.abort()

    async def closed(self) -> None:
        """Wait for a close of ours to be told: the handler's own close must not come before it."""
        if self._closer is not None:
            await asyncio.wait({self._closer})

    def leave(self) -> None:
        """Take no further part: every subscription ends and the catch-up stops."""
        self._closing = True
        for subscription in list(self.subscriptions.values()):
            self._end(subscription)
        if self._task is not None:
            self._task.cancel()
