"""A job as one line of the table, and the table's header line. Pure.

Failed rows are bold with a red reason; running ones calm; ended and waiting ones grey but for glyph and word.
"""

from __future__ import annotations

from collections.abc import Sequence

from etlmon.core.glyphs import role
from etlmon.core.job import Status
from etlmon.tui.drawing import figures
from etlmon.tui.drawing.spans import Line, Span, cut, cut_middle, line_width, padded
from etlmon.tui.jobs import cells as job_cells
from etlmon.tui.jobs.cells import Scene
from etlmon.tui.jobs.columns import GUTTER, Placed
from etlmon.tui.jobs.live import LiveJob

TITLES = {"STEP": "STEP / REASON"}
SORTABLE = ("STATUS", "NAME", "TYPE", "PROGRESS", "ETA", "TIME", "ROWS", "ERR", "RATE", "OWNER", "HOST", "AGE")
"""The columns that ``<`` and ``>`` go through, in this order."""
PERCENT = 4


def header(layout: Sequence[Placed], sorted_by: str, *, descending: bool, ascii_only: bool = False) -> Line:
    """The titles; the sorted one is marked with an arrow and underlined."""
    line: Line = [Span(" " * GUTTER)]
    up, down = ("^", "v") if ascii_only else ("↑", "↓")
    for column in layout:
        title = TITLES.get(column.key, column.key)
        look = "muted"
        if column.key == sorted_by:
            title, look = title + (down if descending else up), "text bold"
        line.append(Span(padded(title, column.width, right=column.right, ellipsis=""), look))
        line.append(Span(" "))
    return line[:-1]


def row(
    live: LiveJob,
    layout: Sequence[Placed],
    scene: Scene,
    *,
    here: bool = False,
    marked: bool = False,
    fresh: bool = False,
    dotted: bool = False,
    gone: bool = False,
    pulse: int = 0,
) -> Line:
    """One job. ``here``: under the cursor; ``fresh``: its status has just changed; ``gone``: it matches no longer.

    ``dotted``: a bar's track is dots (no ground to draw it with). ``pulse`` moves the bar of an unknown total.
    """
    line: Line = [_gutter(here=here, marked=marked, ascii_only=scene.ascii)]
    calm = live.job.status is Status.RUNNING
    base = _base(live, gone=gone)
    at = GUTTER
    blank: Placed | None = None
    for column in layout:
        if column.key == "STEP" and blank is not None:  # the reason takes the room of the empty cell before it
            column = Placed("STEP", column.left + column.width - blank.left, blank.left, right=False)
        spans = _cell(column, live, scene, base, here=here, fresh=fresh, dotted=dotted, pulse=pulse)
        blank = column if column.key in ("RATE", "ETA") and not calm and not spans[0].text.strip() else None
        if blank is not None:
            continue
        left, width = column.left, column.width
        line.append(Span(" " * (left - at)))
        line += spans
        rest = width - line_width(spans)
        if rest > 0:
            line.append(Span(" " * rest))
        at = left + width
    return line


def _base(live: LiveJob, *, gone: bool) -> str:
    if gone:
        return "muted"
    if live.job.status is Status.FAILED:
        return "text bold"
    return "text" if live.job.status in (Status.RUNNING, Status.PAUSED) else "muted"


def _gutter(*, here: bool, marked: bool, ascii_only: bool) -> Span:
    cursor, mark = (">", "*") if ascii_only else ("▌", "◆")
    return Span((cursor if here else " ") + (mark if marked else " "), "accent")


def _dots(scene: Scene) -> str:
    return "..." if scene.ascii else "…"


def _cell(
    column: Placed,
    live: LiveJob,
    scene: Scene,
    base: str,
    *,
    here: bool,
    fresh: bool,
    dotted: bool,
    pulse: int,
) -> list[Span]:
    """The spans of a cell, at most as wide as its column."""
    width, dots = column.width, _dots(scene)
    match column.key:
        case "STATUS":
            span = job_cells.status(live, scene)
            if fresh:
                sign, word = Span(span.text[:1], span.look + " reverse"), Span(cut(span.text[1:], width - 1), span.look)
                return [sign, word]
            return [Span(cut(span.text, width, ellipsis=dots), span.look)]
        case "NAME":
            look = base + (" bold" if here and "bold" not in base else "")
            return [Span(cut_middle(live.job.name, width, ellipsis=dots), look)]
        case "PROGRESS":
            return progress(live, width, base, dotted=dotted, pulse=pulse, ascii_only=scene.ascii)
        case "STEP":
            span = job_cells.reason(live, scene)
            look = base if span.look == "text" or (base == "muted" and span.look == "muted") else span.look
            return [Span(cut(span.text, width, ellipsis=dots), look)]
    span = _plain_cell(column.key, live, scene)
    text = padded(span.text, width, right=column.right, ellipsis=dots)
    return [Span(text, base if span.look == "text" else span.look)]


def _plain_cell(key: str, live: LiveJob, scene: Scene) -> Span:
    job = live.job
    match key:
        case "ETA":
            return job_cells.eta(live, scene)
        case "TIME":
            return job_cells.time(live, scene)
        case "ROWS":
            return job_cells.rows(live, scene)
        case "ERR":
            return job_cells.errors(live, scene)
        case "RATE":
            return job_cells.rate(live, scene)
        case "AGE":
            return Span(figures.age(scene.now - live.since))
        case "TYPE":
            return Span(job.type, "muted")
        case "OWNER":
            return Span(job.owner or "", "muted")
        case "HOST":
            return Span(job.host or "", "muted")
        case "HEALTH":
            word = job.health.value if job.health else ""
            return Span(word, {"poor": "fail", "fair": "warn"}.get(word, "muted"))
        case "TRY":
            return Span(str(job.attempt), "muted")
        case "PRIO":
            return Span(str(job.priority), "muted")
    raise KeyError(key)


def progress(
    live: LiveJob, width: int, base: str, *, dotted: bool, pulse: int = 0, ascii_only: bool = False
) -> list[Span]:
    """Bar and percent in ``width`` cells; a block of three where the total is unknown; nothing for what is complete."""
    job = live.job
    value = job.progress_percent
    if job.status is Status.COMPLETED or (value is None and job.status is not Status.RUNNING):
        return [Span("")]
    hue = "muted" if base == "muted" else role(live.word)
    room = width - PERCENT
    if room <= 0:
        return [Span(figures.percent(value), base)]
    filled, look = f"fill-{hue}", "text track"
    if value is None:
        at = pulse % max(1, room - 2)
        before, block, after = " " * at, "███"[:room], " " * max(0, room - at - 3)
        number = Span("  - " if ascii_only else "  – ", "muted")
    else:
        before, (block, after) = "", figures.bar(value, room)
        number = Span(figures.percent(value), base)
    if ascii_only:
        block = "#" * max(1 if value else 0, round((value or 0) / 100 * room)) if value is not None else block
        after = " " * (room - len(before) - len(block))
        block = block.replace("█", "#")
    if dotted or ascii_only:
        dot = "." if ascii_only else "·"
        before, after = dot * len(before), dot * len(after)
        look = "muted"
    spans = [Span(before, look), Span(block, filled), Span(after, look)]
    return [span for span in spans if span.text] + [number]
