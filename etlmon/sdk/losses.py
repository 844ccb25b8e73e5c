"""What was given up, counted per job, until a ``gap`` report has told it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from etlmon.core.instants import format_instant

MAX_JOBS: Final = 1000
"""Beyond this many jobs at once, the counts of the rest are put together under the last."""


class _Tally(msgspec.Struct):
    n: int
    first_at: str
    last_at: str


class Subject(msgspec.Struct, frozen=True, rename="camel"):
    """Of a stored report, what it takes to count its loss."""

    job_id: str = ""
    at: str = ""


_SUBJECT = msgspec.json.Decoder(Subject)


def subject_of(payload: bytes) -> Subject:
    """Whose report ``payload`` is and when it was made; empty texts when it cannot be read."""
    try:
        return _SUBJECT.decode(payload)
    except msgspec.DecodeError:
        return Subject()


class Losses:
    """Counts of dropped reports by job. Used by one thread at a time: its owner sees to it."""

    def __init__(self) -> None:
        self.total = 0
        self._tallies: dict[str, _Tally] = {}

    def __bool__(self) -> bool:
        return bool(self._tallies)

    def add(self, job_id: str, at: str, n: int = 1) -> None:
        """Count ``n`` lost reports of ``job_id`` at the instant ``at`` (RFC 3339)."""
        self.total += n
        tally = self._tallies.get(job_id)
        if tally is None:
            if len(self._tallies) >= MAX_JOBS:
                tally = next(reversed(self._tallies.values()))
                tally.n += n
                return
            self._tallies[job_id] = _Tally(n, at, at)
            return
        tally.n += n
        tally.first_at = min(tally.first_at, at)
        tally.last_at = max(tally.last_at, at)

    def tell(self, put: Callable[[bytes], bool], now: int) -> None:
        """Hand a ``gap`` report for each job to ``put``; what it takes is told, the rest stays counted."""
        at = format_instant(now)
        for job_id, tally in list(self._tallies.items()):
            gap = {
                "kind": "gap",
                "jobId": job_id,
                "at": at,
                "dropped": tally.n,
                "from": tally.first_at or None,
                "to": tally.last_at or None,
            }
            if not job_id or put(msgspec.json.encode(gap)):
                del self._tallies[job_id]
