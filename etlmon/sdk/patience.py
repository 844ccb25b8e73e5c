"""How long to wait before the next try: exponential with full jitter, so that agents do not all come back at once."""

from __future__ import annotations

import os
from typing import Final

FIRST_S: Final = 0.5
MOST_S: Final = 30.0
MOST_ASKED_S: Final = 300.0
"""A server's own Retry-After is honoured up to here."""
NOT_ALLOWED_S: Final = 60.0
"""A token that was refused is tried again at most once a minute."""


def dice() -> float:
    """A number from 0 to 1, without the ``random`` module: a heavy import, and its state is the program's."""
    return int.from_bytes(os.urandom(4), "big") / 0xFFFFFFFF


class Patience:
    """Counts failures in a row towards one server."""

    def __init__(self) -> None:
        self.failures = 0

    def success(self) -> None:
        """The server answered as it should: begin anew."""
        self.failures = 0

    def failure(self) -> float:
        """Seconds to wait after one more failure."""
        self.failures += 1
        ceiling: float = min(MOST_S, FIRST_S * 2 ** min(self.failures - 1, 16))
        return ceiling * dice()

    def asked(self, retry_after_s: float | None) -> float:
        """Seconds to wait when the server is busy and may have said for how long."""
        own = self.failure()
        if retry_after_s is None or retry_after_s <= 0:
            return own
        return min(retry_after_s, MOST_ASKED_S) * (1 + 0.1 * dice())
