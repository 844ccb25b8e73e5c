"""The life of a job: what each report does in each status. Total and pure: any (job, report, now) has an answer.

Rules:
- Final statuses absorb: a late state report is kept as an event and changes nothing, a late sample is dropped.
- ``failed`` with kind ``lost`` is a guess: any later report of the same attempt reopens the job first.
- A state report twice is that report once (``Duplicate``).
- A report that implies work starts a pending job, but for a managed one, which only a claim starts.
- A managed job listens to its present claim alone; a failed attempt with a try left goes back to the queue.

``TABLE`` says what a report does; the rooms ``work``, ``control`` and ``endings`` say how.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, assert_never

from msgspec.structs import replace

from etlmon.core import control, endings, queue, work
from etlmon.core import reports as r
from etlmon.core.events import Event, EventKind
from etlmon.core.job import Job, Status
from etlmon.core.verdicts import Accepted, Context, Duplicate, Rejected, Verdict, event_of, instant_of, is_lost


class Does(StrEnum):
    """What a report does to a job."""

    START = "start"
    PROGRESS = "progress"
    STEP_START = "step_start"
    STEP_FINISH = "step_finish"
    MEASURE = "measure"
    BEAT = "beat"
    LOG = "log"
    GAP = "gap"
    PAUSE = "pause"
    RESUME = "resume"
    REFUSE = "refuse"
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"
    LATE = "late"
    DROP = "drop"
    REPEAT = "repeat"


_WORKING = {
    "job_started": Does.START,
    "progress": Does.PROGRESS,
    "step_started": Does.STEP_START,
    "step_finished": Does.STEP_FINISH,
    "metrics": Does.MEASURE,
    "log": Does.LOG,
    "gap": Does.GAP,
    "heartbeat": Does.BEAT,
    "paused": Does.PAUSE,
    "resumed": Does.RESUME,
    "control_refused": Does.REFUSE,
    "completed": Does.COMPLETE,
    "failed": Does.FAIL,
    "cancelled": Does.CANCEL,
}
_OVER = dict.fromkeys(_WORKING, Does.LATE) | {
    "progress": Does.DROP,
    "metrics": Does.DROP,
    "heartbeat": Does.DROP,
    "log": Does.LOG,
    "gap": Does.GAP,
}
TABLE: dict[Status, dict[str, Does]] = {
    Status.PENDING: dict(_WORKING),
    Status.RUNNING: _WORKING | {"resumed": Does.REPEAT},
    Status.PAUSED: _WORKING | {"paused": Does.REPEAT},
    Status.COMPLETED: _OVER | {"completed": Does.REPEAT},
    Status.FAILED: _OVER | {"failed": Does.REPEAT},
    Status.CANCELLED: _OVER | {"cancelled": Does.REPEAT},
}
"""Status × kind of report → what is done. ``failed`` as ``lost`` is reopened first and then read as ``running``."""

IMPLIES_START = frozenset(
    {
        Does.PROGRESS,
        Does.STEP_START,
        Does.STEP_FINISH,
        Does.MEASURE,
        Does.BEAT,
        Does.LOG,
        Does.PAUSE,
        Does.RESUME,
        Does.COMPLETE,
    }
)
"""What starts a job that is pending: nobody does these before the work began."""


def apply(job: Job | None, report: r.AnyReport, now: int, context: Context) -> Verdict:
    """Judge ``report`` on ``job`` (None: the first that is heard of it) at the instant ``now`` (ms).

    Total: every combination gets Accepted, Duplicate or Rejected; never raises for a decoded report.
    """
    fault = work.fault_of(report)
    if fault is not None:
        return Rejected(fault)
    at = instant_of(report, now, context.skew_ms)
    events: tuple[Event, ...] = ()
    if job is None:
        job = work.born(report, at, now, context)
    elif _is_stale(job, report):
        return _stale(job, report, now)
    elif is_lost(job) and not job.is_managed:
        job = endings.reopen(job, now)
        events = (Event(kind=EventKind.JOB_RECOVERED, job_id=job.id, at=at, by=context.by),)
    kind = report.__struct_config__.tag
    does = TABLE[job.status][str(kind)]
    if job.status is Status.PENDING and does in IMPLIES_START:
        job = work.begin(job, at)
        events = (*events, event_of(EventKind.JOB_STARTED, job, at, context, {"impliedBy": str(kind)}))
    verdict = _perform(does, job, report, at, context)
    if isinstance(verdict, Accepted):
        return replace(verdict, job=replace(verdict.job, updated_at=now), events=events + verdict.events)
    if events and isinstance(verdict, Duplicate):
        return Accepted(job=replace(job, updated_at=now), events=events)
    return verdict


def _perform(does: Does, job: Job, report: Any, at: int, context: Context) -> Verdict:
    match does:
        case Does.START:
            return work.start(job, report, at, context)
        case Does.PROGRESS:
            return work.progress(job, report, at)
        case Does.STEP_START:
            return work.step_start(job, report, at)
        case Does.STEP_FINISH:
            return work.step_finish(job, report, at)
        case Does.MEASURE:
            return work.measure(job, report)
        case Does.BEAT:
            return Accepted(job=job, sample=True)
        case Does.LOG:
            return Accepted(job=job)
        case Does.GAP:
            return work.gap(job, report, at)
        case Does.PAUSE:
            return control.pause(job, report, at, context)
        case Does.RESUME:
            return control.resume(job, report, at, context)
        case Does.REFUSE:
            return control.refuse(job, report, at, context)
        case Does.COMPLETE:
            return endings.complete(job, report, at, context)
        case Does.FAIL:
            return _fail(job, report, at, context)
        case Does.CANCEL:
            return endings.cancel(job, report, at, context)
        case Does.LATE:
            return endings.late(job, report, at, context)
        case Does.DROP:
            return Accepted(job=job)
        case Does.REPEAT:
            return Duplicate()
    assert_never(does)


def _fail(job: Job, report: r.Failed, at: int, context: Context) -> Verdict:
    again = queue.tried(job, report.failure, at, context.dice, context.by) if job.is_managed else None
    return endings.fail(job, report, at, context) if again is None else again


def _is_stale(job: Job, report: r.Report) -> bool:
    """Whether the report is of a claim that does not hold, or no longer."""
    if job.is_managed:
        return job.status is Status.PENDING or report.fencing_token != job.fencing_token
    return job.fencing_token is not None and report.fencing_token != job.fencing_token


def _stale(job: Job, report: r.Report, now: int) -> Rejected:
    why = "the fencing token is not the one of the present attempt: the job was given to another worker"
    kind = str(report.__struct_config__.tag)
    detail = {"report": kind, "why": why}
    return Rejected(why, Event(kind=EventKind.REPORT_REFUSED, job_id=job.id, at=now, detail=detail))
