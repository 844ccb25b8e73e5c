"""Jobs: lists, one job and its parts, and what people ask of a job."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from etlmon.core.access import EVERYONE, READERS
from etlmon.core.events import Event
from etlmon.core.instants import format_instant, format_optional
from etlmon.core.job import Failure, Health, Job, LogLine, Record, Status
from etlmon.core.views import (
    ControlPendingView,
    Estimate,
    JobView,
    LogEntry,
    log_entry,
    shown_control,
    shown_metrics,
    view,
)
from etlmon.server.api.filtering import JobParams, Limit, job_query
from etlmon.server.api.routes import Call, Route
from etlmon.server.store.logs.query import LogQuery
from etlmon.server.submitting import check_retry

RECENT_LOGS = 20


class JobList(Record, frozen=True):
    """A page of jobs."""

    items: list[JobView]
    next_cursor: str | None


class JobStatus(Record, frozen=True):
    """The live part of a job."""

    id: str
    name: str
    status: Status
    outcome: str | None
    progress_percent: float | None
    current_step: str | None
    step_index: int | None
    execution_time_ms: int | None
    remaining_ms: int | None
    estimated_completion: str | None
    estimate: Estimate
    health: Health | None
    error_message: str | None
    failure: Failure | None
    control_pending: ControlPendingView | None
    updated_at: str
    seq: int


class MetricPoint(Record, frozen=True):
    """What was known at one instant of the run."""

    at: str
    status: Status
    progress_percent: float | None
    current_step: str | None
    metrics: dict[str, Any]


class JobMetrics(Record, frozen=True):
    """The job's metrics now, and at each event of the run."""

    current: dict[str, Any]
    series: list[MetricPoint]


class EventView(Record, frozen=True):
    """One journaled fact."""

    seq: int
    kind: str
    job_id: str
    at: str
    by: str | None
    detail: dict[str, Any]


class EventList(Record, frozen=True):
    """A page of a job's journal, oldest first."""

    items: list[EventView]
    next_cursor: str | None


class StepView(Record, frozen=True):
    """One step: how long it took, or takes so far."""

    name: str
    index: int
    started_at: str
    finished_at: str | None
    duration_ms: int
    metrics: dict[str, Any]


class StepList(Record, frozen=True):
    """Every step that began, in order."""

    items: list[StepView]
    next_cursor: str | None = None


