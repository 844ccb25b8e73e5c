"""Opaque cursors: a place in one query's order, bound to that query, so that another's or a tampered one is refused."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TypeVar

import msgspec

from etlmon.core.errors import Malformed

T = TypeVar("T")
_DIGEST_BYTES = 8


def write_cursor(query: str, place: object) -> str:
    """The cursor of a place (anything that msgspec encodes) in ``query`` (any text that tells queries apart)."""
    body = msgspec.json.encode(place)
    return urlsafe_b64encode(_digest(query, body) + body).rstrip(b"=").decode()


def read_cursor(query: str, cursor: str, type: type[T]) -> T:
    """The place; Malformed when the cursor was tampered with or belongs to another query."""
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        if digest != _digest(query, body) or write_cursor_text(raw) != cursor:
            raise ValueError
        return msgspec.json.decode(body, type=type)
    except (ValueError, msgspec.DecodeError):
        raise Malformed(
            "The cursor is not one that this query gave: leave it out to begin at the first page."
        ) from None


def write_cursor_text(raw: bytes) -> str:
    """The one text of a cursor's bytes (base64 has several that decode alike)."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _digest(query: str, body: bytes) -> bytes:
    return hashlib.blake2b(query.encode("utf-8", "replace") + b"\0" + body, digest_size=_DIGEST_BYTES).digest()
