"""What the lifecycle answers: Accepted, Duplicate or Rejected; and what the shell tells it of a report."""

from __future__ import annotations

from typing import Any

import msgspec

from etlmon.core import reports as r
from etlmon.core.events import Event, EventKind
from etlmon.core.instants import from_datetime
from etlmon.core.job import FailureKind, Job, Past, Status

MAX_TEXT_BYTES = 16_384


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What the shell knows of a report: who sent it, and how far its clock is off (``skew_ms`` is added to ``at``).

    ``dice`` is a random share (0 to 1), for what must not happen to many at the same instant.
    """

    producer: str | None = None
    reporter: str | None = None
    by: str | None = None
    owner: str | None = None
    skew_ms: int = 0
    past: Past | None = None
    dice: float = 0.5


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The report holds: the job after it, the facts to journal, and the command that it settles.

    With neither events nor ``sample`` nothing that is shown has changed.
    """

    job: Job
    events: tuple[Event, ...] = ()
    sample: bool = False
    metrics_only: bool = False
    settles: tuple[str, str] | None = None


class Duplicate(msgspec.Struct, frozen=True):
    """The report says what is already so; nothing changes."""


class Rejected(msgspec.Struct, frozen=True):
    """The report cannot be taken; ``why`` says it in one sentence. ``event`` is journaled when the job is known."""

    why: str
    event: Event | None = None


Verdict = Accepted | Duplicate | Rejected


def instant_of(report: r.Report, now: int, skew_ms: int) -> int:
    """When the report happened by the server's clock: corrected for the agent's skew, never later than ``now``."""
    if report.at is None:
        return now
    return max(0, min(now, from_datetime(report.at) + skew_ms))


def event_of(kind: EventKind, job: Job, at: int, context: Context, detail: dict[str, Any]) -> Event:
    return Event(kind=kind, job_id=job.id, at=at, by=context.by, detail=detail)


def is_lost(job: Job) -> bool:
    """Whether the job only counts as failed because its agent was silent."""
    return job.status is Status.FAILED and job.failure is not None and job.failure.kind is FailureKind.LOST
