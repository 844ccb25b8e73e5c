"""The question of a dialog: what would be acted on, what is left alone, and its words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from etlmon.core.glyphs import glyph, role
from etlmon.core.job import Status
from etlmon.tui.drawing import figures
from etlmon.tui.drawing.spans import Line, Span, cut, cut_middle, width_of
from etlmon.tui.jobs.cells import number
from etlmon.tui.jobs.live import LiveJob
from etlmon.tui.steering.control import LeftAlone, Plan, Words, words

LISTED = 5
"""Jobs named in each list; the rest are counted."""
NAME_LEAST, NAME_MOST = 18, 28
MOST_WIDE = 68
"""Cells inside the dialog's border and its margins."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """All that a dialog shows; ``must_type`` is what has to be typed before it can be done."""

    words: Words
    asked: list[Line]
    left: list[Line] = []
    must_type: str = ""
    role: str = "accent"
    wants_reason: bool = False


def question_of(plan: Plan, *, ascii_only: bool = False) -> Question:
    """What is asked before jobs are acted on."""
    return Question(
        words=words(plan),
        asked=question_lines(plan, ascii_only=ascii_only),
        left=left_lines(plan, ascii_only=ascii_only),
        must_type=plan.must_type,
        role="fail" if plan.action == "cancel" else "accent",
        wants_reason=plan.action != "resume",
    )


def question_lines(plan: Plan, *, ascii_only: bool = False) -> list[Line]:
    """The question and the jobs it is about."""
    lines: list[Line] = [[Span(cut(words(plan).question, MOST_WIDE), "text bold")]]
    size = _name_width(plan)
    shown_jobs = plan.eligible[:LISTED]
    rows = [figures.count(number(live.job, "recordsProcessed")) for live in shown_jobs]
    widest = max((len(text) for text in rows), default=0)
    for live, text in zip(shown_jobs, rows, strict=True):
        facts = _facts(live, f"{text:>{widest}} rows" if text else " " * (widest + 5 if widest else 0), plan)
        lines.append([*_head(live, size, ascii_only=ascii_only), *facts])
    return lines + _more(plan.n - LISTED)


def left_lines(plan: Plan, *, ascii_only: bool = False) -> list[Line]:
    """The jobs that are left alone, with why; none when there are none."""
    n = len(plan.left)
    if not n:
        return []
    lines: list[Line] = [[Span(f"{n:,} {'is' if n == 1 else 'are'} left alone:")]]
    size = _name_width(plan)
    for each in plan.left[:LISTED]:
        head = _head(each.job, size, ascii_only=ascii_only)
        lines.append([*head, Span("  "), Span(cut(each.why, MOST_WIDE - size - 6), "muted")])
    return lines + _more(n - LISTED)


def _name_width(plan: Plan) -> int:
    listed: Sequence[LiveJob] = [*plan.eligible[:LISTED], *(each.job for each in plan.left[:LISTED])]
    return max(NAME_LEAST, min(NAME_MOST, max((width_of(live.job.name) for live in listed), default=0)))


def _head(live: LiveJob, size: int, *, ascii_only: bool) -> Line:
    name = cut_middle(live.job.name, size)
    return [
        Span("  "),
        Span(f"{glyph(live.word, ascii_only=ascii_only)} ", role(live.word)),
        Span(name + " " * (size - width_of(name))),
    ]


def _facts(live: LiveJob, rows: str, plan: Plan) -> Line:
    """How far the job is: percent, rows, how long it has worked."""
    job = live.job
    if job.status is Status.PENDING or job.started_at is None:
        return [Span("  never started", "muted")]
    if job.progress_percent is None and not rows.strip():
        return [Span(f"  runs {figures.worked(job.execution_ms(plan.now))}", "muted")]
    percent = figures.percent(job.progress_percent) if job.progress_percent is not None else "    "
    out: Line = [Span(f" {percent}"), Span(f"  {rows}" if rows else "")]
    if job.status is Status.PAUSED and job.paused_at is not None:
        out.append(Span(f"   paused {figures.worked(plan.now - job.paused_at)}", "muted"))
    else:
        out.append(Span(f"   runs {figures.worked(job.execution_ms(plan.now))}", "muted"))
    return out


def _more(n: int) -> list[Line]:
    return [[Span(f"  and {n:,} more", "muted")]] if n > 0 else []


__all__ = ["LISTED", "MOST_WIDE", "LeftAlone", "Question", "left_lines", "question_lines", "question_of"]
