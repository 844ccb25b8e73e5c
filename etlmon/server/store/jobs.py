"""Jobs as rows: the body, which is the truth, and beside it the columns that filters and sorts need."""

from __future__ import annotations

import math
import sqlite3
from collections import OrderedDict
from typing import Any

import msgspec

from etlmon.core.filter_keys import fold, searched
from etlmon.core.job import FINAL, Job, Status

SEPARATOR = "\x1f"
"""Between the texts of the column ``words``."""
MAX_INTEGER = 2**63 - 1
MAX_FLOAT = 10**308
CACHED_JOBS = 4096
"""How many jobs the writer keeps decoded: all that are active in practice, and those that ended last."""

COLUMNS = (
    "id",
    "id_reversed",
    "seq",
    "final",
    "name",
    "type",
    "status",
    "owner",
    "host",
    "source",
    "reporter",
    "created_at",
    "updated_at",
    "started_at",
    "finished_at",
    "paused_at",
    "paused_ms",
    "duration_ms",
    "priority",
    "attempt",
    "progress",
    "rows",
    "failed",
    "rate",
    "outcome",
    "health",
    "step",
    "error",
    "kind",
    "fingerprint",
    "words",
)

INSERT = f"INSERT INTO job ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
"""A new job."""
PUT_BODY = "INSERT INTO job_body (key, body) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET body = excluded.body"
"""The whole of a job."""
FIND = "SELECT key, body FROM job JOIN job_body USING (key) WHERE id = ?"
"""One job by its id."""
ACTIVE_BODIES = "SELECT body FROM job CROSS JOIN job_body USING (key) WHERE final = 0 ORDER BY created_at, key"
"""Every job that is not over, oldest first."""
ADD_TAG = "INSERT OR IGNORE INTO job_tag (tag, value, created_at, key) VALUES (?, ?, ?, ?)"
"""One tag of a job."""
DROP_TAGS = "DELETE FROM job_tag WHERE key = ?"
"""All tags of a job."""
COUNT_STATUS = "INSERT INTO job_count (status, n) VALUES (?, ?) ON CONFLICT (status) DO UPDATE SET n = n + excluded.n"
"""Move the count of jobs in a status."""

_decoder = msgspec.json.Decoder(Job)
_encoder = msgspec.json.Encoder()


def decode(body: bytes) -> Job:
    """A job from its stored body."""
    return _decoder.decode(body)


def encode(job: Job) -> bytes:
    """The body to store. Raises for text or numbers that JSON cannot carry."""
    return _encoder.encode(job)


def columns_of(job: Job) -> tuple[Any, ...]:
    """What the columns hold for ``job``, in the order of ``COLUMNS``. Never raises for a job that ``encode`` took."""
    failure, metrics = job.failure, job.metrics
    error = None if failure is None else failure.message
    return (
        job.id,
        job.id[::-1],
        job.seq,
        int(job.status in FINAL),
        job.name,
        job.type,
        job.status.value,
        job.owner,
        job.host,
        job.source,
        job.reporter,
        job.created_at,
        job.updated_at,
        job.started_at,
        job.finished_at,
        job.paused_at,
        job.paused_ms,
        duration_of(job),
        _integer(job.priority),
        _integer(job.attempt),
        job.progress_percent,
        _number(metrics.get("recordsProcessed")),
        _number(metrics.get("recordsFailed")),
        _number(metrics.get("processingRate")),
        None if job.outcome is None else job.outcome.value,
        None if job.health is None else job.health.value,
        job.current_step,
        error,
        None if failure is None else failure.kind.value,
        None if failure is None else failure.fingerprint,
        words_of(job),
    )


def duration_of(job: Job) -> int | None:
    """How long a job that is over worked (ms); None while it is not, or when it never began."""
    return None if job.finished_at is None else job.execution_ms(job.finished_at)


def words_of(job: Job) -> str:
    """The texts that a bare word of a filter is looked for in, folded; SEPARATOR keeps a phrase from crossing them."""
    return fold(SEPARATOR.join(searched(job)))


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, int):
        return value if abs(value) <= MAX_INTEGER else float(max(-MAX_FLOAT, min(MAX_FLOAT, value)))
    return value if math.isfinite(value) else None


def _integer(value: int) -> int:
    return max(-MAX_INTEGER, min(MAX_INTEGER, value))


class Kept(msgspec.Struct, gc=False):
    """A job as committed, with its row's key and columns."""

    key: int
    job: Job
    columns: tuple[Any, ...]


class JobCache:
    """Committed jobs, most recently used last. Used by the writer's thread alone."""

    def __init__(self, connection: sqlite3.Connection, size: int = CACHED_JOBS) -> None:
        self._db = connection
        self._size = size
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def get(self, job_id: str) -> Kept | None:
        """The job as committed; None when there is none."""
        kept = self._kept.get(job_id)
        if kept is not None:
            self._kept.move_to_end(job_id)
            return kept
        row = self._db.execute(FIND, (job_id,)).fetchone()
        if row is None:
            return None
        job = decode(row[1])
        kept = Kept(row[0], job, columns_of(job))
        self.put(kept)
        return kept

    def put(self, kept: Kept) -> None:
        """Keep what was just committed or read."""
        self._kept[kept.job.id] = kept
        self._kept.move_to_end(kept.job.id)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def forget(self, job_id: str) -> None:
        """Read the job anew when it is asked for again."""
        self._kept.pop(job_id, None)


def write_job(db: sqlite3.Connection, before: Kept | None, job: Job, body: bytes) -> Kept:
    """Insert the job or update the columns that changed (an index is touched only when its column is named)."""
    columns = columns_of(job)
    if before is None:
        key = db.execute(INSERT, columns).lastrowid
        assert key is not None  # noqa: S101 - an insert into a rowid table always has one
    else:
        key = before.key
        changed = [n for n, (old, new) in enumerate(zip(before.columns, columns, strict=True)) if old != new]
        if changed:
            named = ", ".join(f"{COLUMNS[n]} = ?" for n in changed)
            db.execute(f"UPDATE job SET {named} WHERE key = ?", (*(columns[n] for n in changed), key))  # noqa: S608
    db.execute(PUT_BODY, (key, body))
    if before is None or before.job.tags != job.tags:
        _write_tags(db, key, job, had_tags=before is not None and bool(before.job.tags))
    return Kept(key, job, columns)


def _write_tags(db: sqlite3.Connection, key: int, job: Job, *, had_tags: bool) -> None:
    if had_tags:
        db.execute(DROP_TAGS, (key,))
    if job.tags:
        db.executemany(ADD_TAG, [(tag, value, job.created_at, key) for tag, value in job.tags.items()])


def count_moves(before: Job | None, after: Job, moves: dict[Status, int]) -> None:
    """Add to ``moves`` what the change does to the number of jobs in each status."""
    if before is not None and before.status is after.status:
        return
    if before is not None:
        moves[before.status] = moves.get(before.status, 0) - 1
    moves[after.status] = moves.get(after.status, 0) + 1
