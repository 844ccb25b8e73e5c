"""The demo without a console: lines as things happen, and the summary at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from etlmon.core.durations import format_duration
from etlmon.core.glyphs import glyph
from etlmon.core.text import shown
from etlmon.demo.watch import Line, Scene


class Printer:
    """Prints each change of status, every tenth of a job's progress, and each warning or worse."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: dict[str, tuple[str, int]] = {}

    def __call__(self, change: Line | dict[str, Any]) -> None:
        if isinstance(change, Line):
            if change.level in {"warning", "error", "critical"}:
                self._say(shown(f"  {change.name}: {change.level}: {change.message}"))
            return
        tenth = int((change["progressPercent"] or 0) // 10)
        if self._said.get(change["jobId"]) == (change["status"], tenth):
            return
        self._said[change["jobId"]] = (change["status"], tenth)
        step = change["currentStep"] or ""
        self._say(shown(f"{change['name']:<15} {change['status']:<10} {percent(change):>5}  {step}".rstrip()))


def percent(job: dict[str, Any]) -> str:
    """``45 %``, or nothing while it is unknown."""
    return "" if job["progressPercent"] is None else f"{job['progressPercent']:.0f} %"


def in_order(scene: Scene) -> list[dict[str, Any]]:
    """The jobs as they were started: their ids are made of time."""
    return sorted(scene.jobs.values(), key=lambda job: str(job["jobId"]))


def summary(scene: Scene) -> list[str]:
    """How each job ended, why the one that failed did, and how many lines came."""
    lines = []
    for job in in_order(scene):
        took = format_duration((job.get("summary") or {}).get("durationMs") or 0)
        metrics, sign = job["metrics"], glyph(job["status"])
        records = f"{metrics['recordsProcessed']:,} records" if metrics["recordsProcessed"] else ""
        rejected = f", {metrics['recordsFailed']:,} rejected" if metrics["recordsFailed"] else ""
        lines.append(shown(f"{sign} {job['name']:<15} {job['status']:<10} {took:>8}  {records}{rejected}".rstrip()))
        if job["errorMessage"]:
            lines.append(shown(f"    {job['errorMessage']}"))
    return [*lines, f"{scene.n_lines:,} log lines came live."]
