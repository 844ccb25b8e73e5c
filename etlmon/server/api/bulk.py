"""One action on many jobs, each judged by itself: what can be done is done, the rest is told with why."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from etlmon.core.access import READERS, Identity
from etlmon.core.control import control_fault, has_nobody
from etlmon.core.errors import Conflict, Fault, Forbidden, Invalid, NotFound
from etlmon.core.filters import compile as compile_filter
from etlmon.core.filters import parse
from etlmon.core.job import Job, Record
from etlmon.server.api.routes import Call, Route

MAX_JOBS = 1000


class BulkBody(Record, frozen=True, forbid_unknown_fields=True):
    """What to do with the jobs in ``ids``, or with the jobs under way that match ``q``; ``dryRun`` only tells."""

    action: Literal["pause", "resume", "cancel"]
    q: Annotated[str, msgspec.Meta(min_length=1, max_length=4000)] | None = None
    ids: Annotated[list[str], msgspec.Meta(max_length=MAX_JOBS)] | None = None
    reason: Annotated[str, msgspec.Meta(max_length=2000)] | None = None
    dry_run: bool = False


class Skipped(Record, frozen=True):
    """A job that the action does not fit."""

    id: str
    why: str


class BulkResult(Record, frozen=True):
    """How many jobs the action fits (``ids``: which), how many it was asked of, and the rest with why."""

    eligible: int
    ids: list[str]
    skipped: list[Skipped]
    done: int


async def control_many(call: Call) -> BulkResult:
    """Pause, resume or cancel many jobs."""
    body: BulkBody = call.body
    jobs, skipped = await _chosen(call, body)
    eligible = []
    for job in jobs:
        why = _why_not(job, body, call.identity)
        if why is None:
            eligible.append(job.id)
        else:
            skipped.append(Skipped(id=job.id, why=why))
    done = 0
    for job_id in () if body.dry_run else tuple(eligible):
        try:
            await call.context.recorder.control(job_id, body.action, body.reason, call.identity)
            done += 1
        except (Conflict, Forbidden, NotFound) as fault:  # it changed meanwhile
            eligible.remove(job_id)
            skipped.append(Skipped(id=job_id, why=fault.detail))
    return BulkResult(eligible=len(eligible), ids=eligible, skipped=skipped, done=done)


async def _chosen(call: Call, body: BulkBody) -> tuple[list[Job], list[Skipped]]:
    if (body.q is None) == (body.ids is None):
        raise Invalid("Give either q or ids.", errors=(Fault("q", "either q or ids"),))
    if body.ids is not None:
        wanted = list(dict.fromkeys(body.ids))
        found = await call.context.store.jobs_by_id(set(wanted))
        missing = [job_id for job_id in wanted if job_id not in found or not call.identity.sees(found[job_id])]
        unknown = [Skipped(id=job_id[:128], why="There is no such job.") for job_id in missing]
        return [found[job_id] for job_id in wanted if job_id not in missing], unknown
    matches = compile_filter(parse(body.q or "", call.received_at))
    jobs = [job for job in await call.context.store.active_jobs() if matches(job, call.received_at)]
    if len(jobs) > MAX_JOBS:
        raise Invalid(f"q matches {len(jobs)} jobs, more than {MAX_JOBS}: narrow it.", errors=(Fault("q", "too many"),))
    return jobs, []


def _why_not(job: Job, body: BulkBody, identity: Identity) -> str | None:
    """Why the action does not fit the job as it stands; None when it does."""
    if not identity.may_control(job):
        return f"Only an operator or its owner ({job.owner or 'nobody'}) may {body.action} it."
    return control_fault(job, body.action, obeyed_by_nobody=has_nobody(job))


ROUTES = (
    Route(
        method="POST",
        path="/api/jobs/bulk",
        handler=control_many,
        roles=READERS,
        summary="Pause, resume or cancel many jobs",
        body=BulkBody,
        answer=BulkResult,
        deadline_s=60.0,
    ),
)
