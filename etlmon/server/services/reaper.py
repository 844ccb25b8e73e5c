"""The reaper: fails jobs whose agent fell silent or whose time ran out. It judges nothing itself: the recorder does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from etlmon.server.services.clock_watch import ClockWatch

if TYPE_CHECKING:
    from etlmon.server.recorder import Recorder

logger = logging.getLogger(__name__)


class Reaper:
    """Looks once a second; nothing is scanned but the jobs under way."""

    name = "reaper"
    interval_s = 1.0

    def __init__(self, recorder: Recorder, monotonic: Callable[[], float]) -> None:
        self._recorder = recorder
        self._watch = ClockWatch(monotonic)

    async def run_once(self, now: int) -> int:
        """How many jobs were ended."""
        self._notice_jump(now)
        n = await self._recorder.sweep(now)
        if n:
            logger.info("Jobs were ended for silence or time", extra={"action": self.name, "jobs": n})
        return n

    def _notice_jump(self, now: int) -> None:
        """Silence is measured in wall time: when the clock jumps, what was heard jumps with it."""
        self._watch.look(now)
        if self._watch.jump_ms:
            self._recorder.clock_jumped(self._watch.jump_ms)
            logger.warning("The clock jumped", extra={"action": "clock_jump", "ms": self._watch.jump_ms})
