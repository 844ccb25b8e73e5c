"""What each cell of a job's row says, and in which role. Pure: a job and the instant it is looked at, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import tzinfo

import msgspec

from etlmon.core.durations import format_duration, format_size
from etlmon.core.glyphs import glyph, role
from etlmon.core.job import Health, Job, Status
from etlmon.core.text import shown
from etlmon.tui.drawing import figures
from etlmon.tui.drawing.spans import Span
from etlmon.tui.jobs.live import LiveJob

NONE = "–"


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What the cells of every row share: the instant, the clock's zone, other jobs' names, ASCII or not."""

    now: int
    zone: tzinfo | None = None
    name_of: Callable[[str], str | None] = lambda _: None
    ascii: bool = False


def status(live: LiveJob, scene: Scene) -> Span:
    """Glyph and word; a control that is asked for in its place; ``~`` before what is not saved."""
    word = live.word
    mark = "" if live.durable else "~"
    pending = live.job.control_pending
    if pending is not None:
        dots = "..." if scene.ascii else "…"
        return Span(f"{mark}{glyph(word, ascii_only=scene.ascii)} {pending.action}{dots}", "accent")
    look = role(word) + (" bold" if live.job.status is Status.FAILED else "")
    return Span(f"{mark}{glyph(word, ascii_only=scene.ascii)} {word}", look)


def eta(live: LiveJob, scene: Scene) -> Span:
    """When it will end: a band, an instant, how late it is, or ``–`` without a basis. Empty but for running jobs."""
    if live.job.status is not Status.RUNNING:
        return Span("")
    low, high, now = live.low_at, live.high_at, scene.now
    dash = "-" if scene.ascii else NONE
    late = lateness_ms(live, now)
    if late is not None:
        return Span(f"{format_duration(late // 60_000 * 60_000)} late", "warn bold")
    if low is None or high is None:
        return Span(dash, "muted")
    if figures.local(high, scene.zone).date() != figures.local(now, scene.zone).date():
        return Span(figures.day_clock(high, now, scene.zone))
    if high - low < figures.MINUTE:
        return Span(figures.clock(high, scene.zone, seconds=False))
    first, last = (figures.clock(at, scene.zone, seconds=False) for at in (low, high))
    return Span(first if first == last else f"{first}{dash}{last}")


def lateness_ms(live: LiveJob, now: int) -> int | None:
    """How far a running job is past what was expected of it, from a minute on; None when it is not."""
    job = live.job
    if job.status is not Status.RUNNING or live.high_at is None:
        return None
    over = now - live.high_at
    return over if over >= figures.MINUTE else None


def time(live: LiveJob, scene: Scene) -> Span:
    """How long it has worked, pauses left out."""
    return Span(figures.worked(live.job.execution_ms(scene.now)))


def number(job: Job, key: str) -> float | None:
    """A metric that is a number."""
    value = job.metrics.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def rows(live: LiveJob, scene: Scene) -> Span:
    """Records processed."""
    return Span(figures.count(number(live.job, "recordsProcessed")))


def errors(live: LiveJob, scene: Scene) -> Span:
    """Records that failed: muted when none, warn above 1 %, fail above 5 % or when the job failed."""
    job = live.job
    failed = number(job, "recordsFailed")
    if failed is None:
        return Span("")
    if failed == 0:
        return Span("0", "muted")
    share = failed / max(1.0, number(job, "recordsProcessed") or 0.0)
    bad = job.status is Status.FAILED or share > 0.05
    return Span(figures.count(failed), "fail" if bad else "warn" if share > 0.01 else "text")


def rate(live: LiveJob, scene: Scene) -> Span:
    """Records per second of a running job; warn when the server finds it unlike the job's past."""
    job = live.job
    if job.status is not Status.RUNNING:
        return Span("")
    odd = job.health in (Health.POOR, Health.FAIR)
    return Span(figures.rate(number(job, "processingRate")), "warn" if odd else "text")


def reason(live: LiveJob, scene: Scene) -> Span:
    """The step of what runs; why it waits, stands or failed; what came of it."""
    job = live.job
    pending = job.control_pending
    if pending is not None:
        ago = figures.age(scene.now - pending.at)
        return Span(f"asked by {pending.by} {ago} ago" + (f": {pending.reason}" if pending.reason else ""), "accent")
    match job.status:
        case Status.RUNNING:
            return Span(job.current_step or "")
        case Status.FAILED:
            failure = job.failure
            return Span(failure.message.split("\n", 1)[0] if failure else "failed", "fail")
        case Status.PAUSED:
            return Span(_why_paused(job, scene), "paused")
        case Status.PENDING:
            return Span(_why_pending(job, scene))
        case Status.CANCELLED:
            return Span(_why_cancelled(job))
        case Status.COMPLETED:
            return Span(outcome(job), "warn" if live.word == "warning" else "muted")


def _why_paused(job: Job, scene: Scene) -> str:
    held = job.paused_by
    since = "" if job.paused_at is None else f" {figures.age(scene.now - job.paused_at)} ago"
    if held is None:
        return f"by itself{since}"
    return f"by {held.by}{since}" + (f": {held.reason}" if held.reason else "")


def _why_pending(job: Job, scene: Scene) -> str:
    if job.last_failure is not None:
        at = "" if job.run_at is None else f" at {figures.day_clock(job.run_at, scene.now, scene.zone)}"
        return f"try {job.attempt}{at}: {job.last_failure.message.splitlines()[0]}"
    if job.after:
        return "after " + ", ".join(scene.name_of(each) or each[-8:] for each in job.after)
    if job.run_at is not None and job.run_at > scene.now:
        return f"starts {figures.day_clock(job.run_at, scene.now, scene.zone)}"
    return ""


def _why_cancelled(job: Job) -> str:
    summary = job.summary or {}
    by, why = summary.get("cancelledBy"), summary.get("cancelReason")
    return shown((f"by {by}" if by else "") + (f": {why}" if by and why else str(why or "")))


def outcome(job: Job) -> str:
    """What a completed job did: ``5.9M rows, 1.1 GB``, or ``381 of 2.2M rejected``."""
    summary: Mapping[str, object] = job.summary or {}
    done, size = number(job, "recordsProcessed"), number(job, "bytesProcessed")
    rejected = summary.get("recordsRejected")
    if isinstance(rejected, int | float) and rejected > 0:
        return f"{figures.count(rejected)} of {figures.count(done)} rejected" if done else f"{rejected:g} rejected"
    told = [f"{figures.count(done)} rows"] if done else []
    if size:
        told.append(format_size(int(size)))
    return ", ".join(told)
