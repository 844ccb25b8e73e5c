"""Work: what reports of a living job change: its birth and start, progress, steps, metrics."""

from __future__ import annotations

import math
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from etlmon.core import reports as r
from etlmon.core.events import Event, EventKind
from etlmon.core.forecast import health, paced
from etlmon.core.instants import format_instant, from_datetime
from etlmon.core.job import METRIC_KEYS, Job, Status, StepTime
from etlmon.core.text import clean_line, clean_name
from etlmon.core.verdicts import MAX_TEXT_BYTES, Accepted, Context, Duplicate, Rejected, Verdict, event_of

MAX_STEPS = 500
MAX_TAGS = 64
MAX_METRICS = 200
RATE_SMOOTHING_MS = 30_000
"""Time constant of the records-per-second average: long enough to be calm, short enough to show a stall."""
_NUMERIC = frozenset(METRIC_KEYS)


def fault_of(report: r.AnyReport) -> str | None:
    if isinstance(report, r.Progress):
        percent = report.progress_percent
        if percent is not None and not math.isfinite(percent):
            return "progressPercent must be a finite number"
    metrics = getattr(report, "metrics", None)
    return None if metrics is None else metrics_fault(metrics)


def metrics_fault(metrics: dict[str, Any]) -> str | None:
    """Why these metrics cannot be merged, or None: known keys are non-negative numbers, the rest JSON scalars."""
    if len(metrics) > MAX_METRICS:
        return f"metrics has {len(metrics)} keys: at most {MAX_METRICS}"
    for key, value in metrics.items():
        if isinstance(value, bool | str) or value is None:
            if key in _NUMERIC and value is not None:
                return f"metrics.{key} must be a number"
        elif not isinstance(value, int | float) or not math.isfinite(value):
            return f"metrics.{key} must be a number, a text or a boolean"
        elif key in _NUMERIC and not 0 <= value <= 2**63 - 1:
            return f"metrics.{key} must be between 0 and 2^63-1"
    return None


def born(report: r.Report, at: int, now: int, context: Context) -> Job:
    return Job(
        id=report.job_id,
        name=clean_name(report.job_id),
        type="unknown",
        status=Status.PENDING,
        created_at=at,
        updated_at=now,
        source="api",
        owner=context.owner,
        reporter=context.reporter,
        producer=context.producer,
        fencing_token=report.fencing_token,
    )


def begin(job: Job, at: int) -> Job:
    started_at = at if job.started_at is None else job.started_at
    deadline = None if job.timeout_ms is None else started_at + job.timeout_ms
    return replace(job, status=Status.RUNNING, started_at=started_at, run_at=None, deadline_at=deadline)


def start(job: Job, report: r.JobStarted, at: int, context: Context) -> Verdict:
    named = _named(job, report, context)
    begun = begin(named, at) if named.status is Status.PENDING else named
    if report.timeout_ms is not None and begun.started_at is not None:
        begun = replace(begun, deadline_at=begun.started_at + report.timeout_ms + begun.paused_ms)
    if context.past is not None and begun.past is None:
        begun = replace(begun, past=context.past)
    if begun == job:
        return Duplicate()
    detail = {key: value for key in ("name", "type", "owner", "source") if (value := getattr(begun, key)) is not None}
    return Accepted(job=begun, events=(event_of(EventKind.JOB_STARTED, begun, at, context, detail),))


def _named(job: Job, report: r.JobStarted, context: Context) -> Job:
    changes: dict[str, Any] = {}
    for field in ("name", "type", "owner", "host", "source"):
        value = getattr(report, field)
        if value is not None:
            changes[field] = clean_name(value)
    if report.type is None and job.type == "unknown":
        changes["type"] = "job"
    if report.tags is not None:
        changes["tags"] = job.tags | clean_tags(report.tags)
    if report.steps is not None:
        changes["steps"] = tuple(clean_name(step) for step in report.steps[:MAX_STEPS])
    if report.records_total is not None:
        changes["metrics"] = job.metrics | {"recordsTotal": report.records_total}
    for field in ("expected_duration_ms", "timeout_ms", "parent_id", "config"):
        if (value := getattr(report, field)) is not None:
            changes[field] = value
    if report.command is not None:
        changes["command"] = tuple(clean_line(word, MAX_TEXT_BYTES) for word in report.command[:1000])
    if context.producer is not None:
        changes["producer"] = context.producer
    return replace(job, **changes)


def clean_tags(tags: dict[str, Any]) -> dict[str, str]:
    return {clean_name(key): clean_name(_tag_text(value)) for key, value in list(tags.items())[:MAX_TAGS]}


