"""A job as the console holds it: the stored facts, and what only the server can tell (ETA, durability). Pure.

Built from REST's and the snapshot's JobView, and moved on by the stream's messages.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import replace

from etlmon.core.job import ACTIVE, ControlPending, Failure, FailureKind, Health, Job, Outcome, Status
from etlmon.core.text import shown

Data = dict[str, Any]

_STATUS = {status.value: status for status in Status}
_HEALTH = {health.value: health for health in Health}


MINUTE_MS = 60_000


class LiveJob(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``job`` with the server's estimate: it ends from ``low_at`` to ``high_at`` (instants, ms; None: no basis)."""

    job: Job
    durable: bool = True
    low_at: int | None = None
    high_at: int | None = None
    basis: str | None = None

    @property
    def id(self) -> str:
        """The job's id."""
        return self.job.id

    @property
    def is_active(self) -> bool:
        """Whether the job has not ended."""
        return self.job.status in ACTIVE

    @property
    def since(self) -> int:
        """The instant at which the status last changed, as far as it is known."""
        job = self.job
        return job.finished_at or job.paused_at or job.started_at or job.created_at

    @property
    def word(self) -> str:
        """The status, or ``warning`` for a completed job with that outcome."""
        job = self.job
        return "warning" if job.outcome is Outcome.WARNING and job.status is Status.COMPLETED else job.status.value


def instant(text: str | None) -> int | None:
    """A timestamp of the server → ms; None for none and for what is no timestamp."""
    if not text:
        return None
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return None


def from_view(view: Data, seen_at: int) -> LiveJob:
    """A JobView as REST and snapshots give it, taken at the instant ``seen_at`` of the server's clock."""
    job = Job(
        id=str(view["id"]),
        name=shown(str(view.get("name") or "")),
        type=shown(str(view.get("type") or "")),
        status=_STATUS.get(view.get("status") or "", Status.PENDING),
        created_at=instant(view.get("createdAt")) or seen_at,
        updated_at=instant(view.get("updatedAt")) or seen_at,
        seq=view.get("seq") or 0,
    )
    return _moved(LiveJob(job=job), view, seen_at, whole=True)


def moved(before: LiveJob | None, data: Data, seq: int | None, at: int) -> LiveJob | None:
    """The job after a ``job_status_update`` or ``job_progress``; ``before`` itself when the message is older.

    None when the job is unknown and the message does not tell the whole of it.
    """
    if before is None:
        if "createdAt" not in data:
            return None
        return from_view({**data, "id": data["jobId"], "seq": seq or 0}, at)
    if seq is not None and seq <= before.job.seq:
        return before
    return _moved(before, data, at, whole="createdAt" in data, seq=seq)


def _moved(before: LiveJob, data: Data, at: int, *, whole: bool, seq: int | None = None) -> LiveJob:
    job = before.job
    status = _STATUS.get(data.get("status") or "", job.status)
    changes: Data = {
        "status": status,
        "progress_percent": data.get("progressPercent"),
        "current_step": _text(data.get("currentStep")),
        "step_index": data.get("stepIndex"),
        "owner": _text(data.get("owner")),
        "metrics": _metrics(data.get("metrics")),
        "health": _HEALTH.get(data.get("health") or ""),
        "failure": _failure(data.get("failure")),
        "control_pending": _control(data.get("controlPending")),
        "updated_at": instant(data.get("updatedAt")) or at,
    }
    if seq is not None:
        changes["seq"] = seq
    if status is not job.status and status is Status.RUNNING and job.started_at is None:
        changes["started_at"] = at
    if data.get("summary") is not None:
        changes["summary"] = data["summary"]
    if whole:
        changes |= _slow_part(data)
    after = replace(job, **changes)
    after = replace(after, paused_ms=_paused_ms(after, data.get("executionTimeMs"), at))
    estimate = data.get("estimate") or {}
    low_at, high_at = _steady(before, instant(estimate.get("low")), instant(estimate.get("high")), at)
    return LiveJob(
        job=after,
        durable=data.get("durable") is not False,
        low_at=low_at,
        high_at=high_at,
        basis=_text(estimate.get("basis")),
    )


def _steady(before: LiveJob, low_at: int | None, high_at: int | None, at: int) -> tuple[int | None, int | None]:
    """The band as it was, unless an end moves by a minute or 5 % of what remains: what trembles is not read."""
    if before.low_at is None or before.high_at is None or low_at is None or high_at is None:
        return low_at, high_at
    enough = max(MINUTE_MS, (high_at - at) * 0.05)
    if abs(low_at - before.low_at) < enough and abs(high_at - before.high_at) < enough:
        return before.low_at, before.high_at
    return low_at, high_at


def _slow_part(data: Data) -> Data:
    """What only a status update and a whole view carry."""
    return {
        "outcome": Outcome.WARNING if data.get("outcome") == "warning" else None,
        "steps": tuple(shown(str(step)) for step in data.get("steps") or ()),
        "tags": {shown(str(key)): shown(str(value)) for key, value in (data.get("tags") or {}).items()},
        "host": _text(data.get("host")),
        "source": _text(data.get("source")),
        "priority": data.get("priority") or 0,
        "attempt": data.get("attempt") or 1,
        "retry_of": data.get("retryOf"),
        "parent_id": data.get("parentId"),
        "after": tuple(data.get("after") or ()),
        "run_at": instant(data.get("runAt")),
        "started_at": instant(data.get("startedAt")),
        "finished_at": instant(data.get("finishedAt")),
        "paused_at": instant(data.get("pausedAt")),
        "paused_by": _control(data.get("pausedBy")),
        "last_failure": _failure(data.get("lastFailure")),
        "summary": data.get("summary"),
    }


def _paused_ms(job: Job, execution_ms: int | None, at: int) -> int:
    """The paused time that makes the job's own reckoning agree with the server's at the instant ``at``."""
    if execution_ms is None or job.started_at is None:
        return job.paused_ms
    end = job.finished_at if job.finished_at is not None else at
    open_pause = max(0, end - job.paused_at) if job.paused_at is not None and job.finished_at is None else 0
    return max(0, end - job.started_at - execution_ms - open_pause)


@lru_cache(maxsize=4096)
def _shown(text: str) -> str:
    return shown(text)


def _text(value: object) -> str | None:
    return None if value is None else _shown(str(value))


def _metrics(metrics: Data | None) -> Data:
    """The known metrics; null ones left out, as the stored job has them."""
    return {key: value for key, value in (metrics or {}).items() if value is not None}


def _failure(data: Data | None) -> Failure | None:
    if not data:
        return None
    try:
        kind = FailureKind(data.get("kind") or "error")
    except ValueError:
        kind = FailureKind.ERROR
    return Failure(
        kind=kind,
        message=shown(str(data.get("message") or kind.value), keep_newlines=True),
        error_type=_text(data.get("errorType")),
        exit_code=data.get("exitCode"),
        signal=_text(data.get("signal")),
        step=_text(data.get("step")),
        suggested_actions=tuple(shown(str(each)) for each in data.get("suggestedActions") or ()),
    )


def _control(data: Data | None) -> ControlPending | None:
    if not data:
        return None
    return ControlPending(
        action=shown(str(data.get("action") or "")),
        by=shown(str(data.get("by") or "somebody")),
        at=instant(data.get("at")) or 0,
        reason=_text(data.get("reason")),
    )
