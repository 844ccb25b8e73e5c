"""Ids: UUIDv7 (RFC 9562) from an instant and random bytes that the caller gives, so that core keeps no clock."""

from __future__ import annotations

import re

JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
"""What an agent may choose as a job id: UUIDv7 by custom, any short plain word by tolerance."""


def uuid7(at_ms: int, random: bytes) -> str:
    """The UUIDv7 of ``at_ms`` (milliseconds since the epoch) and 10 random bytes, in canonical text."""
    raw = bytearray(at_ms.to_bytes(6, "big") + random[:10])
    raw[6] = (raw[6] & 0x0F) | 0x70
    raw[8] = (raw[8] & 0x3F) | 0x80
    text = raw.hex()  # the uuid module would cost every command 8 ms to import
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_job_id(text: str) -> bool:
    """Whether an agent may use ``text`` as a job id."""
    return JOB_ID.fullmatch(text) is not None


def short_id(text: str) -> str:
    """The end of a UUID (its random part), the whole of any other id: short, and still to be told from others."""
    return text[-8:] if len(text) == 36 and text.count("-") == 4 else text
