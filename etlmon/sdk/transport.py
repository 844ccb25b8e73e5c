"""One connection to a server, and what its answers mean. http.client is loaded at the first request, never before.

Redirects are not followed and proxies not asked: the token goes to the host it belongs to, or nowhere. Only a JSON
``ack`` in a 200 is an acknowledgement; whatever else comes (a captive portal, a proxy's page) is no answer of ours.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from etlmon.host.clock import monotonic_s

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

    from etlmon.core.reports import CommandItem
    from etlmon.host.endpoint import Endpoint

CONNECT_S: Final = 5.0
ANSWER_S: Final = 25.0
"""A peer that says nothing for this long is gone, whatever the kernel thinks (fault F18)."""
PIECE: Final = 16 * 1024
MAX_ANSWER: Final = 4 * 1024 * 1024


class Refusal(msgspec.Struct, frozen=True):
    """Why one report of a batch was not taken."""

    index: int
    why: str = ""


class Taken(msgspec.Struct, frozen=True):
    """The batch is committed. ``commands`` are not yet checked (``commands_of``); ``took_s``: how long it took."""

    ack: int
    rejected: list[Refusal] = []
    commands: list[dict[str, Any]] = []
    took_s: float = 0.0


class Commands(msgspec.Struct, frozen=True):
    """What a long poll for commands brought."""

    items: list[dict[str, Any]]
    took_s: float = 0.0


class OutOfStep(msgspec.Struct, frozen=True):
    """The server holds another ``seq`` (a hole), or other content under this one; ``ack`` None when it does not say."""

    ack: int | None


class NotAllowed(msgspec.Struct, frozen=True):
    """The token is not accepted."""

    status: int


class TooLarge(msgspec.Struct, frozen=True):
    """The body is more than the server, or something before it, takes."""


class Refused(msgspec.Struct, frozen=True):
    """The content is not accepted, and the same content never will be."""

    status: int
    why: str


class Busy(msgspec.Struct, frozen=True):
    """Nothing was taken; later, perhaps."""

    status: int
    retry_after_s: float | None


class NoAnswer(msgspec.Struct, frozen=True):
    """Nobody there, or nobody who speaks as an etlmon server does."""

    why: str
    timed_out: bool = False


T = TypeVar("T")
Answer = Taken | Commands | OutOfStep | NotAllowed | TooLarge | Refused | Busy | NoAnswer


class _Ack(msgspec.Struct, frozen=True):
    ack: int
    rejected: list[Refusal] = []
    commands: list[dict[str, Any]] = []


class _Items(msgspec.Struct, frozen=True):
    items: list[dict[str, Any]]


class _Problem(msgspec.Struct, frozen=True):
    ack: int | None = None
    detail: str = ""
    errors: list[dict[str, Any]] = []


class _Reply(msgspec.Struct, frozen=True):
    status: int
    is_json: bool
    retry_after: str | None
    body: bytes
    took_s: float


class Transport:
    """A kept-alive connection to one endpoint. Used by one thread at a time; ``interrupt`` may come from another."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._connection: HTTPConnection | None = None
        self._base = ""

    def post_reports(self, body: bytes) -> Answer:
        """Send one batch."""
        reply = self._exchange("POST", "/api/reports", body)
        if isinstance(reply, NoAnswer):
            return reply
        if reply.status != 200:
            return _meaning(reply)
        receipt = _decode(reply, _Ack)
        if receipt is None:
            return NoAnswer("the answer is not an etlmon server's acknowledgement")
        return Taken(receipt.ack, receipt.rejected, receipt.commands, reply.took_s)

    def get_commands(self, producer: str, wait_s: int) -> Answer:
        """Wait up to ``wait_s`` seconds for commands to the jobs of ``producer``."""
        reply = self._exchange("GET", f"/api/commands?producer={producer}&wait={wait_s}s", None)
        if isinstance(reply, NoAnswer):
            return reply
        if reply.status != 200:
            return _meaning(reply)
        found = _decode(reply, _Items)
        if found is None:
            return NoAnswer("the answer is not an etlmon server's list of commands")
        return Commands(found.items, reply.took_s)

    def ask(self, method: str, path: str, body: bytes | None, form: type[T], *, again: bool = True) -> T | Answer:
        """One request whose answer is a ``form``; ``again`` False: not a second time when a kept connection fails."""
        reply = self._exchange(method, path, body, again=again)
        if isinstance(reply, NoAnswer):
            return reply
        if reply.status != 200:
            return _meaning(reply)
        found: T | None = _decode(reply, form)
        return NoAnswer("the answer is not an etlmon server's") if found is None else found

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def interrupt(self) -> None:
        """Make a request that waits in another thread fail now."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def abandon(self) -> None:
        """After a fork: close this process's copy of the socket and leave the parent's alone."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.close()

    def _exchange(self, method: str, path: str, body: bytes | None, *, again: bool = True) -> _Reply | NoAnswer:
        from http.client import HTTPException

        began = monotonic_s()
        for kept in (again and self._connection is not None, False):
            try:
                response = self._ask(method, path, body)
                return self._read(response, began)
            except TimeoutError:
                self.close()
                return NoAnswer("it did not answer in time", timed_out=True)
            except (OSError, HTTPException, ValueError) as fault:
                self.close()
                if not kept:  # a kept connection may have been closed while idle: that is worth one fresh try
                    return NoAnswer(f"{type(fault).__name__}: {fault}")
        return NoAnswer("unreachable")

    def _ask(self, method: str, path: str, body: bytes | None) -> HTTPResponse:
        connection = self._connection or self._connect()
        if connection.sock is None:
            connection.timeout = CONNECT_S
            connection.connect()
            self._connection = connection
        connection.sock.settimeout(ANSWER_S)
        headers = {"Accept": "application/json", "User-Agent": "etlmon-sdk"}
        if self.endpoint.token:
            headers["Authorization"] = f"Bearer {self.endpoint.token}"
        if body is None or len(body) <= PIECE:
            if body is not None:
                headers["Content-Type"] = "application/json"
            connection.request(method, self._base + path, body, headers)
            return connection.getresponse()
        connection.putrequest(method, self._base + path, skip_accept_encoding=True)
        for name, value in (*headers.items(), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))):
            connection.putheader(name, value)
        connection.endheaders()
        whole = memoryview(body)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before the end (413)
            for at in range(
                0, len(body), PIECE
            ):  # in pieces, so that the time limit is for progress, not for the whole
                connection.send(whole[at : at + PIECE])
        return connection.getresponse()

    def _connect(self) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection
        from urllib.parse import urlsplit

        parts = urlsplit(self.endpoint.url or "")
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ValueError(f"{parts.scheme}://… is not an http or https URL without a user name")
        self._base = parts.path.rstrip("/")
        form = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        return form(parts.hostname, parts.port, timeout=CONNECT_S)

    def _read(self, response: HTTPResponse, began: float) -> _Reply:
        body = response.read(MAX_ANSWER)
        if response.will_close or not response.isclosed():
            self.close()
        kind = response.headers.get_content_type()
        return _Reply(
            status=response.status,
            is_json=kind == "application/json" or kind.endswith("+json"),
            retry_after=response.headers.get("Retry-After"),
            body=body,
            took_s=monotonic_s() - began,
        )


