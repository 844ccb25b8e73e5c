"""One action on many jobs, each judged by itself: what can be done is done, the rest is told with why."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import msgspec

from etlmon.core import queue
from etlmon.core.access import READERS, Identity
from etlmon.core.control import control_fault, has_nobody
from etlmon.core.errors import Conflict, Fault, Forbidden, Invalid, NotFound, TooManyRequests
from etlmon.core.filters import compile as compile_filter
from etlmon.core.filters import parse
from etlmon.core.job import Job, Record
from etlmon.server.api.routes import Call, Route
from etlmon.server.store.pages import JobQuery

MAX_IDS = 1000
PAGE = 1000
AT_ONCE = 200
"""Controls on their way to the store together: they share a commit."""
CHANGED_MEANWHILE = (Conflict, Forbidden, NotFound, TooManyRequests)


class BulkBody(Record, frozen=True, forbid_unknown_fields=True):
    """What to do with the jobs in ``ids``, or with those that match ``q``: under way, or for ``retry`` finished.

    ``dryRun`` only tells.
    """

    action: Literal["pause", "resume", "cancel", "retry"]
    q: Annotated[str, msgspec.Meta(min_length=1, max_length=4000)] | None = None
    ids: Annotated[list[str], msgspec.Meta(max_length=MAX_IDS)] | None = None
    reason: Annotated[str, msgspec.Meta(max_length=2000)] | None = None
    dry_run: bool = False


class Skipped(Record, frozen=True):
    """A job that the action does not fit."""

    id: str
    why: str


class BulkResult(Record, frozen=True):
    """How many jobs the action fits (``ids``: which), how many it was asked of, and the rest with why.

    ``retried`` maps the finished jobs to the new ones.
    """

    eligible: int
    ids: list[str]
    skipped: list[Skipped]
    done: int
    retried: dict[str, str]


async def control_many(call: Call) -> BulkResult:
    """Pause, resume, cancel or retry many jobs."""
    body: BulkBody = call.body
    jobs, skipped = await _chosen(call, body)
    eligible = []
    for job in jobs:
        why = _why_not(job, body, call.identity)
        if why is None:
            eligible.append(job.id)
        else:
            skipped.append(Skipped(id=job.id, why=why))
    retried: dict[str, str] = {}
    faults: dict[str, str] = {}
    if not body.dry_run:
        faults = await (_retry_all(call, eligible, retried) if body.action == "retry" else _control_all(call, eligible))
    skipped += [Skipped(id=job_id, why=why) for job_id, why in faults.items()]
    left = [job_id for job_id in eligible if job_id not in faults]
    done = 0 if body.dry_run else len(left)
    return BulkResult(eligible=len(left), ids=left, skipped=skipped, done=done, retried=retried)


async def _control_all(call: Call, ids: list[str]) -> dict[str, str]:
    """Ask it of each; why not, of those that changed meanwhile."""
    body: BulkBody = call.body
    faults: dict[str, str] = {}

    async def one(job_id: str) -> None:
        try:
            await call.context.recorder.control(job_id, body.action, body.reason, call.identity)
        except CHANGED_MEANWHILE as fault:
            faults[job_id] = fault.detail

    for first in range(0, len(ids), AT_ONCE):
        await asyncio.gather(*(one(job_id) for job_id in ids[first : first + AT_ONCE]))
    return faults


async def _retry_all(call: Call, ids: list[str], retried: dict[str, str]) -> dict[str, str]:
    """Retry each, oldest first, so that those that waited for each other do so again; why not, of the others."""
    body: BulkBody = call.body
    faults: dict[str, str] = {}
    for job_id in ids:
        try:
            made = await call.context.submitting.retry(job_id, body.reason, call.identity, id_now=retried)
            retried[job_id] = made.id
        except CHANGED_MEANWHILE as fault:
            faults[job_id] = fault.detail
    return faults


async def _chosen(call: Call, body: BulkBody) -> tuple[list[Job], list[Skipped]]:
    if (body.q is None) == (body.ids is None):
        raise Invalid("Give either q or ids.", errors=(Fault("q", "either q or ids"),))
    if body.ids is not None:
        wanted = list(dict.fromkeys(body.ids))
        found = await call.context.store.jobs_by_id(set(wanted))
        missing = [job_id for job_id in wanted if job_id not in found or not call.identity.sees(found[job_id])]
        unknown = [Skipped(id=job_id[:128], why="There is no such job.") for job_id in missing]
        known = [found[job_id] for job_id in wanted if job_id not in missing]
        return sorted(known, key=_age) if body.action == "retry" else known, unknown
    if body.action == "retry":
        return sorted(await _finished(call, body.q or ""), key=_age), []
    matches = compile_filter(parse(body.q or "", call.received_at))
    return [job for job in await call.context.store.active_jobs() if matches(job, call.received_at)], []


def _age(job: Job) -> tuple[int, str]:
    return job.created_at, job.id


async def _finished(call: Call, text: str) -> list[Job]:
    """Every finished job that matches."""
    query = JobQuery(filter=parse(text, call.received_at), final_only=True, limit=PAGE)
    found: list[Job] = []
    while True:
        page = await call.context.store.jobs_page(query, call.received_at)
        found += page.items
        if page.next_cursor is None:
            return found
        query = msgspec.structs.replace(query, cursor=page.next_cursor)


def _why_not(job: Job, body: BulkBody, identity: Identity) -> str | None:
    """Why the action does not fit the job as it stands; None when it does."""
    if not identity.may_control(job):
        return f"Only an operator or its owner ({job.owner or 'nobody'}) may {body.action} it."
    if body.action == "retry":
        return queue.retry_fault(job)
    return control_fault(job, body.action, obeyed_by_nobody=has_nobody(job))


ROUTES = (
    Route(
        method="POST",
        path="/api/jobs/bulk",
        handler=control_many,
        roles=READERS,
        summary="Pause, resume, cancel or retry many jobs",
        body=BulkBody,
        answer=BulkResult,
        deadline_s=120.0,
    ),
)
