"""What a filter may ask of a job: every key, its type, and how it is read. The SQL compiler reads the same table.

Text compares without regard to ASCII case (``fold``), as SQLite's LIKE does, so that predicate and SQL agree.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec

from etlmon.core.durations import exact_duration, parse_duration
from etlmon.core.instants import MAX_MS, format_instant, parse_instant
from etlmon.core.job import FailureKind, Health, Job, Outcome, Status
from etlmon.core.text import hint

MAX_STARS = 16
"""Globs of more pieces than this are refused: nobody writes them, and SQLite pays for each."""

_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,6})?")


class Glob(msgspec.Struct, frozen=True):
    """A folded text with ``*`` between its pieces: ``("orders_", "")`` is ``orders_*``; one piece is a literal."""

    pieces: tuple[str, ...]

    @property
    def literal(self) -> str | None:
        """The text itself when there is no ``*`` in it."""
        return self.pieces[0] if len(self.pieces) == 1 else None


class Age(msgspec.Struct, frozen=True):
    """So many milliseconds before the instant at which the filter is asked."""

    ms: int


Value = Glob | Age | str | int | float
"""What a Term compares with: by its key's type a Glob, an enum's word, a number, milliseconds, an Age or an instant."""


class FieldType(StrEnum):
    """How a key's values are written and compared."""

    TEXT = "text"
    """The whole text equals the value, or the glob fits it."""
    MESSAGE = "message"
    """The value is found anywhere in the text; a glob is found anywhere as well."""
    ENUM = "enum"
    """One of the key's ``words``."""
    NUMBER = "number"
    DURATION = "duration"
    """Milliseconds; grows while the job runs."""
    INSTANT = "instant"
    """Only compared: with an age (older ``>``, younger ``<``) or a timestamp (after ``>``, before ``<``)."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key: ``read`` gives its value in a job at an instant, or None. ``sampled``: a sample can change it."""

    name: str
    type: FieldType
    read: Callable[[Job, int], Any]
    words: tuple[str, ...] = ()
    sampled: bool = False


