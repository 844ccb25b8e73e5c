"""A job: the state that is stored. It holds facts only; what people are shown of it is made in ``core.views``."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


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


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The house's value type: frozen, keyword-only, camelCase outside.

    Unknown to the garbage collector: a frozen value holds only what was there before it, so it is never part of a
    cycle, and the thousands that a server remembers would cost each look of the collector some 50 ms.
    """


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
    ``paused_by`` is the control that a paused job obeyed (None: it paused by itself).
    ``reporter`` is the id of the token that reported it; ``producer`` the process incarnation that obeys commands
    (None: nobody does, as with curl).

    A managed job, which etlmon itself starts, has a ``queue``: ``retries`` tries beyond the first, ``failures`` of them
    used up, ``rescues`` from workers that vanished; ``waiting_for`` are the jobs of ``after`` that are not completed
    yet; ``worker`` holds it while it runs, under ``fencing_token``.
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
    paused_by: ControlPending | None = None
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    summary: dict[str, Any] | None = None
    warnings: int = 0
    reporter: str | None = None
    producer: str | None = None
    fencing_token: int | None = None
    queue: str | None = None
    retries: int = 0
    failures: int = 0
    rescues: int = 0
    waiting_for: tuple[str, ...] = ()
    dedup_key: str | None = None
    worker: str | None = None

    @property
    def is_managed(self) -> bool:
        """Whether etlmon starts it, or only watches it."""
        return self.queue is not None

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
