"""Instants: integer milliseconds since the Unix epoch inside, RFC 3339 UTC with ``Z`` outside. No clock here."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
MAX_MS = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z, the last instant that RFC 3339 can write."""


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def format_instant(ms: int) -> str:
    """``1763865407123`` → ``2025-11-23T02:36:47.123Z``."""
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


def format_optional(ms: int | None) -> str | None:
    """As ``format_instant``; None stays None."""
    return None if ms is None else format_instant(ms)


def from_datetime(at: datetime) -> int:
    """The instant of an aware datetime, floored to milliseconds."""
    return (at - EPOCH) // MILLISECOND


def parse_instant(text: str) -> int:
    """An RFC 3339 timestamp (``Z`` or an offset; a bare date is its first UTC instant) → instant; else ValueError."""
    at = datetime.fromisoformat(text.strip())
    if at.tzinfo is None:
        if len(text.strip()) > 10:
            raise ValueError(f"{text!r} has no time zone: end it with Z or an offset such as +01:00")
        at = at.replace(tzinfo=UTC)
    return from_datetime(at)
