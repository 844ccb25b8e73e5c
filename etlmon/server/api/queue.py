"""The queue: how it stands, its pause; and for workers: claims, their leases, and giving back."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from etlmon.core.access import OPERATORS, READERS, REPORTERS
from etlmon.core.instants import format_instant, format_optional
from etlmon.core.job import Record
from etlmon.core.queue import DEFAULT_QUEUE, EVERY_QUEUE
from etlmon.core.text import clean_name
from etlmon.core.views import JobView, view
from etlmon.server.api.routes import Call, Context, Route
from etlmon.server.dispatch import Claimed, Held
from etlmon.server.store.queue import BLOCKED, LATER, READY, QueuePause, Spec, Waiting, WorkerRow

MAX_WAIT_MS = 60_000
MAX_CLAIM = 1000
QueueName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
WorkerId = Annotated[str, Meta(min_length=1, max_length=128)]
Text = Annotated[str, Meta(max_length=200)]


class PauseView(Record, frozen=True):
    """A queue that gives out nothing, by whom and why."""

    queue: str
    by: str | None
    reason: str | None
    at: str


class QueueStanding(Record, frozen=True):
    """How the queue of a submitted job stands; ``paused`` is null while it gives out jobs."""

    name: str
    depth: int
    paused: PauseView | None


class PriorityDepth(Record, frozen=True):
    """How many jobs wait at one priority."""

    priority: int
    depth: int


class QueueView(Record, frozen=True):
    """One queue: ``ready`` to be claimed, waiting for their time (``scheduled``) or for other jobs (``blocked``)."""

    name: str
    depth: int
    ready: int
    scheduled: int
    blocked: int
    running: int
    oldest_at: str | None
    oldest_ms: int | None
    priorities: list[PriorityDepth]
    paused: PauseView | None


class QueueOverview(Record, frozen=True):
    """All queues together, and each. ``paused`` holds every pause; ``*`` is one of all queues."""

    depth: int
    running: int
    oldest_at: str | None
    oldest_ms: int | None
    priorities: list[PriorityDepth]
    paused: list[PauseView]
    max_depth: int
    items: list[QueueView]


class PauseBody(Record, frozen=True, forbid_unknown_fields=True):
    """Which queue (all, unless named), and why."""

    queue: Annotated[str, Meta(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9_.-]{0,63})$")] = EVERY_QUEUE
    reason: Annotated[str, Meta(max_length=2000)] | None = None


class WorkerBody(Record, frozen=True, forbid_unknown_fields=True):
    """A worker process: ``id`` is new for each."""

    id: WorkerId
    host: Text | None = None
    pid: int | None = None
    version: Text | None = None
    concurrency: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    queues: Annotated[tuple[QueueName, ...], Meta(max_length=100)] = ()


class ClaimBody(Record, frozen=True, forbid_unknown_fields=True):
    """Who asks, from which queues, for how many at most, and how long to wait for the first."""

    worker: WorkerBody | WorkerId
    queues: Annotated[tuple[QueueName, ...], Meta(max_length=100)] = ()
    max: Annotated[int, Meta(ge=1, le=MAX_CLAIM)] = 1
    wait_ms: Annotated[int, Meta(ge=0, le=MAX_WAIT_MS)] = 0


class ClaimItem(Record, frozen=True):
    """A job given to the worker until its lease runs out; ``spec`` is what to do, whole."""

    job: JobView
    fencing_token: int
    lease_ms: int
    spec: Spec


class ClaimAnswer(Record, frozen=True):
    """What was claimed; empty when nothing came in time."""

    items: list[ClaimItem]


class LeaseBody(Record, frozen=True, forbid_unknown_fields=True):
    """One claim."""

    job_id: str
    fencing_token: int


class RenewBody(Record, frozen=True, forbid_unknown_fields=True):
    """A worker's claims; with ``waitMs`` the answer waits for news of them, once they are renewed."""

    worker: WorkerId
    leases: Annotated[list[LeaseBody], Meta(max_length=10_000)]
    wait_ms: Annotated[int, Meta(ge=0, le=MAX_WAIT_MS)] = 0


