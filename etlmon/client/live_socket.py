"""One WebSocket of the live reader: opened, greeted, read message by message, let go. Imports aiohttp when opened."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from etlmon.client.away import HasAddress, why_away
from etlmon.client.polling import Message
from etlmon.client.rest import address_of, header_safe
from etlmon.core import errors
from etlmon.core.protocol import PROTOCOL, CloseCode, MessageType, Wanted

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientWebSocketResponse

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""The largest frame taken: a snapshot part of 500 whole jobs is about 5 MB."""
SUBSCRIPTION = "main"
"""The id of the one subscription."""
CLOSE_S = 1.0
"""How long a close may take."""


class RefusedError(Exception):
    """The server answered, but gave no WebSocket that can be used; a sentence says why."""


class BrokenError(Exception):
    """The connection was not made, or ended; another try may go better. A sentence says why."""


class LiveSocket:
    """An open connection. ``silence_s`` without any message counts as dead."""

    def __init__(self, ws: ClientWebSocketResponse, url: str, silence_s: float) -> None:
        self.ws = ws
        self.url = url
        self.silence_s = silence_s
        self._waiting: deque[Message] = deque()  # the rest of one frame, so at most what one frame holds

    @classmethod
    async def open(cls, http: ClientSession, endpoint: HasAddress, connect_s: float) -> LiveSocket:
        """Connect without a subscription; RefusedError, BrokenError, or a fault of the token itself."""
        from aiohttp import ClientError, ClientWSTimeout, WSServerHandshakeError

        url = address_of(endpoint).url
        place = url.replace("http", "ws", 1) + "/ws?topics=none&batch=1"
        headers = {"Authorization": f"Bearer {header_safe(endpoint.token, endpoint.origin)}"} if endpoint.token else {}
        closing = ClientWSTimeout(ws_close=CLOSE_S)
        try:
            async with asyncio.timeout(connect_s):
                ws = await http.ws_connect(
                    place, headers=headers, max_msg_size=MAX_MESSAGE_BYTES, timeout=closing, compress=0
                )
        except WSServerHandshakeError as error:
            raise RefusedError(f"The server answered the WebSocket with HTTP {error.status}.") from error
        except (ClientError, OSError, TimeoutError) as error:
            raise BrokenError(why_away(error, url, connect_s)) from error
        return cls(ws, url, connect_s)

    async def greeted(self, silences: float) -> Message:
        """The welcome; from then on ``silences`` of its heartbeats may be missing."""
        message = await self.next()
        if message.type != MessageType.WELCOME:
            raise RefusedError("The server sent no welcome.")
        protocol = message.data.get("protocol")
        if isinstance(protocol, int) and protocol > PROTOCOL:
            raise errors.EtlmonError(f"The server speaks protocol {protocol}, this etlmon {PROTOCOL}: update it here.")
        beat_ms = message.data.get("heartbeatMs")
        self.silence_s = silences * (beat_ms / 1000 if isinstance(beat_ms, int | float) and beat_ms > 0 else 30)
        return message

    async def subscribe(self, wanted: Wanted, since: str | None) -> None:
        """Ask for what is wanted, from a cursor on or (None) from now with a snapshot."""
        data = {key: value for key, value in msgspec.to_builtins(wanted).items() if value is not None}
        if since:
            data["since"] = since
        frame = {"type": "subscribe", "id": SUBSCRIPTION, "data": data}
        try:
            await self.ws.send_str(msgspec.json.encode(frame).decode())
        except (OSError, RuntimeError) as error:  # aiohttp says RuntimeError of a socket that just closed
            raise BrokenError(f"The connection to {self.url} broke off.") from error

    async def next(self) -> Message:
        """The next message; a silence, a close and a broken connection raise."""
        from aiohttp import WSMsgType

        while not self._waiting:
            try:
                async with asyncio.timeout(self.silence_s):
                    frame = await self.ws.receive()
            except TimeoutError as error:
                raise BrokenError(f"The server was silent for {self.silence_s:.3g} s.") from error
            except (OSError, RuntimeError) as error:
                raise BrokenError(f"The connection to {self.url} broke off.") from error
            if frame.type is WSMsgType.TEXT:
                self._waiting.extend(_decoded(frame.data))
            elif frame.type is not WSMsgType.BINARY:
                raise closed(self.ws.close_code, str(frame.extra or ""))
        return self._waiting.popleft()

    async def close(self) -> None:
        """Close politely, but never wait for a peer that does not answer."""
        with suppress(TimeoutError, OSError, RuntimeError):
            async with asyncio.timeout(CLOSE_S):
                await self.ws.close()


def _decoded(text: str) -> list[Message]:
    try:
        frame: Any = msgspec.json.decode(text)
        return [
            Message(type=str(each["type"]), seq=each.get("seq"), at=each.get("timestamp"), data=each.get("data") or {})
            for each in (frame if isinstance(frame, list) else [frame])
        ]
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RefusedError("The server sent a message that cannot be read.") from error


def closed(code: int | None, why: str) -> Exception:
    """What a close means: an error that no retry heals, or a connection to make again."""
    if code in (CloseCode.NOT_AUTHORISED, CloseCode.NO_AUTH_FRAME):
        return errors.NotAuthenticated(
            f"The server ended the live connection: {why or 'the token is no longer valid'}."
        )
    if code == CloseCode.FORBIDDEN:
        return errors.Forbidden(f"The server ended the live connection: {why or 'the role does not allow it'}.")
    if code is not None and 4500 <= code <= 4999:
        return errors.EtlmonError(f"The server ended the live connection ({code}{': ' + why if why else ''}).")
    return BrokenError(f"The server closed the connection{f' ({code})' if code else ''}.")
