"""What finished runs of a name looked like, from its last completed ones."""

from __future__ import annotations

import sqlite3

from etlmon.core.job import Past

RUNS = 20
CACHED = 4096
LAST_RUNS = """
SELECT duration_ms, rows FROM job
WHERE name = ?1 AND name = ?1 COLLATE BINARY AND status = 'completed' AND finished_at IS NOT NULL
ORDER BY finished_at DESC LIMIT ?2
"""
"""The durations and row counts of the last completed runs of a name."""


def past_of(rows: list[tuple[int | None, int | float | None]]) -> Past | None:
    """The quartiles of the runs' durations, and the median of their records per second."""
    durations = sorted(duration for duration, _ in rows if duration is not None)
    if not durations:
        return None
    rates = sorted(
        count * 1000 / duration
        for duration, count in rows
        if duration and isinstance(count, (int, float)) and count > 0
    )
    return Past(
        runs=len(durations),
        p25_ms=_ranked(durations, 0.25),
        p50_ms=_ranked(durations, 0.5),
        p90_ms=_ranked(durations, 0.9),
        rate=rates[len(rates) // 2] if rates else None,
    )


def _ranked(durations: list[int], share: float) -> int:
    return durations[min(len(durations) - 1, int(share * len(durations)))]


class PastCache:
    """Pasts by name, until a run of the name completes. Used by the writer's thread alone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._pasts: dict[str, Past | None] = {}

    def get(self, name: str) -> Past | None:
        """The past of a name; None when no run of it completed."""
        if name not in self._pasts:
            if len(self._pasts) >= CACHED:
                self._pasts.clear()
            self._pasts[name] = past_of(self._db.execute(LAST_RUNS, (name, RUNS)).fetchall())
        return self._pasts[name]

    def forget(self, name: str) -> None:
        """A run of the name completed."""
        self._pasts.pop(name, None)

    def clear(self) -> None:
        """Read all anew."""
        self._pasts.clear()