class LeaseCommand(Record, frozen=True):
    """What is asked of a job; after ``deadlineAt`` it is to be made to obey."""

    id: str
    job_id: str
    action: str
    reason: str | None
    by: str | None
    deadline_at: str | None


class RenewAnswer(Record, frozen=True):
    """The jobs whose claim no longer holds, and what is asked of the others, until a report names it."""

    lost: list[str]
    commands: list[LeaseCommand]


class ReleaseBody(Record, frozen=True, forbid_unknown_fields=True):
    """One claim that is given back, and why."""

    worker: WorkerId
    job_id: str
    fencing_token: int
    reason: Annotated[str, Meta(max_length=2000)] | None = None


async def get_queue(call: Call) -> QueueOverview:
    """Depth, the oldest, per priority, and what is paused by whom."""
    return await overview(call.context, call.received_at)


async def overview(context: Context, now: int) -> QueueOverview:
    """How the queues stand."""
    reads = context.store.queue
    waiting, running, pauses = await reads.waiting(), await reads.running(), await reads.pauses()
    names = sorted(
        {row.queue for row in waiting} | running.keys() | {p.queue for p in pauses if p.queue != EVERY_QUEUE}
    )
    oldest_at, oldest_ms = _oldest(waiting, now)
    return QueueOverview(
        depth=sum(row.n for row in waiting),
        running=sum(running.values()),
        oldest_at=oldest_at,
        oldest_ms=oldest_ms,
        priorities=_priorities(waiting),
        paused=[pause_view(pause) for pause in pauses],
        max_depth=context.config.queue.max_depth,
        items=[_queue_view(name, waiting, running.get(name, 0), pauses, now) for name in names or [DEFAULT_QUEUE]],
    )


def _queue_view(name: str, waiting: list[Waiting], running: int, pauses: list[QueuePause], now: int) -> QueueView:
    rows = [row for row in waiting if row.queue == name]
    by_state = {state: sum(row.n for row in rows if row.state == state) for state in (READY, LATER, BLOCKED)}
    oldest_at, oldest_ms = _oldest(rows, now)
    return QueueView(
        name=name,
        depth=sum(by_state.values()),
        ready=by_state[READY],
        scheduled=by_state[LATER],
        blocked=by_state[BLOCKED],
        running=running,
        oldest_at=oldest_at,
        oldest_ms=oldest_ms,
        priorities=_priorities(rows),
        paused=_pause_of(name, pauses),
    )


def _oldest(rows: list[Waiting], now: int) -> tuple[str | None, int | None]:
    """Since when the job has waited that waits longest, of those that nothing but a worker is missing to."""
    since = [row.oldest_at for row in rows if row.state != BLOCKED and row.oldest_at <= now]
    return (format_instant(min(since)), now - min(since)) if since else (None, None)


def _priorities(rows: list[Waiting]) -> list[PriorityDepth]:
    found: dict[int, int] = {}
    for row in rows:
        found[row.priority] = found.get(row.priority, 0) + row.n
    return [PriorityDepth(priority=priority, depth=found[priority]) for priority in sorted(found, reverse=True)]


def pause_view(pause: QueuePause) -> PauseView:
    """A pause as shown."""
    return PauseView(queue=pause.queue, by=pause.by, reason=pause.reason, at=format_instant(pause.at))


def _pause_of(name: str, pauses: list[QueuePause]) -> PauseView | None:
    found = [pause for pause in pauses if pause.queue in (name, EVERY_QUEUE)]
    return pause_view(found[0]) if found else None


def standing_of(name: str, depth: int, pauses: list[QueuePause]) -> QueueStanding:
    """How one queue stands."""
    return QueueStanding(name=name, depth=depth, paused=_pause_of(name, pauses))


