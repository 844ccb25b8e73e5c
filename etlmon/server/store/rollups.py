"""Finished jobs by hour: counts, time and rows, with durations in logarithmic buckets, for percentiles without jobs.

Kept in the transaction that ends a job; a job that reopens is taken out again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from etlmon.core.job import Job
from etlmon.server.store.jobs import duration_of

HOUR_MS = 3_600_000
BUCKETS_PER_DOUBLING = 8
"""Neighbouring buckets differ by 9 %, so that a percentile read from one's middle is within 4.5 %."""

ADD = """
INSERT INTO finished (hour, name, type, owner, status, bucket, n, duration_ms, rows) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (hour, name, type, owner, status, bucket)
DO UPDATE SET n = n + excluded.n, duration_ms = duration_ms + excluded.duration_ms, rows = rows + excluded.rows
"""
"""Add finished jobs to (or take them out of) their hour."""

Row = tuple[int, str, str, str, str, int, int, int, int]


def bucket_of(duration_ms: int) -> int:
    """The bucket of a duration."""
    return int(math.log2(max(0, duration_ms) + 1) * BUCKETS_PER_DOUBLING)


def duration_in(bucket: int) -> int:
    """The duration in the middle of a bucket (ms)."""
    return round(2 ** ((bucket + 0.5) / BUCKETS_PER_DOUBLING) - 1)


def moves_of(before: Job | None, after: Job) -> list[Row]:
    """What a committed change does to the rollup: nothing, an end, an end taken back, or both."""
    old = _row(before, -1) if before is not None else None
    new = _row(after, 1)
    if old is not None and new is not None and old[:6] == new[:6] and (old[7], old[8]) == (-new[7], -new[8]):
        return []
    return [row for row in (old, new) if row is not None]


def _row(job: Job, sign: int) -> Row | None:
    if not job.is_final or job.finished_at is None:
        return None
    duration = duration_of(job) or 0
    rows = job.metrics.get("recordsProcessed")
    counted = int(min(rows, 2**53)) if isinstance(rows, (int, float)) and math.isfinite(rows) and rows > 0 else 0
    hour = job.finished_at // HOUR_MS
    owner, status = job.owner or "", job.status.value
    return (hour, job.name, job.type, owner, status, bucket_of(duration), sign, sign * duration, sign * counted)


def percentile(buckets: Iterable[tuple[int, int]], share: float) -> int | None:
    """The duration (ms) that ``share`` of the counted jobs did not exceed; ``buckets`` are (bucket, n), in order."""
    counted = [(bucket, n) for bucket, n in buckets if n > 0]
    wanted = share * sum(n for _, n in counted)
    passed = 0
    for bucket, n in counted:
        passed += n
        if passed >= wanted:
            return duration_in(bucket)
    return None