def _tag_text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def progress(job: Job, report: r.Progress, at: int) -> Verdict:
    metrics = dict(job.metrics)
    if report.metrics:
        metrics.update(_clean_metrics(report.metrics))
    if report.records_total is not UNSET:
        metrics["recordsTotal"] = report.records_total
    elapsed_ms = at - (job.progressed_at if job.progressed_at is not None else (job.started_at or at))
    if report.records_processed is not None:
        done_before = job.metrics.get("recordsProcessed") or 0
        metrics["recordsProcessed"] = report.records_processed
        rate = smoothed_rate(
            job.metrics.get("processingRate") or None, report.records_processed - done_before, elapsed_ms
        )
        if rate is not None and "processingRate" not in (report.metrics or {}):
            metrics["processingRate"] = rate
    percent = _percent(report, metrics, job.progress_percent)
    pace = None if percent is None else paced(job, percent, at)
    moved = replace(job, metrics=metrics, progress_percent=percent, pace=pace, progressed_at=at)
    if report.current_step is not None:
        moved = _enter_step(moved, clean_name(report.current_step), report.step_index, at)
    elif report.step_index is not None:
        moved = replace(moved, step_index=report.step_index)
    return Accepted(job=replace(moved, health=health(moved)), sample=True)


def smoothed_rate(old: float | None, records: int, elapsed_ms: int) -> float | None:
    """Records per second, averaged exponentially over ``RATE_SMOOTHING_MS``; None when no time has passed."""
    if elapsed_ms <= 0 or records < 0:
        return old
    current = records * 1000 / elapsed_ms
    if old is None:
        return round(current, 3)
    weight = 1 - math.exp(-elapsed_ms / RATE_SMOOTHING_MS)
    return round(old + weight * (current - old), 3)


def _percent(report: r.Progress, metrics: dict[str, Any], old: float | None) -> float | None:
    if report.progress_percent is not None:
        return min(100.0, max(0.0, report.progress_percent))
    total, done = metrics.get("recordsTotal"), metrics.get("recordsProcessed")
    if total and done is not None and (report.records_processed is not None or report.records_total is not UNSET):
        reached: float = done * 100 / total
        return min(100.0, max(0.0, reached))
    return old


def _clean_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    return {clean_name(key): clean_name(value) if isinstance(value, str) else value for key, value in metrics.items()}


def measure(job: Job, report: r.MetricsReport) -> Verdict:
    merged = job.metrics | _clean_metrics(report.metrics)
    if len(merged) > MAX_METRICS:
        return Rejected(f"the job would have {len(merged)} metrics: at most {MAX_METRICS}")
    measured = replace(job, metrics=merged)
    return Accepted(job=replace(measured, health=health(measured)), sample=True, metrics_only=True)


def _enter_step(job: Job, name: str, index: int | None, at: int) -> Job:
    """The job with ``name`` as its open step: the one before is closed."""
    if index is None:
        if name in job.steps:
            index = job.steps.index(name)
        elif name == job.current_step:
            index = job.step_index
        else:
            index = 0 if job.step_index is None else job.step_index + 1
    times = job.step_times
    if not times or times[-1].name != name or times[-1].finished_at is not None:
        if times and times[-1].finished_at is None:
            times = (*times[:-1], replace(times[-1], finished_at=at))
        if len(times) < MAX_STEPS:
            times = (*times, StepTime(name=name, index=index or 0, started_at=at))
    return replace(job, current_step=name, step_index=index, step_times=times)


def step_start(job: Job, report: r.StepStarted, at: int) -> Verdict:
    name = clean_name(report.step)
    entered = _enter_step(job, name, report.step_index, at)
    if report.metrics:
        entered = replace(entered, metrics=entered.metrics | _clean_metrics(report.metrics))
    if entered == job:
        return Duplicate()
    detail = {"step": name, "stepIndex": entered.step_index}
    return Accepted(job=entered, events=(Event(kind=EventKind.STEP_STARTED, job_id=job.id, at=at, detail=detail),))


def step_finish(job: Job, report: r.StepFinished, at: int) -> Verdict:
    name = clean_name(report.step)
    place = next((i for i in range(len(job.step_times) - 1, -1, -1) if job.step_times[i].name == name), None)
    if place is not None and job.step_times[place].finished_at is not None and not report.metrics:
        return Duplicate()
    entered = job if place is not None else _enter_step(job, name, report.step_index, at)
    times = list(entered.step_times)
    if place is None:
        place = len(times) - 1
    step = times[place]
    measured = _clean_metrics(report.metrics or {})
    finished_at = step.finished_at or at
    finished = replace(step, finished_at=finished_at, metrics=step.metrics | measured)
    if finished == step:
        return Duplicate()
    if step.name == name:  # beyond MAX_STEPS a step has no times of its own: its event says all
        times[place] = finished
    after = replace(entered, step_times=tuple(times))
    duration_ms = finished_at - step.started_at if step.name == name else None
    detail = {"step": name, "stepIndex": entered.step_index, "durationMs": duration_ms, "metrics": measured}
    return Accepted(job=after, events=(Event(kind=EventKind.STEP_FINISHED, job_id=job.id, at=at, detail=detail),))


def gap(job: Job, report: r.Gap, at: int) -> Verdict:
    detail: dict[str, Any] = {
        "dropped": report.dropped,
        "from": None if report.from_ is None else format_instant(from_datetime(report.from_)),
        "to": None if report.to is None else format_instant(from_datetime(report.to)),
    }
    return Accepted(job=job, events=(Event(kind=EventKind.GAP, job_id=job.id, at=at, detail=detail),))
