"""The spool's records on disk: a mark, a kind, a length and a CRC before each payload. Pure bytes, no files.

A record is whole or it is not there: whatever is torn or damaged is skipped, and the next whole record is found again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final
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
_pack: Final = HEAD.pack

Frame = tuple[int, bytes, int, int]
"""One whole record: its kind, its payload, and where it begins and ends in the bytes that were read."""


def pack_frame(kind: int, payload: bytes) -> bytes:
    """The bytes of one record. The CRC starts from the kind, so that a damaged kind is noticed as well."""
    return _pack(MARK, kind, len(payload), crc32(payload, kind)) + payload


def read_frames(data: bytes, start: int = 0) -> Iterator[Frame]:
    """Every whole record from ``start`` on, in order; damaged places are stepped over by looking for the next mark."""
    unpack, head, size = HEAD.unpack_from, HEAD.size, len(data)
    at = start
    while at >= 0:
        begin = at + head
        if begin <= size:
            mark, kind, length, crc = unpack(data, at)
            end = begin + length
            if mark == MARK and end <= size and kind <= STATE:
                payload = data[begin:end]
                if crc32(payload, kind) == crc:
                    yield kind, payload, at, end
                    at = end
                    continue
        at = data.find(_MARK_BYTES, at + 1)
