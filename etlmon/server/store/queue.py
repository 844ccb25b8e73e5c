"""The queue as rows: who may be claimed in which order, under which lease; and what stands around it. The jobs are the
truth: a job's row here follows from the job, but for its lease, and is written in the same transaction.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from etlmon.core.job import Job, Record, Status
from etlmon.server.store.readers import Readers

READY, LATER, BLOCKED, CLAIMED = 0, 1, 2, 3
"""The states of a row."""

ADD = """
INSERT INTO queue (job_id, queue, state, priority, due_at, dedup_key, token, worker) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
"""A job that enters the queue."""
MOVE = """
UPDATE queue SET queue = ?, state = ?, priority = ?, due_at = ?, dedup_key = ?, token = ?, worker = ? WHERE job_id = ?
"""
"""A job that moves within it."""
DROP = "DELETE FROM queue WHERE job_id = ?"
"""A job that is over."""
RIPEN = "UPDATE queue SET state = 0 WHERE state = 1 AND due_at <= ?"
"""Jobs whose time has come."""
CLAIMABLE = """
SELECT job_id, priority, due_at FROM queue WHERE state = 0 AND queue = ? ORDER BY priority DESC, due_at LIMIT ?
"""
"""The next jobs of a queue."""
NEXT_DUE = "SELECT min(due_at) FROM queue WHERE state = 1"
"""When the next job's time comes."""
LEASE = "UPDATE queue SET lease_until = ? WHERE job_id = ?"
"""A claim's lease."""
RENEW = "UPDATE queue SET lease_until = ? WHERE job_id = ? AND token = ? AND state = 3"
"""The same while its token holds."""
EXPIRED = "SELECT job_id FROM queue WHERE state = 3 AND lease_until < ? ORDER BY lease_until LIMIT ?"
"""Claims whose lease ran out."""
EXTEND = "UPDATE queue SET lease_until = max(lease_until, ?) WHERE state = 3"
"""One more period for every lease."""
SHIFT = "UPDATE queue SET lease_until = lease_until + ? WHERE state = 3"
"""The clock jumped: leases jump with it."""
DEPTHS = "SELECT queue, priority, count(*) FROM queue WHERE state < 3 GROUP BY 1, 2"
"""How many wait, by queue and priority."""
OF_DEDUP_KEY = "SELECT job_id FROM queue WHERE dedup_key = ?"
"""The live job of a dedupKey."""
ADD_AFTER = "INSERT OR IGNORE INTO queue_after (upstream, job_id) VALUES (?, ?)"
"""One job waits for another."""
AFTER = "SELECT job_id FROM queue_after WHERE upstream = ?"
"""Who waits for a job."""
DROP_AFTER = "DELETE FROM queue_after WHERE upstream = ?"
"""Nobody waits for it any more."""
PUT_WORK = "INSERT OR REPLACE INTO work (job_id, body) VALUES (?, ?)"
"""What a managed job is to do."""
WORK = "SELECT body FROM work WHERE job_id = ?"
"""The same, read."""
PAUSE = "INSERT OR REPLACE INTO queue_pause (queue, by, reason, at) VALUES (?, ?, ?, ?)"
"""A queue gives out nothing."""
RESUME = "DELETE FROM queue_pause WHERE queue = ?"
"""It does again."""
PAUSES = "SELECT queue, by, reason, at FROM queue_pause ORDER BY queue"
"""Every queue that is paused."""
PUT_WORKER = "INSERT OR REPLACE INTO worker (id, last_seen_at, body) VALUES (?, ?, ?)"
"""A worker was heard of."""
WORKER = "SELECT last_seen_at, body FROM worker WHERE id = ?"
"""One worker."""
TOUCH_WORKER = "UPDATE worker SET last_seen_at = ? WHERE id = ?"
"""A known worker was heard of."""
WORKERS = "SELECT last_seen_at, body FROM worker ORDER BY last_seen_at DESC, id LIMIT ?"
"""The workers heard of last."""
LEASES = "SELECT job_id, worker, lease_until FROM queue WHERE state = 3 ORDER BY lease_until"
"""Who holds what."""
PRUNE_WORKERS = "DELETE FROM worker WHERE last_seen_at < ?"
"""Workers silent for long."""
PUT_SCHEDULE = """
INSERT INTO schedule (name, spec, since) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET spec = excluded.spec, since = excluded.since WHERE spec <> excluded.spec
"""
"""A schedule as it is from now on."""
SCHEDULE_SINCE = "SELECT since FROM schedule WHERE name = ?"
"""Since when it is so."""
NEXT_EXPIRY = "SELECT min(lease_until) FROM queue WHERE state = 3"
"""When the next lease runs out."""
TAKE_SLOT = "INSERT OR IGNORE INTO slot (name, at, job_id) VALUES (?, ?, ?)"
"""A slot is started once."""
PRUNE_SLOTS = "DELETE FROM slot WHERE at < ?"
"""Slots long gone by."""
WAITING = "SELECT queue, state, priority, count(*), min(due_at) FROM queue WHERE state < 3 GROUP BY 1, 2, 3"
"""What waits, by queue, state and priority."""
RUNNING = "SELECT queue, count(*) FROM queue WHERE state = 3 GROUP BY 1"
"""What is claimed, by queue."""


