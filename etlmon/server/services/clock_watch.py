"""What a duty that measures in wall time must know: that the clock jumped, or that the whole server stood still."""

from __future__ import annotations

from collections.abc import Callable

JUMP_MS = 5_000
"""A difference between wall and monotonic time beyond this is a jump of the clock (or a suspended machine)."""


class ClockWatch:
    """Looked at once in each turn."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._before: tuple[int, float] | None = None
        self.jump_ms = 0
        self.still_ms = 0

    def look(self, now: int) -> None:
        """Set ``jump_ms``, by which the wall clock moved against the monotonic one since the last look (0: it did not),
        and ``still_ms``, the monotonic time since then."""
        at = self._monotonic()
        self.jump_ms = self.still_ms = 0
        if self._before is not None:
            self.still_ms = round((at - self._before[1]) * 1000)
            jump = (now - self._before[0]) - self.still_ms
            self.jump_ms = jump if abs(jump) > JUMP_MS else 0
        self._before = (now, at)
