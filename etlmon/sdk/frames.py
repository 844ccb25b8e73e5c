"""The spool's records on disk: a mark, a kind, a length and a CRC before each payload. Pure bytes, no files.

A record is whole or it is not there: whatever is torn or damaged is skipped, and the next whole record is found again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple
from zlib import crc32

LOG: Final = 0
"""A log line: the first to be given up."""
SAMPLE: Final = 1
"""Progress, metrics, heartbeat: only the newest matters."""
STATE: Final = 2
"""Everything else: never given up for want of room."""

MARK: Final = 0xE71A
_MARK_BYTES: Final = MARK.to_bytes(2, "little")
HEAD: Final = struct.Struct("<HBxII")
MAX_PAYLOAD: Final = 8 * 1024 * 1024
"""Longer lengths are damage, not records."""


class Frame(NamedTuple):
    """One whole record: where it begins and ends in the bytes that were read."""

    kind: int
    payload: bytes
    start: int
    end: int


def pack_frame(kind: int, payload: bytes) -> bytes:
    """The bytes of one record. The CRC starts from the kind, so that a damaged kind is noticed as well."""
    return HEAD.pack(MARK, kind, len(payload), crc32(payload, kind)) + payload


def _frame_at(data: bytes, at: int) -> Frame | None:
    if at + HEAD.size > len(data):
        return None
    mark, kind, length, crc = HEAD.unpack_from(data, at)
    end = at + HEAD.size + length
    if mark != MARK or kind > STATE or length > MAX_PAYLOAD or end > len(data):
        return None
    payload = data[at + HEAD.size : end]
    return Frame(kind, payload, at, end) if crc32(payload, kind) == crc else None


def read_frames(data: bytes, start: int = 0) -> Iterator[Frame]:
    """Every whole record from ``start`` on, in order; damaged places are stepped over by looking for the next mark."""
    at = start
    while at >= 0:
        frame = _frame_at(data, at)
        if frame is None:
            at = data.find(_MARK_BYTES, at + 1)
            continue
        yield frame
        at = frame.end
