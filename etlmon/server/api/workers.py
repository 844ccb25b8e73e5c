"""The workers: who they are, what they hold, and when they were last heard of."""

from __future__ import annotations

from etlmon.core.access import READERS
from etlmon.core.instants import format_instant
from etlmon.core.job import Record
from etlmon.server.api.routes import Call, Route
from etlmon.server.store.queue import Lease, WorkerRow

SHOWN_MS = 3_600_000
"""A worker that holds nothing and was silent for longer than this is no longer listed."""


class RunningJob(Record, frozen=True):
    """A job that a worker holds, and until when."""

    job_id: str
    lease_until: str


class WorkerView(Record, frozen=True):
    """One worker process. ``status``: ``busy``, ``idle`` or ``silent`` (unheard of for a whole lease)."""

    id: str
    host: str | None
    pid: int | None
    version: str | None
    concurrency: int | None
    queues: tuple[str, ...]
    running: list[RunningJob]
    first_seen_at: str
    last_seen_at: str
    status: str


class WorkerList(Record, frozen=True):
    """Every worker that holds a job or was heard of within an hour, the one heard of last first."""

    items: list[WorkerView]
    next_cursor: str | None = None


async def list_workers(call: Call) -> WorkerList:
    """Workers with their leases."""
    store, now = call.context.store, call.received_at
    held: dict[str, list[Lease]] = {}
    for lease in await store.queue.leases():
        held.setdefault(lease.worker, []).append(lease)
    known = await store.queue.workers()
    shown = [pair for pair in known if pair[0].id in held or _seen_at(call, *pair) > now - SHOWN_MS]
    return WorkerList(items=[_view(call, row, at, held.get(row.id, [])) for row, at in shown])


def _seen_at(call: Call, row: WorkerRow, at: int) -> int:
    """A worker that waits for a job is heard of now."""
    return call.received_at if call.context.dispatch.connected[row.id] else at


def _view(call: Call, row: WorkerRow, at: int, leases: list[Lease]) -> WorkerView:
    seen_at = _seen_at(call, row, at)
    is_silent = call.received_at - seen_at > call.context.dispatch.settings.lease_ms
    return WorkerView(
        id=row.id,
        host=row.host,
        pid=row.pid,
        version=row.version,
        concurrency=row.concurrency,
        queues=row.queues,
        running=[RunningJob(job_id=lease.job_id, lease_until=format_instant(lease.until)) for lease in leases],
        first_seen_at=format_instant(row.first_seen_at),
        last_seen_at=format_instant(seen_at),
        status="silent" if is_silent else "busy" if leases else "idle",
    )


ROUTES = (
    Route(
        method="GET",
        path="/api/workers",
        handler=list_workers,
        roles=READERS,
        summary="Workers with their leases",
        answer=WorkerList,
        tag="queue",
    ),
)
