"""A job in a few lines: what the side pane shows, and the head of the job's own screen. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from etlmon.core.glyphs import glyph, role
from etlmon.core.instants import parse_instant
from etlmon.core.job import Status
from etlmon.core.text import shown
from etlmon.tui.drawing import figures
from etlmon.tui.drawing.spans import Line, Span, cut, line_width, spread
from etlmon.tui.jobs import cells as job_cells
from etlmon.tui.jobs.cells import Scene
from etlmon.tui.jobs.live import LiveJob
from etlmon.tui.jobs.row import progress
from etlmon.tui.jobs.state import History

LEVELS = {"debug": "D", "info": "I", "warning": "W", "error": "E", "critical": "C"}
LEVEL_WORDS = {"warning": "WARN", "error": "ERROR", "critical": "CRIT"}
LEVEL_LOOKS = {"debug": "muted", "warning": "warn bold", "error": "fail bold", "critical": "fail bold"}


class StepTime(msgspec.Struct, frozen=True):
    """A step of the job: when it began and ended (instants, ms)."""

    name: str
    started_at: int | None
    finished_at: int | None


def parse_steps(items: Sequence[Mapping[str, Any]]) -> list[StepTime]:
    """The items of ``GET /api/jobs/{id}/steps``."""

    def at(text: Any) -> int | None:
        return parse_instant(text) if isinstance(text, str) else None

    return [
        StepTime(shown(str(item.get("name") or "")), at(item.get("startedAt")), at(item.get("finishedAt")))
        for item in items
    ]


def head_lines(live: LiveJob, width: int, scene: Scene, *, dotted: bool) -> list[Line]:
    """Status and who, then the bar and the estimate of what runs, or why it does not."""
    job = live.job
    state = job_cells.status(live, scene)
    told = " · ".join(filter(None, (job.type, job.owner, job.host)))
    lines: list[Line] = [[state, Span("  "), Span(cut(told, width - line_width([state]) - 2), "muted")]]
    if job.status in (Status.RUNNING, Status.PAUSED):
        lines.append(progress(live, width, "text", dotted=dotted, ascii_only=scene.ascii))
        lines.append(_ready(live, width, scene))
    reason = job_cells.reason(live, scene)
    if reason.text and job.status is not Status.RUNNING:
        lines += [[Span(text, reason.look)] for text in wrapped(reason.text, width)[:4]]
    return lines


def _ready(live: LiveJob, width: int, scene: Scene) -> Line:
    eta = job_cells.eta(live, scene)
    took = figures.worked(live.job.execution_ms(scene.now))
    if live.high_at is None or live.job.status is not Status.RUNNING:
        return [Span(f"running for {took}" if live.job.status is Status.RUNNING else f"worked {took}", "muted")]
    late = job_cells.lateness_ms(live, scene.now) is not None
    basis = f"  {live.basis}" if live.basis else ""
    left = [Span("" if late else "ready ", "muted"), Span(eta.text, eta.look), Span(cut(basis, width - 20), "muted")]
    return spread(left, [Span(took, "muted")], width)


def step_lines(steps: Sequence[StepTime], width: int, scene: Scene, *, ended: bool, most: int = 12) -> list[Line]:
    """Each step with its sign and how long it took; of many the last ones."""
    lines: list[Line] = []
    for n, step in enumerate(steps[-most:]):
        last = n == len(steps[-most:]) - 1
        open_ = step.finished_at is None and last and not ended
        word = "running" if open_ else "completed"
        end = step.finished_at if step.finished_at is not None else scene.now
        took = figures.worked(end - step.started_at) if step.started_at is not None else ""
        sign = glyph(word, ascii_only=scene.ascii)
        left = [Span(f"{sign} ", role(word)), Span(cut(step.name, width - 9))]
        lines.append(spread(left, [Span(took, "muted")], width))
    return lines


def spark_lines(history: History | None, width: int) -> list[Line]:
    """Rows per second and the share of errors over the last five minutes."""
    if history is None or not any(history.rates):
        return []
    room = max(8, width - 8 - 9)
    rate = history.rates[-1]
    lines = [_spark("rows/s  ", history.rates, figures.count(round(rate or 0)), room, width, "run")]
    shares = [share for share in history.error_shares if share is not None]
    if shares:
        lines.append(_spark("errors  ", history.error_shares, f"{shares[-1] * 100:.2f}%", room, width, "warn"))
    return lines


def _spark(label: str, values: Sequence[float | None], now: str, room: int, width: int, look: str) -> Line:
    drawn = figures.sparkline(list(values), room)
    return spread([Span(label, "muted"), Span(drawn, look)], [Span(now)], width)


def log_lines(
    entries: Sequence[Mapping[str, Any]], width: int, scene: Scene, *, most: int, whole_words: bool = False
) -> list[Line]:
    """The last lines that the job said, each with its time and level: a letter, or the word where there is room."""
    lines: list[Line] = []
    for entry in entries[-most:] if most > 0 else ():
        level = str(entry.get("level") or "info")
        look = LEVEL_LOOKS.get(level, "text")
        at = entry.get("at")
        time = figures.clock(parse_instant(at), scene.zone) if isinstance(at, str) else ""
        message = shown(str(entry.get("message") or "").split("\n", 1)[0])
        if whole_words:
            line = [Span(f"{time} ", "muted"), Span(f"{LEVEL_WORDS.get(level, level):<6}", look)]
        else:
            line = [Span(LEVELS.get(level, "?"), look), Span(f" {time} ", "muted")]
        lines.append([*line, Span(cut(message, width - line_width(line)), "muted" if level == "debug" else "text")])
    return lines


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most ``width`` cells, broken at blanks where there are some."""
    import textwrap

    lines = [line for part in text.split("\n") for line in textwrap.wrap(part, max(8, width)) or [""]]
    return lines or [""]
