"""The live protocol's words: cursors, message types, close codes, and the frames a client may send. Pure.

Server and client both read them from here; shapes and promises are interface.md's (WebSocket).
"""

from __future__ import annotations

import re
from enum import IntEnum, StrEnum
from typing import Any

import msgspec

from etlmon.core.errors import Fault, Invalid, Malformed
from etlmon.core.text import nearest, sentence

PROTOCOL = 1
"""The number in ``welcome``: it grows when an old client could misread a new server."""

MAX_CLIENT_FRAME = 64 * 1024
"""The largest message a client may send; a larger one closes the connection (1009)."""
MAX_SUBSCRIPTIONS = 64
"""How many subscriptions one connection may hold."""
MAX_FRAME_MESSAGES = 500
MAX_FRAME_BYTES = 256 * 1024
"""What one frame of the server holds at most, but for a single message that is larger by itself."""
SNAPSHOT_PART = 500
"""How many jobs one ``snapshot`` message holds at most."""
AUTH_DEADLINE_S = 10.0
"""How long a connection without an ``Authorization`` header may wait with its auth frame."""
STALLED_S = 30.0
"""How long a peer may take nothing before it is cut with ``CloseCode.SLOW``."""


class MessageType(StrEnum):
    """Every ``type`` that a server's message can have."""

    WELCOME = "welcome"
    SUBSCRIBED = "subscribed"
    UNSUBSCRIBED = "unsubscribed"
    SNAPSHOT = "snapshot"
    LIVE = "live"
    HEARTBEAT = "heartbeat"
    PONG = "pong"
    ERROR = "error"
    GOODBYE = "goodbye"
    JOB_STATUS_UPDATE = "job_status_update"
    JOB_PROGRESS = "job_progress"
    JOB_GONE = "job_gone"
    METRICS_UPDATE = "metrics_update"
    LOG_MESSAGE = "log_message"
    GAP = "gap"
    ALERT = "alert"
    QUEUE_UPDATE = "queue_update"
    RESOURCE_UPDATE = "resource_update"
    CONFIG_CHANGED = "config_changed"


CONTROL = frozenset(
    {
        MessageType.WELCOME,
        MessageType.SUBSCRIBED,
        MessageType.UNSUBSCRIBED,
        MessageType.SNAPSHOT,
        MessageType.LIVE,
        MessageType.HEARTBEAT,
        MessageType.PONG,
        MessageType.ERROR,
        MessageType.GOODBYE,
    }
)
"""Messages about the conversation itself: their ``seq`` is null."""
DATA_TYPES = frozenset(MessageType) - CONTROL
"""Messages about what happened: what ``types=`` may choose from."""


class Topic(StrEnum):
    """What a subscription may be about."""

    JOBS = "jobs"
    METRICS = "metrics"
    LOGS = "logs"
    ALERTS = "alerts"
    QUEUE = "queue"
    RESOURCES = "resources"
    CONFIG = "config"


DEFAULT_TOPICS = frozenset({Topic.JOBS, Topic.ALERTS})
NO_TOPICS = "none"
"""The value of ``topics=`` that opens a connection without a subscription."""


class CloseCode(IntEnum):
    """Why the server closes: 4000–4499 invite a reconnect, 4500–4999 do not."""

    SLOW = 4000
    RESTART = 4001
    SILENT = 4002
    TOO_MANY_MESSAGES = 4003
    NOT_AUTHORISED = 4501
    FORBIDDEN = 4503
    NO_AUTH_FRAME = 4508

    @property
    def invites_reconnect(self) -> bool:
        """Whether a client should come back by itself."""
        return self < 4500


_CURSOR = re.compile(r"([A-Za-z0-9_-]{1,64}):([0-9]{1,19})")


class Cursor(msgspec.Struct, frozen=True):
    """A place in the journal: everything up to ``seq`` of the store named ``epoch`` is behind the reader."""

    epoch: str
    seq: int

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """``"<epoch>:<seq>"`` → Cursor; Invalid for anything else."""
        found = _CURSOR.fullmatch(text)
        if found is None:
            message = "a cursor is <epoch>:<number>, as a server gave it"
            raise Invalid(f"{text[:80]!r} is not a cursor: {message}.", errors=(Fault("since", message),))
        return cls(found[1], int(found[2]))

    def format(self) -> str:
        """The text that ``parse`` reads."""
        return f"{self.epoch}:{self.seq}"