def commands_of(items: list[dict[str, Any]]) -> list[CommandItem]:
    """The commands among ``items``; what is none is left out. Loads the report types, which few programs need."""
    from etlmon.core.reports import CommandItem

    found: list[CommandItem] = []
    for item in items:
        try:
            found.append(msgspec.convert(item, CommandItem))
        except msgspec.ValidationError:
            continue  # from a later server: an action with a shape that this SDK cannot know
    return found


def _decode(reply: _Reply, form: Any) -> Any:
    if not reply.is_json:
        return None
    try:
        return msgspec.json.decode(reply.body, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _meaning(reply: _Reply) -> Answer:
    """What an answer other than 200 says."""
    problem = _decode(reply, _Problem)
    match reply.status:
        case 401 | 403:
            return NotAllowed(reply.status)
        case 409 if problem is not None:
            return OutOfStep(problem.ack)
        case 413:
            return TooLarge()
        case 400 | 422 if problem is not None:
            faults = "; ".join(str(fault.get("message", "")) for fault in problem.errors[:3])
            return Refused(reply.status, f"{problem.detail} {faults}".strip())
        case 429 | 500 | 502 | 503 | 504:
            return Busy(reply.status, _seconds(reply.retry_after))
        case _:
            return NoAnswer(f"status {reply.status} is not an etlmon server's answer here")


def _seconds(text: str | None) -> float | None:
    """A Retry-After in seconds; dates and nonsense count as not said."""
    try:
        return float(text) if text and text.strip().isascii() else None
    except ValueError:
        return None
