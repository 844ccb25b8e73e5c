"""Submitting a job: what is queued, and what the queue says to that."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta

from etlmon.core.access import OPERATORS
from etlmon.core.errors import Fault, Invalid
from etlmon.core.ids import is_job_id
from etlmon.core.instants import from_datetime
from etlmon.core.job import Job, Record
from etlmon.core.reports import Count, Instant
from etlmon.core.views import JobView, view
from etlmon.server.api.queue import QueueName, QueueStanding, standing_of
from etlmon.server.api.routes import Call, Route, json_response
from etlmon.server.submitting import Order, plan_of

MAX_AFTER = 1000
Name = Annotated[str, Meta(min_length=1, max_length=200)]


class SubmitBody(Record, frozen=True, forbid_unknown_fields=True):
    """A job to queue: the ``name`` of a definition, or ``type`` and ``config`` (then ``name`` is its label).

    ``after``: ids of jobs that must complete first. ``dedupKey``: while a job with it is not over, it is the answer.
    """

    id: str | None = None
    name: Name | None = None
    type: Name | None = None
    config: dict[str, Any] | None = None
    queue: QueueName | None = None
    priority: Annotated[int, Meta(ge=-1000, le=1000)] | None = None
    tags: dict[str, str] | None = None
    expected_duration_ms: Count | None = None
    timeout_ms: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    retries: Annotated[int, Meta(ge=0, le=100)] | None = None
    dedup_key: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    run_at: Instant | None = None
    after: Annotated[tuple[str, ...], Meta(max_length=MAX_AFTER)] = ()


class SubmittedView(JobView, frozen=True, kw_only=True):
    """The Job, and how its queue stands: above all whether somebody has paused it."""

    queue: QueueStanding


async def post_job(call: Call) -> web.Response:
    """Queue a job: 201, or 200 with the one that is there already."""
    body: SubmitBody = call.body
    if body.id is not None and not is_job_id(body.id):
        message = "must be 1 to 128 letters, digits or . _ : - and begin with a letter or digit"
        raise Invalid(f"id {message}.", errors=(Fault("id", message),))
    context = call.context
    plan = plan_of(_order(body), context.config.jobs, call.identity.owner)
    done = await context.submitting.submit(plan, call.identity)
    standing = standing_of(done.job.queue or "", done.depth, done.pauses)
    return json_response(submitted(done.job, standing, context.now()), 201 if done.is_new else 200)


def submitted(job: Job, standing: QueueStanding, now: int) -> SubmittedView:
    """The job as its submitter is shown it."""
    shown = view(job, now)
    return SubmittedView(**{name: getattr(shown, name) for name in shown.__struct_fields__}, queue=standing)


def _order(body: SubmitBody) -> Order:
    given = {name: getattr(body, name) for name in Order.__struct_fields__}
    given["run_at"] = None if body.run_at is None else from_datetime(body.run_at)
    given["after"] = tuple(dict.fromkeys(body.after))
    return Order(**given)


ROUTES = (
    Route(
        method="POST",
        path="/api/jobs",
        handler=post_job,
        roles=OPERATORS,
        summary="Queue a job",
        body=SubmitBody,
        answer=SubmittedView,
        status=201,
    ),
)
