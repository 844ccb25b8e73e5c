"""Events: what was accepted and journaled; and the committed items that the hub is told of, in ``seq`` order."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from etlmon.core.job import Job, LogLine


class EventKind(StrEnum):
    """Every fact the journal can hold about a job."""

    JOB_QUEUED = "job_queued"
    JOB_READY = "job_ready"
    JOB_STARTED = "job_started"
    JOB_RELEASED = "job_released"
    JOB_RESCUED = "job_rescued"
    ATTEMPT_FAILED = "attempt_failed"
    STEP_STARTED = "step_started"
    STEP_FINISHED = "step_finished"
    PAUSED = "paused"
    RESUMED = "resumed"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    TIMED_OUT = "timed_out"
    JOB_RECOVERED = "job_recovered"
    LATE_REPORT = "late_report"
    REPORT_REFUSED = "report_refused"
    GAP = "gap"
    CONTROL_REQUESTED = "control_requested"
    CONTROL_REFUSED = "control_refused"
    PRIORITY_CHANGED = "priority_changed"
    TAGS_CHANGED = "tags_changed"


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A fact about one job. ``by`` is the owner name of the token behind it; ``detail`` is shown as it is."""

    kind: EventKind
    job_id: str
    at: int
    by: str | None = None
    detail: dict[str, Any] = msgspec.field(default_factory=dict)


class JobChange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A committed change of one job. ``event`` is None for a sample; ``before`` is None when it is new.

    ``after.seq == seq``. ``received_at`` is the instant at which the server read the report (for the update delay).
    """

    seq: int
    at: int
    before: Job | None
    after: Job
    event: Event | None = None
    metrics_only: bool = False
    received_at: int | None = None


class LogRun(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Committed log lines of consecutive ``seq`` (``lines[i].seq == seq + i``), and their jobs as of now."""

    seq: int
    at: int
    lines: list[LogLine]
    jobs: dict[str, Job]

    @property
    def last_seq(self) -> int:
        """The ``seq`` of the last line."""
        return self.seq + len(self.lines) - 1


class Notice(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A committed change of something that is not a job: an alert, the queue, a setting."""

    seq: int
    at: int
    topic: str
    type: str
    data: dict[str, Any]


Item = JobChange | LogRun | Notice
