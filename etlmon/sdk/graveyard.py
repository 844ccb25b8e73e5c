"""Reports that a server will never take, kept in ``spool/dead/`` with the reason, for a person to look at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from etlmon.core.instants import format_instant
from etlmon.host.clock import now_ms

MAX_BYTES: Final = 8 * 1024 * 1024
"""When the file of a month has grown to this size, later refusals are no longer kept (they are still warned of)."""


def bury(directory: Path, payload: bytes, why: str) -> None:
    """Put one refused report down, one JSON object a line; without a word when the disk does not allow it."""
    at = format_instant(now_ms())
    line = msgspec.json.encode({"at": at, "why": why[:500], "report": payload.decode("utf-8", "replace")}) + b"\n"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        fd = os.open(directory / f"{at[:7]}.jsonl", flags, 0o600)
    except OSError:
        return
    try:
        if os.fstat(fd).st_size < MAX_BYTES:
            os.write(fd, line)
    except OSError:
        return
    finally:
        os.close(fd)
