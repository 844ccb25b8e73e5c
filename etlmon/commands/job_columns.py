"""How a job looks in a list and as a record: its columns, glyphs and labelled lines. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from etlmon.commands.output import Column, Item, Look, instant_ms
from etlmon.core.durations import format_duration, format_size
from etlmon.core.glyphs import glyph, role
from etlmon.core.ids import short_id

FINAL = frozenset({"completed", "failed", "cancelled"})


def status_word(job: Item) -> str:
    """The status, or ``warning`` for a completed job that has it as its outcome."""
    status = str(job.get("status") or "")
    return "warning" if status == "completed" and job.get("outcome") == "warning" else status


def gist(job: Item) -> tuple[object, ...]:
    """What a row must tell anew to be worth another row: a new status, try, wish, step or whole percent."""
    percent, pending = job.get("progressPercent"), job.get("controlPending")
    return (
        status_word(job),
        job.get("attempt"),
        pending.get("action") if isinstance(pending, dict) else None,
        job.get("currentStep"),
        int(percent) if isinstance(percent, int | float) else None,
    )


def status_role(job: Item) -> str | None:
    """The colour role of a job's status."""
    return role(status_word(job))


def status_cell(job: Item, look: Look) -> str:
    """The plain status in a pipe; on a terminal with its glyph, a pending control, ``~`` while not durable."""
    if not look.terminal:
        return str(job.get("status") or "")
    word = status_word(job)
    sign = glyph(word, ascii_only=not look.unicode)
    control = job.get("controlPending")
    shown_word = f"{control.get('action')}{'…' if look.unicode else '...'}" if isinstance(control, dict) else word
    return f"{'' if job.get('durable', True) else '~'}{sign} {shown_word}"


def id_cell(job: Item, look: Look) -> str:
    """The whole id in a pipe, its unambiguous end on a terminal."""
    text = str(job.get("id") or "")
    return short_id(text) if look.terminal else text


def progress_cell(job: Item, look: Look) -> str:
    """``45%`` (one decimal below the last whole percent only where there is one)."""
    percent = job.get("progressPercent")
    return f"{percent:.4g}%" if isinstance(percent, int | float) else ""


def execution_ms(job: Item, look: Look) -> int | None:
    """Milliseconds worked, up to the instant of the look while it runs."""
    ms = job.get("executionTimeMs")
    if not isinstance(ms, int | float):
        return None
    seen = job.get("_seenAt")
    return int(ms) + (max(0, look.now - seen) if isinstance(seen, int) and job.get("status") == "running" else 0)


def duration_cell(job: Item, look: Look) -> str:
    """How long it has worked."""
    ms = execution_ms(job, look)
    return "" if ms is None else format_duration(ms)


def error_cell(job: Item, look: Look) -> str:
    """The first line of why it failed."""
    failure = job.get("failure")
    message = str(failure.get("message") or failure.get("kind") or "") if isinstance(failure, dict) else ""
    return message.split("\n", 1)[0] if look.terminal else message


def text_of(key: str) -> Any:
    """A cell that shows the value under a key."""

    def cell(item: Item, look: Look) -> str:
        value = item.get(key)
        return "" if value is None else str(value)

    return cell


def instant_of(key: str) -> Any:
    """A cell that shows the timestamp under a key."""

    def cell(item: Item, look: Look) -> str:
        value = item.get(key)
        return look.instant(value if isinstance(value, str) else None)

    return cell


def metric_of(key: str) -> Any:
    """A cell that shows a metric."""

    def cell(item: Item, look: Look) -> str:
        metrics = item.get("metrics")
        value = metrics.get(key) if isinstance(metrics, dict) else None
        return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

    return cell


def tags_cell(job: Item, look: Look) -> str:
    """``env=prod team=crm``."""
    tags = job.get("tags")
    return " ".join(f"{key}={value}" for key, value in tags.items()) if isinstance(tags, dict) else ""


COLUMNS = (
    Column("ID", id_cell, elastic=12),
    Column("STATUS", status_cell, elastic=11, rank=1, colour=status_role),
    Column("NAME", text_of("name"), elastic=18),
    Column("TYPE", text_of("type"), elastic=10, rank=8),
    Column("PROGRESS", progress_cell, right=True, rank=3),
    Column("STEP", text_of("currentStep"), elastic=12, rank=4),
    Column("DURATION", duration_cell, right=True, rank=5),
    Column("STARTED", instant_of("startedAt"), rank=6),
    Column("OWNER", text_of("owner"), elastic=8, rank=7),
    Column("ERROR", error_cell, elastic=14, rank=2, colour=lambda job: "fail"),
)
"""The columns of ``jobs list`` (interface.md, Command line)."""

