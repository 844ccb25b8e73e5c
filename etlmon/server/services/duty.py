"""A background duty's frame: every service has a name, an interval and ``run_once(now)``; this runs it and keeps
what came of it. A duty that fails is tried again at its next turn, and says so in health and in the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from etlmon.core.errors import EtlmonError
from etlmon.core.instants import format_optional

logger = logging.getLogger(__name__)

FAILURES_TO_TELL = 3
"""A duty that fails so often in a row is told of in health: once may be a store that is busy."""


class Service(Protocol):
    """What a duty is: ``run_once`` does one turn and returns how many things it did."""

    name: str
    interval_s: float

    async def run_once(self, now: int) -> int:
        """One turn at the instant ``now``."""


class Duty:
    """One service, run until cancelled."""

    def __init__(self, service: Service, now: Callable[[], int]) -> None:
        self.service = service
        self._now = now
        self.n_runs = 0
        self.n_done = 0
        self.n_failed_in_a_row = 0
        self.last_run_at: int | None = None
        self.last_error: str | None = None

    @property
    def health(self) -> str:
        """``ok``, or what goes wrong."""
        return "ok" if self.n_failed_in_a_row < FAILURES_TO_TELL else self.last_error or "it fails"

    def state(self) -> dict[str, Any]:
        """What an operator may want to know of it."""
        return {
            "state": self.health,
            "runs": self.n_runs,
            "done": self.n_done,
            "lastRunAt": format_optional(self.last_run_at),
            "lastError": self.last_error,
        }

    async def run(self) -> None:
        """Turn after turn, with the service's interval between them."""
        while True:
            await asyncio.sleep(self.service.interval_s)
            await self.turn()

    async def turn(self) -> None:
        """One turn, and its outcome kept."""
        self.last_run_at = self._now()
        self.n_runs += 1
        try:
            self.n_done += await self.service.run_once(self.last_run_at)
        except EtlmonError as fault:
            self._fail(fault.detail)
            logger.warning("A duty could not do its turn", extra={"action": self.service.name, "why": fault.detail})
        except Exception as fault:
            self._fail(type(fault).__name__)
            logger.exception("A duty failed", extra={"action": self.service.name})
        else:
            self.n_failed_in_a_row = 0
            self.last_error = None

    def _fail(self, why: str) -> None:
        self.n_failed_in_a_row += 1
        self.last_error = why