Words = str | list[str]
"""One value, several in a list, or several with commas between them."""


class Frame(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", forbid_unknown_fields=True):
    """What every client frame may carry: ``id`` comes back as ``requestId`` or names the subscription."""

    id: str | int | None = None


class Auth(Frame, tag="auth", frozen=True):
    """The first frame of a client that could not set a header."""

    token: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What a subscription asks for; the same words as the query string of ``/ws``."""

    topics: Words | None = None
    job_ids: Words | None = None
    job: Words | None = None
    name: Words | None = None
    type: Words | None = None
    owner: Words | None = None
    status: Words | None = None
    q: str | None = None
    level: str | None = None
    words: str | None = None
    types: Words | None = None
    since: str | None = None


class Subscribe(Frame, tag="subscribe", frozen=True):
    """Follow something: by ``data``, or by the short form ``channel: "job:<id or owner>"``."""

    channel: str | None = None
    data: Wanted | None = None


class Unsubscribe(Frame, tag="unsubscribe", frozen=True):
    """Stop following the subscription ``id`` (or the one made with ``channel``)."""

    channel: str | None = None


class Ping(Frame, tag="ping", frozen=True):
    """Answered by ``pong``."""

    data: Any = None


ClientFrame = Auth | Subscribe | Unsubscribe | Ping

_FRAMES: dict[str, type[ClientFrame]] = {
    "auth": Auth,
    "subscribe": Subscribe,
    "unsubscribe": Unsubscribe,
    "ping": Ping,
}


def parse_frame(text: str | bytes) -> ClientFrame:
    """A client's text message → its frame.

    Malformed when it is no JSON object; Invalid, with the path and the nearest known word, when it is one that
    says nothing we know.
    """
    try:
        raw = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"This message is not JSON: {error}.") from error
    if not isinstance(raw, dict):
        raise Malformed('A message is a JSON object with a "type", such as {"type": "ping"}.')
    frame = _frame_type(raw.get("type"))
    _check_keys(raw, frame, "")
    if frame is Subscribe and isinstance(raw.get("data"), dict):
        _check_keys(raw["data"], Wanted, "data.")
    try:
        return msgspec.convert(raw, frame)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        fault = Fault(path.rstrip("`"), message)
        raise Invalid(
            sentence(f"This {raw['type']} message is wrong at {fault.path or 'its top'}: {message}"), errors=(fault,)
        ) from error


def wanted_from_query(query: dict[str, list[str]]) -> Wanted:
    """The subscription of a query string (``batch`` left out by the caller); Invalid names a word it does not know."""
    _check_keys(query, Wanted, "")
    single = ("q", "level", "words", "since")
    values: dict[str, Any] = {key: given[-1] if key in single else given for key, given in query.items()}
    return msgspec.convert(values, Wanted)


def split(words: Words | None) -> tuple[str, ...]:
    """The values of a parameter, in order, each once."""
    given = [words] if isinstance(words, str) else words or []
    parts = (part.strip() for value in given for part in value.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def _frame_type(word: Any) -> type[ClientFrame]:
    frame = _FRAMES.get(word) if isinstance(word, str) else None
    if frame is None:
        known = ", ".join(_FRAMES)
        hint = nearest(word, _FRAMES) if isinstance(word, str) else None
        message = f"a client's message is one of {known}" + (f"; did you mean {hint}?" if hint else "")
        raise Invalid(
            sentence(f"There is no message type {str(word)[:80]!r}: {message}"), errors=(Fault("type", message),)
        )
    return frame


def _check_keys(given: dict[str, Any], shape: type[msgspec.Struct], prefix: str) -> None:
    known = [*shape.__struct_encode_fields__, *(["type"] if issubclass(shape, Frame) else [])]
    faults = []
    for key in given:
        if key not in known:
            hint = nearest(key, known)
            faults.append(
                Fault(
                    f"{prefix}{key[:80]}",
                    f"unknown key; did you mean {hint}?" if hint else f"unknown key; known are {', '.join(known)}",
                )
            )
    if faults:
        raise Invalid("; ".join(f"{fault.path}: {fault.message}" for fault in faults[:5]), errors=tuple(faults))
