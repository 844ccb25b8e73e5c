"""The reaper: fails jobs whose agent fell silent or whose time ran out. It judges nothing itself: the recorder does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etlmon.server.recorder import Recorder

logger = logging.getLogger(__name__)

JUMP_MS = 5_000
"""A difference between wall and monotonic time beyond this is a jump of the clock (or a suspended machine)."""


class Reaper:
    """Looks once a second; nothing is scanned but the jobs under way."""

    name = "reaper"
    interval_s = 1.0

    def __init__(self, recorder: Recorder, monotonic: Callable[[], float]) -> None:
        self._recorder = recorder
        self._monotonic = monotonic
        self._before: tuple[int, float] | None = None

    async def run_once(self, now: int) -> int:
        """How many jobs were ended."""
        self._notice_jump(now)
        n = await self._recorder.sweep(now)
        if n:
            logger.info("Jobs were ended for silence or time", extra={"action": self.name, "jobs": n})
        return n

    def _notice_jump(self, now: int) -> None:
        """Silence is measured in wall time: when the clock jumps, what was heard jumps with it."""
        at = self._monotonic()
        if self._before is not None:
            jump = (now - self._before[0]) - round((at - self._before[1]) * 1000)
            if abs(jump) > JUMP_MS:
                self._recorder.clock_jumped(jump)
                logger.warning("The clock jumped", extra={"action": "clock_jump", "ms": jump})
        self._before = (now, at)