class Spec(Record, frozen=True, kw_only=True):
    """What a worker is to do, whole. ``work_key`` names the directory that the job's attempts on a machine share."""

    type: str
    config: dict[str, Any] | None = None
    command: tuple[str, ...] = ()
    cwd: str | None = None
    env: dict[str, str] = msgspec.field(default_factory=dict)
    timeout_ms: int | None = None
    work_key: str = ""


class QueuePause(Record, frozen=True, kw_only=True):
    """A queue (or ``*``, all) that gives out nothing, by whom and why."""

    queue: str
    by: str | None
    reason: str | None
    at: int


class WorkerRow(Record, frozen=True, kw_only=True):
    """One worker process as it introduced itself."""

    id: str
    host: str | None = None
    pid: int | None = None
    version: str | None = None
    concurrency: int | None = None
    queues: tuple[str, ...] = ()
    first_seen_at: int = 0


class Lease(NamedTuple):
    """Who holds a job, and until when (an instant, ms)."""

    job_id: str
    worker: str
    until: int


class Waiting(NamedTuple):
    """How many jobs wait in a queue in one state at one priority, and the instant of the one that waits longest."""

    queue: str
    state: int
    priority: int
    n: int
    oldest_at: int


Place = tuple[str, int, int, int, str | None, int | None, str | None]
_specs = msgspec.json.Decoder(Spec)
_workers = msgspec.json.Decoder(WorkerRow)


def place_of(job: Job) -> Place | None:
    """Where the job stands in the queue; None when it is not in it."""
    if job.queue is None or job.is_final:
        return None
    if job.status is not Status.PENDING:
        state = CLAIMED
    elif job.waiting_for:
        state = BLOCKED
    else:
        state = READY if job.run_at is None else LATER
    due_at = job.created_at if job.run_at is None else job.run_at
    return (job.queue, state, job.priority, due_at, job.dedup_key, job.fencing_token, job.worker)


