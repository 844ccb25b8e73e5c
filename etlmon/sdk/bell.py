"""A bell that one thread waits for and anyone may ring, also from a signal handler in the middle of another ring.

``threading.Event`` cannot do that: its ``set`` takes a lock, and a handler that interrupts it there waits for ever.
"""

from __future__ import annotations

import threading


class Bell:
    """Remembers one ring until it is waited for."""

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        """Wake the one who waits, or who will wait next."""
        if self._silence.locked():
            try:
                self._silence.release()
            except RuntimeError:  # somebody else rang between these two lines
                return

    def wait(self, timeout_s: float) -> bool:
        """Wait for a ring, at most ``timeout_s``; whether there was one."""
        return self._silence.acquire(timeout=max(0.0, timeout_s))
