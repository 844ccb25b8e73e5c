"""Soundness: once a day the whole store is read for damage; what is found shows in health (facts: reliability F10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etlmon.server.store.store import Store

DAY_MS = 86_400_000


class Soundness:
    """Looks every hour whether a day has passed since the last reading (the start has its own)."""

    name = "soundness"
    interval_s = 3600.0

    def __init__(self, store: Store, started_at: int) -> None:
        self._store = store
        self._read_at = started_at

    async def run_once(self, now: int) -> int:
        """1 when the store was read."""
        if now - self._read_at < DAY_MS:
            return 0
        self._read_at = now
        await self._store.check()
        return 1
