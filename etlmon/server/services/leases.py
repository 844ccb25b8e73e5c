"""Leases: jobs whose worker vanished are taken back, controls that nobody obeyed are settled. Dispatch judges; this
sees to it that no lease runs out for a reason of the server's own: a clock that jumped, a server that stood still.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from etlmon.server.services.clock_watch import ClockWatch

if TYPE_CHECKING:
    from etlmon.server.dispatch import Dispatch

logger = logging.getLogger(__name__)

STILL_MS = 5_000
"""A turn that comes so much too late: the server was stopped or starved, and nobody could renew."""


class Leases:
    """Looks once a second; nothing is read but leases that ran out."""

    name = "leases"
    interval_s = 1.0

    def __init__(self, dispatch: Dispatch, monotonic: Callable[[], float]) -> None:
        self._dispatch = dispatch
        self._watch = ClockWatch(monotonic)

    async def run_once(self, now: int) -> int:
        """How many jobs were taken back and controls settled."""
        self._watch.look(now)
        if self._watch.jump_ms:
            await self._dispatch.clock_jumped(self._watch.jump_ms)
        if self._watch.still_ms > self.interval_s * 1000 + STILL_MS:
            n = await self._dispatch.extend_leases(now)
            logger.warning("The server stood still: leases hold on", extra={"action": self.name, "leases": n})
        rescued = await self._dispatch.rescue(now)
        if rescued:
            logger.warning("Jobs were taken back from silent workers", extra={"action": self.name, "jobs": rescued})
        return rescued + await self._dispatch.settle_unobeyed(now)