async def pause(call: Call) -> QueueOverview:
    """Let a queue, or all, give out nothing until resumed."""
    await call.context.dispatch.pause(call.body.queue, call.body.reason, call.identity)
    return await overview(call.context, call.context.now())


async def resume(call: Call) -> QueueOverview:
    """Let a queue, or all, give out jobs again."""
    await call.context.dispatch.resume(call.body.queue, call.body.reason, call.identity)
    return await overview(call.context, call.context.now())


async def claim(call: Call) -> ClaimAnswer:
    """Give queued jobs to a worker, as soon as there are any; an empty list when the wait is over."""
    body: ClaimBody = call.body
    transport = call.request.transport

    def is_gone() -> bool:
        return transport is None or transport.is_closing()

    dispatch = call.context.dispatch
    found = await dispatch.claim(_worker(body), body.max, body.wait_ms, call.identity, is_gone)
    return ClaimAnswer(items=[_item(one, dispatch.settings.lease_ms, call.context.now()) for one in found])


def _worker(body: ClaimBody) -> WorkerRow:
    given = WorkerBody(id=body.worker) if isinstance(body.worker, str) else body.worker
    return WorkerRow(
        id=clean_name(given.id),
        host=None if given.host is None else clean_name(given.host),
        pid=given.pid,
        version=None if given.version is None else clean_name(given.version),
        concurrency=given.concurrency,
        queues=tuple(dict.fromkeys(body.queues or given.queues or (DEFAULT_QUEUE,))),
    )


def _item(one: Claimed, lease_ms: int, now: int) -> ClaimItem:
    token = one.job.fencing_token or 0
    return ClaimItem(job=view(one.job, now), fencing_token=token, lease_ms=lease_ms, spec=one.spec)


async def renew(call: Call) -> RenewAnswer:
    """Hold on to claims: which are lost, and what is asked of the others."""
    body: RenewBody = call.body
    held = [Held(lease.job_id, lease.fencing_token) for lease in body.leases]
    done = await call.context.dispatch.renew(clean_name(body.worker), held, body.wait_ms, call.identity)
    commands = [
        LeaseCommand(
            id=command.id,
            job_id=command.job_id,
            action=command.action,
            reason=command.reason,
            by=command.by,
            deadline_at=format_optional(command.deadline_at),
        )
        for command in done.commands
    ]
    return RenewAnswer(lost=done.lost, commands=commands)


async def release(call: Call) -> JobView:
    """Give a job back: pending at once, no try used up."""
    body: ReleaseBody = call.body
    job = await call.context.dispatch.release(Held(body.job_id, body.fencing_token), body.reason, call.identity)
    return view(job, call.context.now())


def _for_workers(path: str, handler: Any, summary: str, body: type, answer: Any) -> Route:
    deadline_s = MAX_WAIT_MS / 1000 + 10
    return Route(
        method="POST",
        path=f"/api/queue/{path}",
        handler=handler,
        roles=REPORTERS,
        summary=summary,
        body=body,
        answer=answer,
        deadline_s=deadline_s,
        tag="agents",
    )


def _for_operators(path: str, handler: Any, summary: str) -> Route:
    return Route(
        method="PUT",
        path=f"/api/queue/{path}",
        handler=handler,
        roles=OPERATORS,
        summary=summary,
        body=PauseBody,
        body_optional=True,
        answer=QueueOverview,
        tag="queue",
    )


ROUTES = (
    Route(
        method="GET",
        path="/api/queue",
        handler=get_queue,
        roles=READERS,
        summary="What waits, and what is paused",
        answer=QueueOverview,
        tag="queue",
    ),
    _for_operators("pause", pause, "Let a queue give out nothing"),
    _for_operators("resume", resume, "Let a queue give out jobs again"),
    _for_workers("claim", claim, "Claim queued jobs", ClaimBody, ClaimAnswer),
    _for_workers("renew", renew, "Hold on to claims", RenewBody, RenewAnswer),
    _for_workers("release", release, "Give a job back", ReleaseBody, JobView),
)
