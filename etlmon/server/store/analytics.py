"""What finished jobs say together: read from the hourly rollups, and failures from the jobs themselves.

Windows are in whole hours, as the rollups are. Nothing here is exact to the millisecond but the causes of failure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from etlmon.core.job import Status
from etlmon.server.store.readers import Readers
from etlmon.server.store.rollups import HOUR_MS, percentile

FLAKY_RUNS = 500_000
"""Finished jobs that one look for flakiness may go through."""

GroupBy = Literal["hour", "day", "name", "type", "none"]
_KEYS = {"hour": "hour", "day": "hour / 24", "name": "name", "type": "type", "none": "0"}

FAILURES = """
SELECT coalesce(fingerprint, kind || ': ' || substr(error, 1, 200)) AS cause, max(fingerprint), max(kind),
    count(*) AS n, min(finished_at), max(finished_at), max(key), count(DISTINCT name)
FROM job INDEXED BY job_ended_status
WHERE status = 'failed' AND finished_at >= ? AND finished_at < ?{narrowed}
GROUP BY cause ORDER BY n DESC, 6 DESC LIMIT ?
"""
"""Failed jobs by cause, the most frequent first."""
BY_KEY = "SELECT key, id, name, error FROM job WHERE key IN ({marks})"
"""The newest job of each cause."""
FLAKY = """
SELECT name, count(*) AS runs, sum(failed), sum(failed <> before), max(finished_at) FROM (
    SELECT name, finished_at, status = 'failed' AS failed,
        lag(status = 'failed', 1, status = 'failed') OVER (PARTITION BY name ORDER BY finished_at, key) AS before
    FROM (
        SELECT name, finished_at, status, key FROM job INDEXED BY job_by_finished
        WHERE finished_at >= ? AND finished_at < ? AND status IN ('completed', 'failed'){narrowed}
        ORDER BY finished_at DESC LIMIT ?
    )
) GROUP BY name HAVING runs > 1 AND sum(failed) > 0 ORDER BY 4 DESC, 3 DESC, name LIMIT ?
"""
"""Names whose runs change between success and failure, the most changeable first."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Which finished jobs: ``since`` ≤ end < ``until`` (ms), of these names, types and owners (empty: any)."""

    since: int
    until: int
    names: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()

    def narrowed(self) -> tuple[str, list[str]]:
        """The conditions beside the time, each after ``AND``, and their parameters."""
        sql, parameters = "", list[str]()
        for column, values in (("name", self.names), ("type", self.types), ("owner", self.owners)):
            if values:
                sql += f" AND {column} IN ({', '.join('?' * len(values))})"
                parameters += values
        return sql, parameters


class Tally:
    """Finished jobs of one group: how many by status, and of the completed ones time, rows and durations."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys((Status.COMPLETED.value, Status.FAILED.value, Status.CANCELLED.value), 0)
        self.rows = 0
        self._duration_ms = 0
        self._buckets: dict[int, int] = {}

    def add(self, status: str, bucket: int, n: int, duration_ms: int, rows: int) -> None:
        """Count one rollup row."""
        self.counts[status] = self.counts.get(status, 0) + n
        self.rows += rows
        if status == Status.COMPLETED.value:
            self._duration_ms += duration_ms
            self._buckets[bucket] = self._buckets.get(bucket, 0) + n

    @property
    def n(self) -> int:
        """How many jobs ended."""
        return sum(self.counts.values())

    @property
    def success_rate(self) -> float | None:
        """Completed among completed and failed; cancelled ones say nothing."""
        judged = self.counts["completed"] + self.counts["failed"]
        return round(self.counts["completed"] / judged, 4) if judged else None

    @property
    def mean_ms(self) -> int | None:
        """The mean duration of completed jobs."""
        n = self.counts["completed"]
        return round(self._duration_ms / n) if n else None

    def percentile_ms(self, share: float) -> int | None:
        """The duration that ``share`` of the completed jobs did not exceed, within 4.5 %."""
        return percentile(sorted(self._buckets.items()), share)


class FailureGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Failures of one cause; the names and the message are the newest job's."""

    cause: str
    fingerprint: str | None
    kind: str | None
    n: int
    first_at: int
    last_at: int
    last_job_id: str
    last_name: str
    message: str | None
    n_names: int


class FlakyName(msgspec.Struct, frozen=True, kw_only=True):
    """How often a name's runs changed between success and failure."""

    name: str
    runs: int
    failures: int
    changes: int
    last_at: int


class Analytics:
    """Questions over many finished jobs."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def tallies(self, window: Window, by: GroupBy) -> dict[str | int, Tally]:
        """A tally per group, in the order of the key (instants, ms, for hour and day)."""
        narrowed, parameters = window.narrowed()
        key = _KEYS[by]
        sql = (
            f"SELECT {key} AS grp, status, bucket, sum(n), sum(duration_ms), sum(rows) FROM finished "  # noqa: S608
            f"WHERE hour >= ? AND hour <= ?{narrowed} GROUP BY grp, status, bucket ORDER BY grp"
        )
        first, last = window.since // HOUR_MS, max(window.since, window.until - 1) // HOUR_MS
        found: dict[str | int, Tally] = {}
        scale = {"hour": HOUR_MS, "day": 24 * HOUR_MS}.get(by)
        for group, status, bucket, n, duration_ms, rows in await self._readers.fetch(sql, (first, last, *parameters)):
            tally = found.setdefault(group if scale is None else group * scale, Tally())
            tally.add(status, bucket, n, duration_ms, rows)
        return found

    async def failures(self, window: Window, limit: int) -> list[FailureGroup]:
        """Failed jobs by cause, the most frequent first."""
        narrowed, parameters = window.narrowed()
        rows = await self._readers.fetch(
            FAILURES.format(narrowed=narrowed), (window.since, window.until, *parameters, limit)
        )
        newest = await self._newest(row[6] for row in rows)
        return [
            FailureGroup(
                cause=cause or "unknown",
                fingerprint=fingerprint,
                kind=kind,
                n=n,
                first_at=first_at,
                last_at=last_at,
                last_job_id=newest[key][0],
                last_name=newest[key][1],
                message=newest[key][2],
                n_names=n_names,
            )
            for cause, fingerprint, kind, n, first_at, last_at, key, n_names in rows
            if key in newest
        ]

    async def _newest(self, keys: Iterable[int]) -> dict[int, tuple[str, str, str | None]]:
        wanted = list(keys)
        if not wanted:
            return {}
        rows = await self._readers.fetch(BY_KEY.format(marks=", ".join("?" * len(wanted))), wanted)
        return {key: (job_id, name, error) for key, job_id, name, error in rows}

    async def flaky(self, window: Window, limit: int) -> list[FlakyName]:
        """Names with failures among their runs, the most changeable first."""
        narrowed, parameters = window.narrowed()
        rows = await self._readers.fetch(
            FLAKY.format(narrowed=narrowed), (window.since, window.until, *parameters, FLAKY_RUNS, limit)
        )
        return [
            FlakyName(name=name, runs=runs, failures=failures, changes=changes, last_at=last_at)
            for name, runs, failures, changes, last_at in rows
        ]
