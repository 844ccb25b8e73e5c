"""The queue's rules: how a managed job is queued, claimed, given back, tried again. Pure: what a worker may do to a job
is decided here, who does it and when in the server.

A claim gives a job to one worker under a fencing token; whatever ends that claim but the job's own end puts it back to
pending with the next attempt. A failed attempt uses up a try and waits; one whose worker vanished goes back at once.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from etlmon.core.endings import clean_failure, ended, mark_timed_out, timeout_failure
from etlmon.core.events import Event, EventKind
from etlmon.core.job import ControlPending, Failure, FailureKind, Job, Past, Record, Status
from etlmon.core.verdicts import Accepted

DEFAULT_QUEUE = "default"
EVERY_QUEUE = "*"
"""What a pause of all queues is kept under."""
FIRST_WAIT_MS = 1_000
LONGEST_WAIT_MS = 60_000
JITTER = 0.2
"""A wait is up to this share shorter or longer, so that jobs that failed together do not come back together."""
MAX_RESCUES = 3
"""A job whose worker vanished this often is not given to a further one: it may be what kills them."""


class Submission(Record, frozen=True, kw_only=True):
    """A job to be queued, with everything decided. ``config`` is what may be shown of it."""

    id: str
    name: str
    type: str
    queue: str = DEFAULT_QUEUE
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    command: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    owner: str | None = None
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    priority: int = 0
    expected_duration_ms: int | None = None
    timeout_ms: int | None = None
    retries: int = 0
    run_at: int | None = None
    after: tuple[str, ...] = ()
    dedup_key: str | None = None
    retry_of: str | None = None
    parent_id: str | None = None
    slot: int | None = None
    """The instant of its schedule that it was queued for."""


class Claim(Record, frozen=True, kw_only=True):
    """Who takes a job: a worker, its host, the token id that it reports with, and its fencing token."""

    worker: str
    host: str | None
    reporter: str | None
    token: int


def queued(given: Submission, upstream: dict[str, Status], by: str | None, now: int) -> Accepted:
    """The new job; ``upstream`` holds the status of each job in ``after``. It has failed if one of them has."""
    broken = next((one for one in given.after if upstream[one] in (Status.FAILED, Status.CANCELLED)), None)
    job = Job(
        id=given.id,
        name=given.name,
        type=given.type,
        status=Status.PENDING,
        created_at=now,
        updated_at=now,
        source="worker",
        queue=given.queue,
        config=given.config,
        command=given.command,
        steps=given.steps,
        owner=given.owner,
        tags=given.tags,
        priority=given.priority,
        expected_duration_ms=given.expected_duration_ms,
        timeout_ms=given.timeout_ms,
        retries=given.retries,
        run_at=given.run_at,
        after=given.after,
        waiting_for=tuple(one for one in given.after if upstream[one] is not Status.COMPLETED),
        dedup_key=given.dedup_key,
        retry_of=given.retry_of,
        parent_id=given.parent_id,
    )
    detail = {"queue": given.queue, "name": given.name, "priority": given.priority}
    if given.retry_of is not None:
        detail["retryOf"] = given.retry_of
    event = Event(kind=EventKind.JOB_QUEUED, job_id=job.id, at=now, by=by, detail=detail)
    if broken is None:
        return Accepted(job=job, events=(event,))
    failed = upstream_ended(job, broken, upstream[broken], now)
    return replace(failed, events=(event, *failed.events))


def rejected(job: Job, message: str, now: int) -> Accepted:
    """The job's config was refused: it fails before anything is touched."""
    return _failed(job, Failure(kind=FailureKind.REJECTED, message=message), now)


def upstream_ended(job: Job, upstream: str, status: Status, now: int) -> Accepted:
    """A job that this one waits for came to its end: one wait less, or none of it can be."""
    if status is Status.COMPLETED:
        left = tuple(one for one in job.waiting_for if one != upstream)
        after = replace(job, waiting_for=left, updated_at=now)
        detail = {"upstream": upstream, "waitingFor": list(left)}
        return Accepted(job=after, events=(Event(kind=EventKind.JOB_READY, job_id=job.id, at=now, detail=detail),))
    message = f"The job {upstream}, which had to complete first, has {_ended_as(status)}."
    return _failed(job, Failure(kind=FailureKind.UPSTREAM, message=message), now)


def _ended_as(status: Status) -> str:
    return "been cancelled" if status is Status.CANCELLED else "failed"


def _failed(job: Job, failure: Failure, now: int) -> Accepted:
    after = replace(ended(job, now, None), status=Status.FAILED, failure=failure, waiting_for=(), updated_at=now)
    detail = {"kind": failure.kind, "message": failure.message}
    return Accepted(job=after, events=(Event(kind=EventKind.FAILED, job_id=job.id, at=now, detail=detail),))


def claimed(job: Job, claim: Claim, past: Past | None, now: int) -> Accepted:
    """The pending job as its worker gets it: running, with the claim's token. A held pause waits for the worker."""
    after = replace(
        job,
        status=Status.RUNNING,
        started_at=now,
        run_at=None,
        deadline_at=None if job.timeout_ms is None else now + job.timeout_ms,
        worker=claim.worker,
        host=claim.host,
        reporter=claim.reporter,
        producer=None,
        fencing_token=claim.token,
        past=past,
        updated_at=now,
    )
    detail = {"worker": claim.worker, "host": claim.host, "attempt": job.attempt}
    return Accepted(job=after, events=(Event(kind=EventKind.JOB_STARTED, job_id=job.id, at=now, detail=detail),))


