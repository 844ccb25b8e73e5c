"""Control: what operators ask of a job, and how its agent's answer is read."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from etlmon.core import reports as r
from etlmon.core.endings import cancelled, unpaused
from etlmon.core.events import Event, EventKind
from etlmon.core.job import FINAL, ControlPending, Job, Status
from etlmon.core.verdicts import Accepted, Context, Duplicate, Rejected, Verdict, event_of, is_lost
from etlmon.core.work import clean_tags


def _obeyed(job: Job, report: r.Report, action: str) -> tuple[Job, tuple[str, str] | None, ControlPending | None]:
    """The job without the pending control that ``report`` obeys, the command to settle, and that control."""
    pending = job.control_pending
    if pending is not None and (pending.action == action or pending.command_id == report.command_id):
        settles = None if pending.command_id is None else (pending.command_id, "obeyed")
        return replace(job, control_pending=None), settles, pending
    return job, None if report.command_id is None else (report.command_id, "obeyed"), None


def _by(pending: ControlPending | None, context: Context) -> tuple[str | None, dict[str, Any]]:
    if pending is None:
        return context.by, {}
    return pending.by, {"reason": pending.reason, "commandId": pending.command_id}


def pause(job: Job, report: r.Paused, at: int, context: Context) -> Verdict:
    after, settles, pending = _obeyed(job, report, "pause")
    by, detail = _by(pending, context)
    after = replace(after, status=Status.PAUSED, paused_at=at, paused_by=pending, pace=None)
    event = Event(kind=EventKind.PAUSED, job_id=job.id, at=at, by=by, detail=detail)
    return Accepted(job=after, events=(event,), settles=settles)


def resume(job: Job, report: r.Resumed, at: int, context: Context) -> Verdict:
    after, settles, pending = _obeyed(job, report, "resume")
    by, detail = _by(pending, context)
    after = unpaused(after, at)
    since = None if after.progressed_at is None else at  # the pause is no time in which nothing was done
    event = Event(kind=EventKind.RESUMED, job_id=job.id, at=at, by=by, detail=detail)
    return Accepted(job=replace(after, status=Status.RUNNING, progressed_at=since), events=(event,), settles=settles)


def refuse(job: Job, report: r.ControlRefused, at: int, context: Context) -> Verdict:
    pending = job.control_pending
    if pending is None or (report.command_id is not None and report.command_id != pending.command_id):
        return Duplicate()
    detail = {"action": pending.action, "askedBy": pending.by, "reason": report.reason, "commandId": pending.command_id}
    settles = None if pending.command_id is None else (pending.command_id, "refused")
    event = event_of(EventKind.CONTROL_REFUSED, job, at, context, detail)
    return Accepted(job=replace(job, control_pending=None), events=(event,), settles=settles)


def request_control(
    job: Job, action: str, *, by: str, reason: str | None, command_id: str, now: int, obeyed_by_nobody: bool
) -> Verdict:
    """An operator asks to ``pause``, ``resume`` or ``cancel``.

    Accepted with a pending control, Duplicate when it is asked for already, Rejected (409) with why. A job that nobody
    works on has nobody to obey: cancel ends it at once, and resume forgets the pause that it was to begin with.
    """
    why = control_fault(job, action, obeyed_by_nobody=obeyed_by_nobody)
    if why is not None:
        return Rejected(why)
    pending = job.control_pending
    if pending is not None and pending.action == action:
        return Duplicate()
    if obeyed_by_nobody and action == "resume":
        return _unheld(job, by, reason, now)
    if obeyed_by_nobody:
        report = r.Cancelled(job_id=job.id, reason=reason)
        ended = cancelled(job, report, now, by, reason)
        return replace(ended, job=replace(ended.job, updated_at=now))
    asked = ControlPending(action=action, by=by, at=now, reason=reason, command_id=command_id)
    settles = None if pending is None or pending.command_id is None else (pending.command_id, "superseded")
    detail = {"action": action, "reason": reason, "commandId": command_id}
    event = Event(kind=EventKind.CONTROL_REQUESTED, job_id=job.id, at=now, by=by, detail=detail)
    return Accepted(job=replace(job, control_pending=asked, updated_at=now), events=(event,), settles=settles)


def has_nobody(job: Job) -> bool:
    """Whether there is nobody to obey a control: a managed job has its worker while it runs, others their producer."""
    return job.status is Status.PENDING if job.is_managed else job.producer is None


def _unheld(job: Job, by: str, reason: str | None, now: int) -> Accepted:
    """A queued job will not begin with a pause after all."""
    pending = job.control_pending
    settles = None if pending is None or pending.command_id is None else (pending.command_id, "superseded")
    detail = {"action": "resume", "reason": reason}
    event = Event(kind=EventKind.CONTROL_REQUESTED, job_id=job.id, at=now, by=by, detail=detail)
    return Accepted(job=replace(job, control_pending=None, updated_at=now), events=(event,), settles=settles)


def control_fault(job: Job, action: str, *, obeyed_by_nobody: bool) -> str | None:
    """Why ``action`` cannot be asked of the job now, in one sentence; None when it can."""
    if job.status in FINAL and not is_lost(job):
        return f"The job is already {job.status.value}."
    if is_lost(job):
        return "The job's agent is silent and the job counts as lost: there is nobody to obey."
    if action == "cancel":
        return None
    if obeyed_by_nobody and not job.is_managed:
        return f"Nobody would obey: the job is reported without an agent, so it cannot {action}."
    asked = None if job.control_pending is None else job.control_pending.action
    if action == "pause" and job.status is not Status.RUNNING and asked != "resume":
        return f"The job is {job.status.value}: only a running job can be paused."
    if action == "resume" and job.status is not Status.PAUSED and asked != "pause":
        return f"The job is {job.status.value}: only a paused job can be resumed."
    return None


def annotate(job: Job, *, priority: int | None, tags: dict[str, str] | None, by: str, now: int) -> Verdict:
    """An operator sets the priority or replaces the tags."""
    after, events = job, []
    if priority is not None and priority != job.priority:
        after = replace(after, priority=priority)
        detail: dict[str, Any] = {"from": job.priority, "to": priority}
        events.append(Event(kind=EventKind.PRIORITY_CHANGED, job_id=job.id, at=now, by=by, detail=detail))
    if tags is not None and (cleaned := clean_tags(tags)) != job.tags:
        after = replace(after, tags=cleaned)
        events.append(Event(kind=EventKind.TAGS_CHANGED, job_id=job.id, at=now, by=by, detail={"tags": cleaned}))
    if not events:
        return Duplicate()
    return Accepted(job=replace(after, updated_at=now), events=tuple(events))