WIDE = (
    Column("HOST", text_of("host")),
    Column("SOURCE", text_of("source")),
    Column("TRY", text_of("attempt"), right=True),
    Column("PRIO", text_of("priority"), right=True),
    Column("ROWS", metric_of("recordsProcessed"), right=True),
    Column("REJECTED", metric_of("recordsFailed"), right=True),
    Column("RATE", metric_of("processingRate"), right=True),
    Column("ETA", instant_of("estimatedCompletion")),
    Column("HEALTH", text_of("health")),
    Column("FINISHED", instant_of("finishedAt")),
    Column("TAGS", tags_cell),
)
"""What ``-o wide`` adds."""


def job_lines(job: Item, look: Look) -> Iterator[tuple[str, str]]:
    """A job as labelled lines, what is unknown left out."""
    yield "id", str(job.get("id", ""))
    yield "name", str(job.get("name", ""))
    yield "type", str(job.get("type", ""))
    yield "status", status_cell(job, look)
    for key, label in (
        ("outcome", "outcome"),
        ("owner", "owner"),
        ("host", "host"),
        ("source", "source"),
        ("health", "health"),
    ):
        if job.get(key):
            yield label, str(job[key])
    if tags := tags_cell(job, look):
        yield "tags", tags
    if percent := progress_cell(job, look):
        yield "progress", percent
    if job.get("currentStep"):
        yield "step", _step(job)
    for key, label in (
        ("createdAt", "created"),
        ("startedAt", "started"),
        ("finishedAt", "finished"),
        ("runAt", "starts"),
    ):
        if job.get(key):
            yield label, look.instant(job[key])
    if duration := duration_cell(job, look):
        yield "duration", duration
    if job.get("estimatedCompletion"):
        yield "ready", _band(job, look)
    for key, label in (("attempt", "try"), ("retryOf", "retry of"), ("parentId", "parent"), ("priority", "priority")):
        if job.get(key) not in (None, 0, "", 1 if key == "attempt" else None):
            yield label, str(job[key])
    yield from _control_lines(job, look)
    yield from _failure_lines(job.get("failure"), "failure")
    if job.get("status") not in FINAL:
        yield from _failure_lines(job.get("lastFailure"), "last failure")
    yield from metric_lines(job.get("metrics"))
    if job.get("summary"):
        yield "summary", msgspec.json.encode(job["summary"]).decode()
    if job.get("config"):
        yield "config", msgspec.json.encode(job["config"]).decode()
    for line in job.get("recentLogs") or ():
        yield "log", f"{look.instant(line.get('at'))} {str(line.get('level', '')).upper()} {line.get('message', '')}"


def _step(job: Item) -> str:
    steps, index = job.get("steps") or (), job.get("stepIndex")
    place = f" ({index + 1} of {len(steps)})" if isinstance(index, int) and steps else ""
    return f"{job['currentStep']}{place}"


def _band(job: Item, look: Look) -> str:
    estimate = job.get("estimate") or {}
    low, high = estimate.get("low"), estimate.get("high")
    basis = f", from {estimate['basis']}" if estimate.get("basis") else ""
    band = f" ({look.instant(low)} to {look.instant(high)}{basis})" if low and high else ""
    return look.instant(job.get("estimatedCompletion")) + band


def _control_lines(job: Item, look: Look) -> Iterator[tuple[str, str]]:
    control = job.get("controlPending")
    if isinstance(control, dict):
        why = f": {control['reason']}" if control.get("reason") else ""
        yield "asked for", f"{control.get('action')} by {control.get('by')} at {look.instant(control.get('at'))}{why}"


def _failure_lines(failure: Any, label: str) -> Iterator[tuple[str, str]]:
    if not isinstance(failure, dict):
        return
    yield label, f"{failure.get('kind')}: {failure.get('message') or ''}"
    for key, name in (
        ("errorType", "error type"),
        ("exitCode", "exit code"),
        ("signal", "signal"),
        ("step", "failed in"),
    ):
        if failure.get(key) is not None:
            yield name, str(failure[key])
    if failure.get("suggestedActions"):
        yield "try this", "\n".join(f"{n} {action}" for n, action in enumerate(failure["suggestedActions"], 1))
    if failure.get("stderrTail"):
        yield "stderr", "\n".join(str(line) for line in failure["stderrTail"])
    if failure.get("traceback"):
        yield "traceback", str(failure["traceback"])


_SIZES = frozenset({"bytesProcessed", "memoryUsage"})


def metric_lines(metrics: Any) -> Iterator[tuple[str, str]]:
    """Each known metric with its unit."""
    for key, value in metrics.items() if isinstance(metrics, dict) else ():
        if value is None or key == "executionTime":
            continue
        if key in _SIZES and isinstance(value, int | float):
            yield key, format_size(int(value))
        elif key == "processingRate" and isinstance(value, int | float):
            yield key, f"{value:g}/s"
        elif key == "cpuUsage" and isinstance(value, int | float):
            yield key, f"{value:g}%"
        else:
            yield key, f"{value:g}" if isinstance(value, float) else str(value)


def is_final(job: Item) -> bool:
    """Whether the job has ended."""
    return job.get("status") in FINAL


def started_ms(job: Item) -> int | None:
    """The instant it started."""
    return instant_ms(job.get("startedAt"))