class QueueTable:
    """The queue as the running transaction sees it. ``guard`` is called before anything is written."""

    def __init__(self, connection: sqlite3.Connection, guard: Callable[[], None]) -> None:
        self._db = connection
        self._guard = guard
        self._depths: Counter[tuple[str, int]] | None = None

    def follow(self, before: Job | None, after: Job) -> None:
        """The job changed: so does its row, if its place is another."""
        old, new = None if before is None else place_of(before), place_of(after)
        if old == new:
            return
        if self._depths is not None:
            self._depths.subtract([(old[0], old[2])] if old is not None and old[1] != CLAIMED else [])
            self._depths.update([(new[0], new[2])] if new is not None and new[1] != CLAIMED else [])
        if new is None:
            self._write(DROP, (after.id,))
        elif old is None:
            self._write(ADD, (after.id, *new))
        else:
            self._write(MOVE, (*new, after.id))

    def _write(self, sql: str, parameters: Sequence[object]) -> int:
        self._guard()
        return self._db.execute(sql, parameters).rowcount

    def _column(self, sql: str, parameters: Sequence[object]) -> list[Any]:
        return [row[0] for row in self._db.execute(sql, parameters)]

    # Claims and leases.

    def claimable(self, queues: Iterable[str], limit: int, now: int) -> list[str]:
        """The next jobs of these queues: highest priority first, then whoever waits longest."""
        due = self.next_due()
        if due is not None and due <= now:
            self._write(RIPEN, (now,))
        paused = {pause.queue for pause in self.pauses()}
        if "*" in paused:
            return []
        rows = [row for queue in queues if queue not in paused for row in self._db.execute(CLAIMABLE, (queue, limit))]
        return [job_id for job_id, _, _ in sorted(rows, key=lambda row: (-row[1], row[2], row[0]))[:limit]]

    def next_due(self) -> int | None:
        """When the next waiting job's time comes."""
        due: int | None = self._db.execute(NEXT_DUE).fetchone()[0]
        return due

    def lease(self, job_id: str, until: int) -> None:
        """The job was claimed until then."""
        self._write(LEASE, (until, job_id))

    def renew(self, job_id: str, token: int, until: int) -> bool:
        """Go on holding a job; False when the claim does not hold."""
        return self._write(RENEW, (until, job_id, token)) == 1

    def expired(self, now: int, limit: int) -> list[str]:
        """Jobs whose lease ran out, the longest gone first."""
        return self._column(EXPIRED, (now, limit))

    def extend_leases(self, until: int) -> int:
        """Every lease holds at least until then; how many there are."""
        return self._write(EXTEND, (until,))

    def shift_leases(self, by_ms: int) -> int:
        """Every lease holds so much longer (shorter, if negative); how many there are."""
        return self._write(SHIFT, (by_ms,))

    # Submissions.

    def depth(self, *, queue: str | None = None, priority: int | None = None) -> int:
        """How many jobs wait: in one queue, at a priority or above, or in all."""
        if self._depths is None:
            self._depths = Counter({(name, level): n for name, level, n in self._db.execute(DEPTHS)})
        return sum(
            n
            for (name, level), n in self._depths.items()
            if (queue is None or name == queue) and (priority is None or level >= priority)
        )

    def forget(self) -> None:
        """What was counted is undone: count anew when asked."""
        self._depths = None

    def live_of(self, dedup_key: str) -> str | None:
        """The live job of a dedupKey."""
        return next(iter(self._column(OF_DEDUP_KEY, (dedup_key,))), None)

    def put_work(self, job_id: str, spec: Spec) -> None:
        """Keep what the job is to do."""
        self._write(PUT_WORK, (job_id, msgspec.json.encode(spec)))

    def work(self, job_id: str) -> Spec | None:
        """What the job is to do; None when it is not a managed one."""
        found = self._column(WORK, (job_id,))
        return _specs.decode(found[0]) if found else None

    def wait_for(self, job_id: str, upstream: Iterable[str]) -> None:
        """The job waits for others."""
        for one in upstream:
            self._write(ADD_AFTER, (one, job_id))

    def take_waiting(self, upstream: str) -> list[str]:
        """Who waited for a job that is over; they no longer do."""
        found = self._column(AFTER, (upstream,))
        if found:
            self._write(DROP_AFTER, (upstream,))
        return found

    # Pauses, workers, slots.

    def pause(self, pause: QueuePause) -> None:
        """Let a queue give out nothing."""
        self._write(PAUSE, (pause.queue, pause.by, pause.reason, pause.at))

    def resume(self, queue: str) -> bool:
        """Let it give out jobs again; False when it was not paused."""
        return self._write(RESUME, (queue,)) == 1

    def pauses(self) -> list[QueuePause]:
        """Every queue that is paused."""
        return pauses_of(self._db.execute(PAUSES).fetchall())

    def put_worker(self, worker: WorkerRow, now: int) -> None:
        """A worker was heard of; when it was first is kept."""
        row = self._db.execute(WORKER, (worker.id,)).fetchone()
        first = now if row is None else _workers.decode(row[1]).first_seen_at
        self._write(
            PUT_WORKER, (worker.id, now, msgspec.json.encode(msgspec.structs.replace(worker, first_seen_at=first)))
        )

    def touch_worker(self, worker_id: str, now: int) -> None:
        """A known worker was heard of."""
        self._write(TOUCH_WORKER, (now, worker_id))

    def take_slot(self, name: str, at: int, job_id: str) -> bool:
        """A schedule's slot is started with this job; False when it was before."""
        return self._write(TAKE_SLOT, (name, at, job_id)) == 1

    def schedule_since(self, name: str, spec: str, now: int) -> int:
        """Since when a schedule is known as ``spec``: from now on, if it is new."""
        self._write(PUT_SCHEDULE, (name, spec, now))
        since: int = self._db.execute(SCHEDULE_SINCE, (name,)).fetchone()[0]
        return since

    def prune(self, before: int) -> int:
        """Forget workers and slots older than an instant; how many."""
        return self._write(PRUNE_WORKERS, (before,)) + self._write(PRUNE_SLOTS, (before,))


def pauses_of(rows: Iterable[tuple[Any, ...]]) -> list[QueuePause]:
    """Rows of ``PAUSES``."""
    return [QueuePause(queue=queue, by=by, reason=reason, at=at) for queue, by, reason, at in rows]


class QueueReads:
    """The queue as committed, for whoever asks."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def waiting(self) -> list[Waiting]:
        """What waits, by queue, state and priority."""
        return [Waiting(*row) for row in await self._readers.fetch(WAITING)]

    async def running(self) -> dict[str, int]:
        """How many jobs of each queue are claimed."""
        return dict(await self._readers.fetch(RUNNING))

    async def pauses(self) -> list[QueuePause]:
        """Every queue that is paused."""
        return pauses_of(await self._readers.fetch(PAUSES))

    async def workers(self, limit: int = 1000) -> list[tuple[WorkerRow, int]]:
        """The workers heard of last, and when that was."""
        return [(_workers.decode(body), at) for at, body in await self._readers.fetch(WORKERS, (limit,))]

    async def leases(self) -> list[Lease]:
        """Who holds what."""
        return [Lease(*row) for row in await self._readers.fetch(LEASES)]

    async def next_expiry(self) -> int | None:
        """When the next lease runs out."""
        expiry: int | None = (await self._readers.fetch(NEXT_EXPIRY))[0][0]
        return expiry