class EventParams(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of the journal."""

    limit: Limit = 200
    cursor: str | None = None


class ReasonBody(Record, frozen=True, forbid_unknown_fields=True):
    """Why, for the journal."""

    reason: Annotated[str, msgspec.Meta(max_length=2000)] | None = None


class AnnotateBody(Record, frozen=True, forbid_unknown_fields=True):
    """What to change; what is left out stays."""

    priority: Annotated[int, msgspec.Meta(ge=-1000, le=1000)] | None = None
    tags: dict[str, str] | None = None


async def list_jobs(call: Call) -> JobList:
    """Jobs under the filters, newest first unless ``sort`` says otherwise."""
    page = await call.context.store.jobs_page(job_query(call.query, call.identity, call.received_at), call.received_at)
    now = call.context.now()
    return JobList(items=[view(job, now) for job in page.items], next_cursor=page.next_cursor)


async def get_job(call: Call) -> JobView:
    """The whole job with its last log lines."""
    job = await call.job()
    store = call.context.store
    query = LogQuery(job_ids=frozenset({job.id}), limit=RECENT_LOGS, descending=True)
    page = await store.logs.read(query, store.head)
    return view(job, call.context.now(), recent_logs=_recent(page.lines))


def _recent(lines: list[LogLine]) -> tuple[LogEntry, ...]:
    return tuple(log_entry(line) for line in sorted(lines, key=lambda line: line.seq))


async def get_status(call: Call) -> JobStatus:
    """The live part of a job."""
    job = await call.job()
    shown = view(job, call.context.now())
    return JobStatus(
        id=shown.id,
        name=shown.name,
        status=shown.status,
        outcome=shown.outcome,
        progress_percent=shown.progress_percent,
        current_step=shown.current_step,
        step_index=shown.step_index,
        execution_time_ms=shown.execution_time_ms,
        remaining_ms=shown.remaining_ms,
        estimated_completion=shown.estimated_completion,
        estimate=shown.estimate,
        health=shown.health,
        error_message=None if shown.failure is None else shown.failure.message,
        failure=shown.failure,
        control_pending=shown_control(job.control_pending),
        updated_at=shown.updated_at,
        seq=shown.seq,
    )


async def get_metrics(call: Call) -> JobMetrics:
    """The metrics now, and the series over the run: a point for each journaled event, and the newest."""
    job = await call.job()
    page = await call.context.store.job_events(job.id, limit=1000)
    points = [_point(entry.after, entry.event.at) for entry in page.items if entry.after is not None]
    points.append(_point(job, job.updated_at))
    return JobMetrics(current=shown_metrics(job, call.context.now()), series=points)


def _point(job: Job, at: int) -> MetricPoint:
    return MetricPoint(
        at=format_instant(at),
        status=job.status,
        progress_percent=job.progress_percent,
        current_step=job.current_step,
        metrics=shown_metrics(job, at),
    )


async def list_events(call: Call) -> EventList:
    """The job's part of the journal."""
    job = await call.job()
    page = await call.context.store.job_events(job.id, limit=call.query.limit, cursor=call.query.cursor or None)
    return EventList(items=[event_view(e.seq, e.event) for e in page.items], next_cursor=page.next_cursor)


def event_view(seq: int, event: Event) -> EventView:
    """A journaled event as shown."""
    return EventView(
        seq=seq,
        kind=event.kind,
        job_id=event.job_id,
        at=format_instant(event.at),
        by=event.by,
        detail=event.detail,
    )


async def list_steps(call: Call) -> StepList:
    """Time per step."""
    job = await call.job()
    return StepList(items=step_views(job, call.context.now()))


def step_views(job: Job, now: int) -> list[StepView]:
    """The steps of ``job``; one that has not ended is counted to the job's end, or to now."""
    end = job.finished_at if job.finished_at is not None else now
    return [
        StepView(
            name=step.name,
            index=step.index,
            started_at=format_instant(step.started_at),
            finished_at=format_optional(step.finished_at),
            duration_ms=max(0, (step.finished_at if step.finished_at is not None else end) - step.started_at),
            metrics=step.metrics,
        )
        for step in job.step_times
    ]


async def pause(call: Call) -> JobView:
    """Ask the job's agent to hold still."""
    return await _control(call, "pause")


async def resume(call: Call) -> JobView:
    """Ask the job's agent to go on."""
    return await _control(call, "resume")


async def cancel(call: Call) -> JobView:
    """Ask the job's agent to stop for good."""
    return await _control(call, "cancel")


async def _control(call: Call, action: str) -> JobView:
    job = await call.job()
    job = await call.context.recorder.control(job.id, action, call.body.reason, call.identity)
    return view(job, call.context.now())


async def retry(call: Call) -> JobView:
    """Queue a finished job anew: a job that etlmon only observes has nothing to start, so this shows its command."""
    job = await call.job()
    check_retry(job)
    made = await call.context.submitting.retry(job.id, call.body.reason, call.identity, id_now={})
    return view(made, call.context.now())


async def annotate(call: Call) -> JobView:
    """Change a job's priority or tags."""
    job = await call.job()
    body: AnnotateBody = call.body
    job = await call.context.recorder.annotate(job.id, body.priority, body.tags, call.identity)
    return view(job, call.context.now())


def _part(path: str, handler: Any, summary: str, answer: Any, **more: Any) -> Route:
    return Route(method="GET", path=path, handler=handler, roles=EVERYONE, summary=summary, answer=answer, **more)


def _action(action: str, handler: Any, summary: str, *aliases: str, method: str = "POST") -> Route:
    return Route(
        method=method,
        path=f"/api/jobs/{{id}}/{action}",
        aliases=aliases,
        handler=handler,
        roles=READERS,  # an owner may control with a viewer token: the recorder judges by the job
        summary=summary,
        body=ReasonBody,
        body_optional=True,
        answer=JobView,
        status=202,
    )


ROUTES = (
    _part(
        "/api/jobs",
        list_jobs,
        "Jobs under filters",
        JobList,
        query=JobParams,
        aliases=("/api/monitor/jobs", "/status/jobs"),
    ),
    _part("/api/jobs/{id}", get_job, "The whole job", JobView, aliases=("/status/jobs/{id}", "/api/monitor/jobs/{id}")),
    _part("/api/jobs/{id}/status", get_status, "The live part of a job", JobStatus),
    _part("/api/jobs/{id}/metrics", get_metrics, "A job's metrics now and over the run", JobMetrics),
    _part("/api/jobs/{id}/events", list_events, "A job's part of the journal", EventList, query=EventParams),
    _part("/api/jobs/{id}/steps", list_steps, "Time per step", StepList),
    _action("pause", pause, "Ask a job to hold still"),
    _action("resume", resume, "Ask a paused job to go on"),
    _action("cancel", cancel, "Ask a job to stop for good"),
    _action("retry", retry, "Start a finished job again"),
    Route(
        method="PUT",
        path="/status/jobs/{id}/cancel",
        handler=cancel,
        roles=READERS,
        summary="Ask a job to stop for good",
        body=ReasonBody,
        body_optional=True,
        answer=JobView,
        status=202,
    ),
    Route(
        method="PATCH",
        path="/api/jobs/{id}",
        handler=annotate,
        roles=READERS,
        summary="Change a job's priority or tags",
        body=AnnotateBody,
        answer=JobView,
    ),
)
