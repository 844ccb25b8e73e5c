"""Reports: what an agent claims about a job, untrusted until ``lifecycle.apply`` has judged it.

The wire form is interface.md's; unknown keys are refused inside the one report that has them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from etlmon.core.job import Failure

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Instant = Annotated[datetime, Meta(tz=True)]


class Report(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    forbid_unknown_fields=True,
    tag_field="kind",
    omit_defaults=True,
):
    """What every report carries. ``at`` is when it happened by the agent's clock (None: when it is received)."""

    job_id: str
    at: Instant | None = None
    fencing_token: int | None = None
    command_id: str | None = None


class JobStarted(Report, frozen=True, kw_only=True, tag="job_started"):
    """The job began (or is known, with what is set). Sets the fields of Job that it names.

    ``attempt`` lets an agent of its own retries say which try this is; ``createdAt``-like fields are the server's.
    """

    name: str | None = None
    type: str | None = None
    owner: str | None = None
    tags: dict[str, str | int | float | bool] | None = None
    host: str | None = None
    source: str | None = None
    steps: tuple[str, ...] | None = None
    records_total: Count | None = None
    expected_duration_ms: Count | None = None
    timeout_ms: Count | None = None
    parent_id: str | None = None
    command: tuple[str, ...] | None = None
    config: dict[str, Any] | None = None


class Progress(Report, frozen=True, kw_only=True, tag="progress"):
    """How far it is, by percent (0–100) or by records; what is left out stays as it was."""

    progress_percent: float | None = None
    records_processed: Count | None = None
    records_total: Count | UnsetType | None = UNSET
    current_step: str | None = None
    step_index: Count | None = None
    metrics: dict[str, Any] | None = None


class StepStarted(Report, frozen=True, kw_only=True, tag="step_started"):
    """A named phase began."""

    step: str
    step_index: Count | None = None
    metrics: dict[str, Any] | None = None


class StepFinished(Report, frozen=True, kw_only=True, tag="step_finished"):
    """A named phase ended."""

    step: str
    step_index: Count | None = None
    metrics: dict[str, Any] | None = None


class MetricsReport(Report, frozen=True, kw_only=True, tag="metrics"):
    """Measurements; what is given is merged into the job's metrics."""

    metrics: dict[str, Any]


class Log(Report, frozen=True, kw_only=True, tag="log", gc=False):
    """One line that the job emitted. ``fields`` stays undecoded JSON until someone reads it.

    Made 100,000 times a second and holds no container, so the garbage collector need not know of it.
    """

    message: str
    level: str = "info"
    logger: str | None = None
    step: str | None = None
    fields: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Gap(Report, frozen=True, kw_only=True, tag="gap"):
    """The agent gave up ``dropped`` log lines between two of its instants."""

    dropped: Count
    from_: Instant | None = msgspec.field(default=None, name="from")
    to: Instant | None = None


class Heartbeat(Report, frozen=True, kw_only=True, tag="heartbeat"):
    """The agent lives; it has nothing to say."""


class Paused(Report, frozen=True, kw_only=True, tag="paused"):
    """The job holds still now."""


class Resumed(Report, frozen=True, kw_only=True, tag="resumed"):
    """The job goes on."""


class ControlRefused(Report, frozen=True, kw_only=True, tag="control_refused"):
    """The agent will not or cannot obey the command named."""

    reason: str | None = None


class Completed(Report, frozen=True, kw_only=True, tag="completed"):
    """All is done."""

    summary: dict[str, Any] | None = None


class Failed(Report, frozen=True, kw_only=True, tag="failed"):
    """It ended in failure."""

    failure: Failure
    summary: dict[str, Any] | None = None


class Cancelled(Report, frozen=True, kw_only=True, tag="cancelled"):
    """It stopped because it was asked to."""

    reason: str | None = None
    summary: dict[str, Any] | None = None


AnyReport = (
    JobStarted
    | Progress
    | StepStarted
    | StepFinished
    | MetricsReport
    | Log
    | Gap
    | Heartbeat
    | Paused
    | Resumed
    | ControlRefused
    | Completed
    | Failed
    | Cancelled
)

KINDS: dict[str, type[Report]] = {
    cls.__struct_config__.tag: cls  # type: ignore[misc]
    for cls in (
        JobStarted,
        Progress,
        StepStarted,
        StepFinished,
        MetricsReport,
        Log,
        Gap,
        Heartbeat,
        Paused,
        Resumed,
        ControlRefused,
        Completed,
        Failed,
        Cancelled,
    )
}
"""Every kind of report by its name on the wire."""

SAMPLES = frozenset({"progress", "metrics", "heartbeat"})
"""Kinds of which only the newest matters: never journaled."""


class Batch(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The body of ``POST /api/reports`` when every report in it is well-formed (the fast path)."""

    reports: list[AnyReport]
    producer: str | None = None
    seq: int | None = None
    sent_at: Instant | None = None
    now: list[dict[str, Any]] | None = None


class LooseBatch(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The same body with each report undecoded, so that a bad one can be refused by its index."""

    reports: list[msgspec.Raw]
    producer: str | None = None
    seq: int | None = None
    sent_at: Instant | None = None
    now: list[dict[str, Any]] | None = None


class Refusal(msgspec.Struct, frozen=True):
    """Why the report at ``index`` of a batch was not taken."""

    index: int
    why: str


class CommandItem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One command for an agent."""

    id: str
    job_id: str
    action: str
    reason: str | None = None
    by: str | None = None


class Receipt(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer to a batch, sent after the commit. ``ack`` is null for a batch without a producer."""

    ack: int | None
    accepted: int
    duplicates: int
    rejected: list[Refusal]
    commands: list[CommandItem]
