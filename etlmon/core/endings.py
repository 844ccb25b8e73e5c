"""Endings: how a job comes to rest, by its agent's word or by the server's; and what still arrives after."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from etlmon.core import reports as r
from etlmon.core.events import Event, EventKind
from etlmon.core.job import Failure, FailureKind, Job, Outcome, Status
from etlmon.core.text import clean_line, clean_name
from etlmon.core.verdicts import MAX_TEXT_BYTES, Accepted, Context, Verdict, event_of

MAX_TAIL_LINES = 100


def unpaused(job: Job, at: int) -> Job:
    """The job with the pause that was open added to its paused time; its deadline moves by as much."""
    if job.paused_at is None:
        return job
    held = max(0, at - job.paused_at)
    deadline = None if job.deadline_at is None else job.deadline_at + held
    return replace(job, paused_at=None, paused_by=None, paused_ms=job.paused_ms + held, deadline_at=deadline)


def ended(job: Job, at: int, given: dict[str, Any] | None) -> Job:
    """The job at rest: times closed, its summary made."""
    closed = unpaused(job, at)
    times = closed.step_times
    if times and times[-1].finished_at is None:
        times = (*times[:-1], replace(times[-1], finished_at=at))
    started_at = closed.started_at
    finished_at = at if started_at is None else max(at, started_at)
    closed = replace(closed, step_times=times, finished_at=finished_at, deadline_at=None, control_pending=None)
    done, took_ms = closed.metrics.get("recordsProcessed"), closed.execution_ms(finished_at)
    if done and took_ms:  # of what is over, the rate is the average
        closed = replace(closed, metrics=closed.metrics | {"processingRate": round(done * 1000 / took_ms, 3)})
    return replace(closed, summary=_summary(closed, given or {}))


def _summary(job: Job, given: dict[str, Any]) -> dict[str, Any]:
    done, failed = job.metrics.get("recordsProcessed"), job.metrics.get("recordsFailed")
    good = job.metrics.get("recordsSuccessful")
    if good is None and done is not None:
        good = done - (failed or 0)
    own = {
        "durationMs": job.execution_ms(job.finished_at or 0) or 0,
        "recordsIn": done,
        "recordsOut": good,
        "recordsRejected": failed,
        "bytes": job.metrics.get("bytesProcessed"),
        "steps": [
            {"name": s.name, "durationMs": (s.finished_at or s.started_at) - s.started_at} for s in job.step_times
        ],
        "warnings": job.warnings,
        "outputs": [],
    }
    return own | given


def _settle_final(job: Job, report: r.Report, action: str | None) -> tuple[str, str] | None:
    pending = job.control_pending
    if pending is None or pending.command_id is None:
        return None if report.command_id is None else (report.command_id, "obeyed")
    return (pending.command_id, "obeyed" if pending.action == action else "overtaken")


def complete(job: Job, report: r.Completed, at: int, context: Context) -> Verdict:
    closed = ended(job, at, report.summary)
    rejected = (closed.summary or {}).get("recordsRejected")
    outcome = Outcome.WARNING if isinstance(rejected, int | float) and rejected > 0 else None
    after = replace(closed, status=Status.COMPLETED, outcome=outcome, progress_percent=100.0)
    event = event_of(EventKind.COMPLETED, job, at, context, {})
    return Accepted(job=after, events=(event,), settles=_settle_final(job, report, None))


def fail(job: Job, report: r.Failed, at: int, context: Context) -> Verdict:
    failure = clean_failure(report.failure, job)
    after = replace(ended(job, at, report.summary), status=Status.FAILED, failure=failure)
    event = event_of(EventKind.FAILED, job, at, context, {"kind": failure.kind, "message": failure.message})
    return Accepted(job=after, events=(event,), settles=_settle_final(job, report, None))


def clean_failure(failure: Failure, job: Job) -> Failure:
    """A reported failure with its texts cut and cleaned, and the step that it happened in."""

    def line(text: str | None) -> str | None:
        return None if text is None else clean_line(text, MAX_TEXT_BYTES)

    return replace(
        failure,
        message=line(failure.message) or failure.kind.value,
        error_type=None if failure.error_type is None else clean_name(failure.error_type),
        signal=None if failure.signal is None else clean_name(failure.signal),
        step=clean_name(failure.step) if failure.step else job.current_step,
        stderr_tail=tuple(clean_line(text, MAX_TEXT_BYTES) for text in failure.stderr_tail[-MAX_TAIL_LINES:]),
        traceback=None if failure.traceback is None else clean_line(failure.traceback, 4 * MAX_TEXT_BYTES),
    )


def cancel(job: Job, report: r.Cancelled, at: int, context: Context) -> Verdict:
    pending = job.control_pending
    asked = pending if pending is not None and pending.action == "cancel" else None
    by, reason = (asked.by, asked.reason or report.reason) if asked is not None else (context.by, report.reason)
    return cancelled(job, report, at, by, reason)


def cancelled(job: Job, report: r.Cancelled, at: int, by: str | None, reason: str | None) -> Accepted:
    given = (report.summary or {}) | {"cancelledBy": by, "cancelReason": reason}
    after = replace(ended(job, at, given), status=Status.CANCELLED)
    detail = {"reason": reason, "commandId": report.command_id}
    event = Event(kind=EventKind.CANCELLED, job_id=job.id, at=at, by=by, detail=detail)
    return Accepted(job=after, events=(event,), settles=_settle_final(job, report, "cancel"))


def late(job: Job, report: r.Report, at: int, context: Context) -> Verdict:
    detail = {"report": str(report.__struct_config__.tag), "status": job.status.value}
    settles = None if report.command_id is None else (report.command_id, "overtaken")
    event = event_of(EventKind.LATE_REPORT, job, at, context, detail)
    return Accepted(job=job, events=(event,), settles=settles)


def mark_lost(job: Job, silent_ms: int, now: int) -> Accepted:
    """The agent of an active job was silent for too long: failed as ``lost``, until it is heard of again."""
    seconds = silent_ms // 1000
    failure = Failure(
        kind=FailureKind.LOST, message=f"Nothing was heard of the job's agent for {seconds} s.", step=job.current_step
    )
    pending = job.control_pending
    settles = None if pending is None or pending.command_id is None else (pending.command_id, "overtaken")
    after = replace(ended(job, now, None), status=Status.FAILED, failure=failure, updated_at=now)
    event = Event(kind=EventKind.LOST, job_id=job.id, at=now, detail={"silentMs": silent_ms})
    return Accepted(job=after, events=(event,), settles=settles)


def timeout_failure(job: Job) -> Failure:
    """What is said of a job that ran too long."""
    limit = (job.timeout_ms or 0) / 1000
    message = f"The job ran longer than its limit of {limit:g} s."
    return Failure(kind=FailureKind.TIMEOUT, message=message, step=job.current_step)


def mark_timed_out(job: Job, now: int) -> Accepted:
    """The job ran past its deadline and nobody ended it: failed as ``timeout``."""
    failure = timeout_failure(job)
    pending = job.control_pending
    settles = None if pending is None or pending.command_id is None else (pending.command_id, "overtaken")
    after = replace(ended(job, now, None), status=Status.FAILED, failure=failure, updated_at=now)
    event = Event(kind=EventKind.TIMED_OUT, job_id=job.id, at=now, detail={"timeoutMs": job.timeout_ms})
    return Accepted(job=after, events=(event,), settles=settles)


def reopen(job: Job, now: int) -> Job:
    """A lost job that was heard of again: it runs on, as if the guess had not been made."""
    return replace(
        job,
        status=Status.RUNNING,
        failure=None,
        summary=None,
        finished_at=None,
        last_failure=job.failure,
        updated_at=now,
    )
