"""A job: the state that is stored, and the view of it that people and programs are shown.

``Job`` holds facts only; whatever depends on the present instant (elapsed time, ETA) is derived in ``view``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from etlmon.core.instants import format_instant, format_optional


class Status(StrEnum):
    """Where a job stands. Who moves it on is said beside each."""

    PENDING = "pending"
    """Known but not started. Its agent starts it; an operator may cancel it."""
    RUNNING = "running"
    """Its agent works on it. The agent ends or pauses it; silence for ``lost_after`` fails it as lost."""
    PAUSED = "paused"
    """Its agent holds still, asked to by an operator or by itself. The agent resumes or ends it."""
    COMPLETED = "completed"
    """Final: the agent said that all is done."""
    FAILED = "failed"
    """Final, but for kind ``lost``, which is a guess that a later report of the same attempt corrects."""
    CANCELLED = "cancelled"
    """Final: stopped on purpose; the journal names who and why."""


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
ACTIVE = frozenset({Status.PENDING, Status.RUNNING, Status.PAUSED})


class FailureKind(StrEnum):
    """What made a job fail."""

    ERROR = "error"
    TIMEOUT = "timeout"
    LOST = "lost"
    KILLED = "killed"
    REJECTED = "rejected"
    UPSTREAM = "upstream"


class Health(StrEnum):
    """How well a job does, from its error rate and its rate against its own history."""

    EXCELLENT = "excellent"
    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"


class Outcome(StrEnum):
    """What a completed job is marked with beyond its status."""

    WARNING = "warning"


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The house's value type: frozen, keyword-only, camelCase outside."""


class Failure(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Why a job failed."""

    kind: FailureKind = FailureKind.ERROR
    message: str = ""
    error_type: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    step: str | None = None
    stderr_tail: tuple[str, ...] = ()
    traceback: str | None = None
    fingerprint: str | None = None
    suggested_actions: tuple[str, ...] = ()


class ControlPending(Record, frozen=True, kw_only=True):
    """A control that was asked for and is not yet obeyed."""

    action: str
    by: str
    at: int
    reason: str | None = None
    command_id: str | None = None


class StepTime(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One step of one job: when it began and ended (instants, ms) and what it counted."""

    name: str
    index: int
    started_at: int
    finished_at: int | None = None
    metrics: dict[str, Any] = msgspec.field(default_factory=dict)


class Past(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What finished runs of the same name looked like, taken once when the job starts.

    Durations in milliseconds, rates in records per second; ``runs`` is how many were looked at.
    """

    runs: int
    p25_ms: int
    p50_ms: int
    p90_ms: int
    rate: float | None = None


METRIC_KEYS = (
    "recordsTotal",
    "recordsProcessed",
    "recordsSuccessful",
    "recordsFailed",
    "errorRate",
    "bytesProcessed",
    "processingRate",
    "memoryUsage",
    "cpuUsage",
    "executionTime",
)
"""The metrics every view carries, null when unknown; a reporter may add its own beside them."""


class Job(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One execution, as stored. Instants are integer milliseconds UTC; absent fields are at their default.

    ``pace`` is percent points per second, smoothed over the last minute of progress (None until two reports).
    ``reporter`` is the id of the token that reported it; ``producer`` the process incarnation that obeys commands
    (None: nobody does, as with curl).
    """

    id: str
    name: str
    type: str
    status: Status
    created_at: int
    updated_at: int
    seq: int = 0
    outcome: Outcome | None = None
    progress_percent: float | None = None
    current_step: str | None = None
    step_index: int | None = None
    steps: tuple[str, ...] = ()
    step_times: tuple[StepTime, ...] = ()
    owner: str | None = None
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    host: str | None = None
    source: str | None = None
    priority: int = 0
    attempt: int = 1
    retry_of: str | None = None
    parent_id: str | None = None
    after: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    run_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    paused_at: int | None = None
    paused_ms: int = 0
    expected_duration_ms: int | None = None
    timeout_ms: int | None = None
    deadline_at: int | None = None
    metrics: dict[str, Any] = msgspec.field(default_factory=dict)
    pace: float | None = None
    progressed_at: int | None = None
    past: Past | None = None
    health: Health | None = None
    failure: Failure | None = None
    last_failure: Failure | None = None
    control_pending: ControlPending | None = None
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    summary: dict[str, Any] | None = None
    warnings: int = 0
    reporter: str | None = None
    producer: str | None = None
    fencing_token: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether the status is one of those that end a job."""
        return self.status in FINAL

    def execution_ms(self, now: int) -> int | None:
        """Milliseconds of work so far or in all, paused time left out; None before the start."""
        if self.started_at is None:
            return None
        end = self.finished_at if self.finished_at is not None else now
        paused = self.paused_ms
        if self.paused_at is not None and self.finished_at is None:
            paused += max(0, end - self.paused_at)
        return max(0, end - self.started_at - paused)


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
    config: dict[str, Any]
    summary: dict[str, Any] | None
    recent_logs: tuple[LogEntry, ...]
    seq: int


class Level(StrEnum):
    """How grave a log line is, mildest first."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


LEVEL_NUMBER = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
LEVEL_NAME = {number: name for name, number in LEVEL_NUMBER.items()}
LEVEL_ALIASES = {"trace": 10, "notice": 20, "warn": 30, "err": 40, "fatal": 50, "crit": 50, "emerg": 50, "alert": 50}


def parse_level(text: str) -> int:
    """A level's number (10–50, as in ``logging``) from its name in any case; ValueError for other words."""
    word = text.lower()
    number = LEVEL_NUMBER.get(word) or LEVEL_ALIASES.get(word)
    if number is None:
        raise ValueError(f"{text!r} is not a level: use debug, info, warning, error or critical")
    return number


class LogLine(msgspec.Struct, frozen=True, gc=False):
    """One line as the server keeps it. Positional, unknown to the collector: it is made 100,000 times a second.

    ``level`` is 10–50; ``at`` an instant in ms; ``fields`` a JSON object's bytes or None.
    """

    seq: int
    job_id: str
    name: str
    at: int
    level: int
    message: str
    logger: str | None = None
    step: str | None = None
    fields: msgspec.Raw | None = None
    attempt: int = 1


class LogEntry(Record, frozen=True, kw_only=True):
    """A log line as interface.md shows it."""

    seq: int
    job_id: str
    name: str
    at: str
    level: str
    message: str
    logger: str | None
    step: str | None
    fields: dict[str, Any] | None
    attempt: int


class LogEntryFrame(Record, frozen=True, kw_only=True):
    """``LogEntry`` for encoding only: ``fields`` is spliced in as it is stored, without a decode."""

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


def log_frame(line: LogLine) -> LogEntryFrame:
    """The entry of a line, ready to encode."""
    return LogEntryFrame(
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


def shown_control(job: Job) -> ControlPendingView | None:
    """The pending control as shown."""
    pending = job.control_pending
    if pending is None:
        return None
    return ControlPendingView(
        action=pending.action, by=pending.by, at=format_instant(pending.at), reason=pending.reason
    )


def view(job: Job, now: int, *, durable: bool = True, recent_logs: tuple[LogEntry, ...] = ()) -> JobView:
    """What a person or program is shown of ``job`` at the instant ``now`` (ms)."""
    from etlmon.core.forecast import forecast  # forecast reads Job: the import closes a cycle if made above

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
        control_pending=shown_control(job),
        config=job.config,
        summary=job.summary,
        recent_logs=recent_logs,
        seq=job.seq,
    )
