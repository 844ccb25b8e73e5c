"""Retention: what is older or larger than the configuration allows is removed, a slice at a time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etlmon.server.recorder import Recorder

logger = logging.getLogger(__name__)


class Retention:
    """Looks once a minute."""

    name = "retention"
    interval_s = 60.0

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def run_once(self, now: int) -> int:
        """How many rows and files were removed."""
        n = await self._recorder.prune(now)
        if n:
            logger.info("Old rows and files were removed", extra={"action": self.name, "removed": n})
        return n