def fold(text: str) -> str:
    """Lower case for ASCII letters alone."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def metric(job: Job, name: str) -> int | float | None:
    """A metric as a number; None when it is absent or something else (a bool, a text)."""
    value = job.metrics.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _words(enum: type[StrEnum]) -> tuple[str, ...]:
    return tuple(each.value for each in enum)


def _text(name: str, read: Callable[[Job, int], str | None], *, sampled: bool = False) -> Key:
    return Key(name=name, type=FieldType.TEXT, read=read, sampled=sampled)


def _enum(name: str, enum: type[StrEnum], read: Callable[[Job, int], str | None], *, sampled: bool = False) -> Key:
    return Key(name=name, type=FieldType.ENUM, read=read, words=_words(enum), sampled=sampled)


def _number(name: str, read: Callable[[Job, int], int | float | None], *, sampled: bool = False) -> Key:
    return Key(name=name, type=FieldType.NUMBER, read=read, sampled=sampled)


def _instant(name: str, read: Callable[[Job, int], int | None]) -> Key:
    return Key(name=name, type=FieldType.INSTANT, read=read)


KEYS: dict[str, Key] = {
    key.name: key
    for key in (
        _enum("status", Status, lambda job, now: job.status),
        _text("type", lambda job, now: job.type),
        _text("name", lambda job, now: job.name),
        _text("owner", lambda job, now: job.owner),
        _text("host", lambda job, now: job.host),
        _text("source", lambda job, now: job.source),
        _text("id", lambda job, now: job.id),
        Key(name="error", type=FieldType.MESSAGE, read=lambda job, now: job.failure.message if job.failure else None),
        _enum("kind", FailureKind, lambda job, now: job.failure.kind if job.failure else None),
        _text("fingerprint", lambda job, now: job.failure.fingerprint if job.failure else None),
        _text("step", lambda job, now: job.current_step, sampled=True),
        _number("priority", lambda job, now: job.priority),
        _number("attempt", lambda job, now: job.attempt),
        Key(name="duration", type=FieldType.DURATION, read=lambda job, now: job.execution_ms(now)),
        _number("progress", lambda job, now: job.progress_percent, sampled=True),
        _number("rows", lambda job, now: metric(job, "recordsProcessed"), sampled=True),
        _number("failed", lambda job, now: metric(job, "recordsFailed"), sampled=True),
        _number("rate", lambda job, now: metric(job, "processingRate"), sampled=True),
        _instant("created", lambda job, now: job.created_at),
        _instant("started", lambda job, now: job.started_at),
        _instant("finished", lambda job, now: job.finished_at),
        _enum("health", Health, lambda job, now: job.health, sampled=True),
        _enum("outcome", Outcome, lambda job, now: job.outcome),
    )
}
"""Every key but ``tag.<key>``, which is TEXT read from ``job.tags`` (the tag's key in its exact case)."""


def searched(job: Job) -> list[str]:
    """The texts that a bare word is looked for in: name, step, error, and the keys and values of tags."""
    texts = [job.name]
    if job.current_step is not None:
        texts.append(job.current_step)
    if job.failure is not None:
        texts.append(job.failure.message)
    for tag, value in job.tags.items():
        texts += (tag, value)
    return texts


def glob_of(pieces: list[str], *, normal: bool) -> Glob:
    """A Glob of raw ``pieces``; ``normal`` for what is kept in NFC (names, owners, tags). ValueError if too many."""
    inner = [piece for piece in pieces[1:-1] if piece]
    kept = [pieces[0], *inner, pieces[-1]] if len(pieces) > 1 else pieces
    if len(kept) > MAX_STARS + 1:
        raise ValueError(f"more than {MAX_STARS} '*' in one value")
    return Glob(tuple(fold(unicodedata.normalize("NFC", piece) if normal else piece) for piece in kept))


def fits(glob: Glob, folded: str) -> bool:
    """Whether the glob covers the whole of an already folded text. Linear: each piece is taken where it comes first."""
    pieces = glob.pieces
    if len(pieces) == 1:
        return folded == pieces[0]
    first, last = pieces[0], pieces[-1]
    end = len(folded) - len(last)
    at = len(first)
    if at > end or not folded.startswith(first) or not folded.endswith(last):
        return False
    for piece in pieces[1:-1]:
        at = folded.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True


def read_value(key: Key, pieces: list[str]) -> tuple[Value, ...]:
    """The typed values of one written value (its text split at ``*``); ValueError says what is wrong with it.

    One for every type but an enum, where a glob stands for all the words that it fits.
    """
    text = "*".join(pieces)
    match key.type:
        case FieldType.TEXT:
            return (glob_of(pieces, normal=True),)
        case FieldType.MESSAGE:
            return (glob_of(pieces, normal=False),)
        case FieldType.ENUM:
            return _read_words(key, pieces, text)
        case FieldType.NUMBER:
            return (_read_number(key, text),)
        case FieldType.DURATION:
            return (parse_duration(text),)
        case FieldType.INSTANT:
            return (_read_age_or_instant(text),)


def _read_words(key: Key, pieces: list[str], text: str) -> tuple[str, ...]:
    glob = glob_of(pieces, normal=True)
    found = tuple(word for word in key.words if fits(glob, word))
    if not found:
        raise ValueError(f"'{text[:40]}' is not a {key.name}{hint(text, key.words)} (one of {', '.join(key.words)})")
    return found


def _read_number(key: Key, text: str) -> int | float:
    bare = text.removesuffix("%") if key.name == "progress" else text
    if not _NUMBER.fullmatch(bare):
        raise ValueError(f"'{text[:40]}' is not a number")
    value = float(bare)
    return int(value) if value.is_integer() else value


def _read_age_or_instant(text: str) -> Age | int:
    try:
        return Age(parse_duration(text))
    except ValueError:
        pass
    try:
        return min(max(0, parse_instant(text)), MAX_MS)
    except (ValueError, OverflowError) as fault:
        zone = str(fault) if "time zone" in str(fault) else "write 24h, 2026-01-31 or 2026-01-31T08:00:00Z"
        raise ValueError(f"'{text[:40]}' is neither an age nor a timestamp: {zone}") from None


def write_value(key: Key, value: Value) -> str:
    """The text of a typed value, as the grammar reads it; Globs are the grammar's own matter."""
    match value:
        case Age():
            return exact_duration(value.ms)
        case int() if key.type is FieldType.INSTANT:
            return format_instant(value)
        case int() if key.type is FieldType.DURATION:
            return exact_duration(value)
        case float():
            return f"{value:.6f}".rstrip("0").rstrip(".")
        case _:
            return str(value)
