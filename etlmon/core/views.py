"""What people and programs are shown of jobs and log lines: interface.md's shapes, made from the stored facts.

Whatever depends on the present instant (elapsed time, ETA) is derived here, at the ``now`` that is given.
"""

from __future__ import annotations

from typing import Any

import msgspec

from etlmon.core.forecast import forecast
from etlmon.core.instants import format_instant, format_optional
from etlmon.core.job import (
    LEVEL_NAME,
    METRIC_KEYS,
    ControlPending,
    Failure,
    Health,
    Job,
    LogLine,
    Outcome,
    Record,
    Status,
)


class Estimate(Record, frozen=True, kw_only=True):
    """When a running job will end: a band of timestamps, and what it was reckoned from."""

    low: str | None = None
    high: str | None = None
    basis: str | None = None


class ControlPendingView(Record, frozen=True, kw_only=True):
    """``ControlPending`` as shown."""

    action: str
    by: str
    at: str
    reason: str | None


class LogEntry(Record, frozen=True, kw_only=True):
    """A log line as interface.md shows it; ``fields`` is spliced in as it is stored, without a decode."""

    seq: int
    job_id: str
    name: str
    at: str
    level: str
    message: str
    logger: str | None
    step: str | None
    fields: msgspec.Raw | None
    attempt: int


class JobView(Record, frozen=True, kw_only=True):
    """A Job as interface.md shows it: every key present, timestamps as RFC 3339 text."""

    id: str
    name: str
    type: str
    status: Status
    outcome: Outcome | None
    durable: bool
    progress_percent: float | None
    current_step: str | None
    step_index: int | None
    steps: tuple[str, ...]
    owner: str | None
    tags: dict[str, str]
    host: str | None
    source: str | None
    priority: int
    attempt: int
    retry_of: str | None
    parent_id: str | None
    after: tuple[str, ...]
    command: tuple[str, ...]
    created_at: str
    run_at: str | None
    started_at: str | None
    finished_at: str | None
    updated_at: str
    execution_time_ms: int | None
    expected_duration_ms: int | None
    timeout_ms: int | None
    remaining_ms: int | None
    estimated_completion: str | None
    estimate: Estimate
    health: Health | None
    metrics: dict[str, Any]
    failure: Failure | None
    last_failure: Failure | None
    control_pending: ControlPendingView | None
    paused_at: str | None
    paused_by: ControlPendingView | None
    config: dict[str, Any]
    summary: dict[str, Any] | None
    recent_logs: tuple[LogEntry, ...]
    seq: int


def shown_metrics(job: Job, now: int) -> dict[str, Any]:
    """The metrics of a view: the known keys (null when unknown, reckoned where two others do), then the job's own."""
    shown: dict[str, Any] = dict.fromkeys(METRIC_KEYS)
    shown.update(job.metrics)
    done, failed = shown["recordsProcessed"], shown["recordsFailed"]
    if done is not None:
        if shown["recordsSuccessful"] is None:
            shown["recordsSuccessful"] = max(0, done - (failed or 0))
        if shown["errorRate"] is None and failed is not None:
            shown["errorRate"] = round(failed / done, 6) if done else 0.0
    shown["executionTime"] = job.execution_ms(now)
    return shown


def shown_control(pending: ControlPending | None) -> ControlPendingView | None:
    """A control that was asked for, as shown."""
    if pending is None:
        return None
    return ControlPendingView(
        action=pending.action, by=pending.by, at=format_instant(pending.at), reason=pending.reason
    )


def view(job: Job, now: int, *, durable: bool = True, recent_logs: tuple[LogEntry, ...] = ()) -> JobView:
    """What a person or program is shown of ``job`` at the instant ``now`` (ms)."""
    outlook = forecast(job, now)
    return JobView(
        id=job.id,
        name=job.name,
        type=job.type,
        status=job.status,
        outcome=job.outcome,
        durable=durable,
        progress_percent=job.progress_percent,
        current_step=job.current_step,
        step_index=job.step_index,
        steps=job.steps,
        owner=job.owner,
        tags=job.tags,
        host=job.host,
        source=job.source,
        priority=job.priority,
        attempt=job.attempt,
        retry_of=job.retry_of,
        parent_id=job.parent_id,
        after=job.after,
        command=job.command,
        created_at=format_instant(job.created_at),
        run_at=format_optional(job.run_at),
        started_at=format_optional(job.started_at),
        finished_at=format_optional(job.finished_at),
        updated_at=format_instant(job.updated_at),
        execution_time_ms=job.execution_ms(now),
        expected_duration_ms=job.expected_duration_ms,
        timeout_ms=job.timeout_ms,
        remaining_ms=outlook.remaining_ms,
        estimated_completion=format_optional(outlook.eta_at),
        estimate=Estimate(
            low=format_optional(outlook.low_at), high=format_optional(outlook.high_at), basis=outlook.basis
        ),
        health=job.health,
        metrics=shown_metrics(job, now),
        failure=job.failure,
        last_failure=job.last_failure,
        control_pending=shown_control(job.control_pending),
        paused_at=format_optional(job.paused_at),
        paused_by=shown_control(job.paused_by),
        config=job.config,
        summary=job.summary,
        recent_logs=recent_logs,
        seq=job.seq,
    )


def log_entry(line: LogLine) -> LogEntry:
    """A stored line as it is shown."""
    return LogEntry(
        seq=line.seq,
        job_id=line.job_id,
        name=line.name,
        at=format_instant(line.at),
        level=LEVEL_NAME.get(line.level, "info"),
        message=line.message,
        logger=line.logger,
        step=line.step,
        fields=line.fields,
        attempt=line.attempt,
    )
