"""The clock and the dice: the one place that reads them, so that everything else is given them."""

from __future__ import annotations

import os
import time

from etlmon.core.ids import uuid7


def now_ms() -> int:
    """The wall clock, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def monotonic_s() -> float:
    """Seconds on a clock that never jumps; only differences mean something."""
    return time.monotonic()


def new_id() -> str:
    """A fresh UUIDv7."""
    return uuid7(now_ms(), os.urandom(10))