def wait_ms(failures: int, dice: float) -> int:
    """How long the ``failures``-th failed try waits for the next: 1 s, doubling to 1 m, with jitter by ``dice``."""
    wait = min(LONGEST_WAIT_MS, FIRST_WAIT_MS << min(failures - 1, 16))
    return min(LONGEST_WAIT_MS, round(wait * (1 + JITTER * (2 * dice - 1))))


def tried(job: Job, failure: Failure, at: int, dice: float, by: str | None = None) -> Accepted | None:
    """The failed attempt of a job with a try left: it waits for the next one. None when this was the last.

    An attempt that was to be cancelled ends cancelled; one whose process was killed goes back at once.
    """
    if _is_to_be_cancelled(job):
        return _cancelled(job, at)
    if failure.kind is FailureKind.REJECTED or job.failures >= job.retries:
        return None
    failure = clean_failure(failure, job)
    failures = job.failures + 1
    wait = 0 if failure.kind is FailureKind.KILLED else wait_ms(failures, dice)
    back = replace(_back(job, at + wait if wait else None, at), last_failure=failure, failures=failures)
    detail = {"attempt": job.attempt, "kind": failure.kind, "message": failure.message, "nextTryInMs": wait}
    event = Event(kind=EventKind.ATTEMPT_FAILED, job_id=job.id, at=at, by=by, detail=detail)
    return Accepted(job=back, events=(event,), settles=_overtaken(job, back))


def released(job: Job, reason: str | None, by: str | None, now: int) -> Accepted:
    """Its worker gives it back unharmed: to whoever is next, and no try is used up."""
    if _is_to_be_cancelled(job):
        return _cancelled(job, now)
    back = _back(job, None, now)
    detail = {"worker": job.worker, "attempt": job.attempt, "reason": reason}
    event = Event(kind=EventKind.JOB_RELEASED, job_id=job.id, at=now, by=by, detail=detail)
    return Accepted(job=back, events=(event,), settles=_overtaken(job, back))


def rescued(job: Job, now: int) -> Accepted:
    """Its worker vanished: back at once, but a job that lost ``MAX_RESCUES`` workers already is failed as lost."""
    if _is_to_be_cancelled(job):
        return _cancelled(job, now)
    failure = Failure(
        kind=FailureKind.LOST, message=f"Nothing was heard of the worker {job.worker}.", step=job.current_step
    )
    if job.rescues >= MAX_RESCUES:
        message = f"The job lost its worker {job.rescues + 1} times: it may be what kills them."
        return replace(_failed(job, replace(failure, message=message), now), settles=_overtaken(job, None))
    back = replace(_back(job, None, now), last_failure=failure, rescues=job.rescues + 1)
    detail = {"worker": job.worker, "attempt": job.attempt}
    event = Event(kind=EventKind.JOB_RESCUED, job_id=job.id, at=now, detail=detail)
    return Accepted(job=back, events=(event,), settles=_overtaken(job, back))


def timed_out(job: Job, now: int, dice: float) -> Accepted:
    """The job ran past its deadline and nobody ended it; of a managed one that may not be the last attempt."""
    again = tried(job, timeout_failure(job), now, dice) if job.is_managed else None
    return mark_timed_out(job, now) if again is None else again


def _back(job: Job, run_at: int | None, now: int) -> Job:
    """Pending again, for the next attempt: what was of this attempt alone is gone, a pause asked of it is kept."""
    return replace(
        job,
        status=Status.PENDING,
        attempt=job.attempt + 1,
        run_at=run_at,
        started_at=None,
        paused_at=None,
        paused_by=None,
        paused_ms=0,
        deadline_at=None,
        progress_percent=None,
        current_step=None,
        step_index=None,
        step_times=(),
        metrics={},
        pace=None,
        progressed_at=None,
        health=None,
        worker=None,
        producer=None,
        fencing_token=None,
        control_pending=_held(job),
        updated_at=now,
    )


def _held(job: Job) -> ControlPending | None:
    """The pause that the next attempt owes: one asked for, or one that was in force when the attempt ended."""
    asked = job.control_pending
    if asked is not None:
        return asked if asked.action == "pause" else None
    return None if job.paused_by is None else replace(job.paused_by, command_id=None)


def _overtaken(job: Job, back: Job | None) -> tuple[str, str] | None:
    asked = job.control_pending
    if asked is None or asked.command_id is None or (back is not None and back.control_pending == asked):
        return None
    return (asked.command_id, "overtaken")


def _is_to_be_cancelled(job: Job) -> bool:
    return job.control_pending is not None and job.control_pending.action == "cancel"


def _cancelled(job: Job, now: int) -> Accepted:
    """The attempt ended by itself while its cancel was on the way: cancelled, by whom and why it was asked."""
    asked = job.control_pending
    assert asked is not None  # noqa: S101 - the caller has just seen it
    given = {"cancelledBy": asked.by, "cancelReason": asked.reason}
    after = replace(ended(job, now, given), status=Status.CANCELLED, updated_at=now)
    detail = {"reason": asked.reason, "commandId": asked.command_id}
    event = Event(kind=EventKind.CANCELLED, job_id=job.id, at=now, by=asked.by, detail=detail)
    settles = None if asked.command_id is None else (asked.command_id, "obeyed")
    return Accepted(job=after, events=(event,), settles=settles)


def retry_fault(job: Job) -> str | None:
    """Why the job cannot be retried, in one sentence; None when a new one can be made of it."""
    if not job.is_final:
        return f"The job is {job.status.value}: only a finished job can be retried."
    if job.is_managed:
        return None
    return "etlmon only watched this job and has nothing to start again"
