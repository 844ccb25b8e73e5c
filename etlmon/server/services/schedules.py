"""Schedules: queues the job of each slot once, however often the server restarts or the clock is set. A slot that was
missed is started late, up to the definition's grace; definitions with ``start = false`` are somebody else's to start.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from etlmon.core.config import Definition
from etlmon.core.errors import EtlmonError
from etlmon.server.slots import next_slot, slots_between
from etlmon.server.submitting import Order, plan_of_definition

if TYPE_CHECKING:
    from etlmon.server.submitting import Submitting

logger = logging.getLogger(__name__)

BY = "schedule"
"""Who the journal says it was."""


class Schedules:
    """Looks once a second, and only at schedules whose next slot has come."""

    name = "schedules"
    interval_s = 1.0

    def __init__(self, submitting: Submitting, definitions: Mapping[str, Definition]) -> None:
        self._submitting = submitting
        self._scheduled = {name: each for name, each in definitions.items() if each.schedule and each.start}
        self._next: dict[str, int] = {}
        self._looked_at = 0

    async def run_once(self, now: int) -> int:
        """How many jobs were queued."""
        if now < self._looked_at:  # the clock was set back: what was next may be so no longer
            self._next.clear()
        self._looked_at = now
        started = 0
        for name, definition in self._scheduled.items():
            if now >= self._next.get(name, 0):
                started += await self._start_due(name, definition, now)
        return started

    async def _start_due(self, name: str, definition: Definition, now: int) -> int:
        schedule, zone = definition.schedule or "", definition.timezone
        since = await self._submitting.known_since(name, f"{schedule} {zone}", now)
        started = 0
        for slot in slots_between(schedule, zone, max(since, now - definition.grace - 1), now):
            try:
                job = await self._submitting.start_slot(name, slot, plan_of_definition(name, definition, Order()), BY)
            except EtlmonError as fault:
                why = fault.detail
                logger.warning("A slot was not started", extra={"action": self.name, "job": name, "why": why})
                return started  # it is tried again at the next turn, while its grace lasts
            if job is not None:
                started += 1
                logger.info("A slot was started", extra={"action": self.name, "job": name, "id": job.id})
        upcoming = next_slot(schedule, zone, now)
        self._next[name] = upcoming if upcoming is not None else 2**62
        return started
