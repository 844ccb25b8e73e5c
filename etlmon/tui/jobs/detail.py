"""A job's own screen as lines: what happened, what to do, facts, the log's end; steps, metrics, events. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from etlmon.core.durations import format_duration, format_size
from etlmon.core.glyphs import glyph, role
from etlmon.core.instants import parse_instant
from etlmon.core.job import Status
from etlmon.core.text import shown
from etlmon.tui.drawing import figures
from etlmon.tui.drawing.spans import Line, Span, cut, line_width, padded, spread
from etlmon.tui.jobs import cells as job_cells
from etlmon.tui.jobs import panel as job_panel
from etlmon.tui.jobs.cells import Scene
from etlmon.tui.jobs.live import LiveJob
from etlmon.tui.jobs.panel import StepTime, wrapped
from etlmon.tui.jobs.state import History

Data = Mapping[str, Any]

TABS = ("Overview", "Steps", "Log", "Metrics", "Config", "Events")
ROOMY_FROM = 30
"""From this many lines on a blank one stands before each block."""
SIZES = frozenset({"bytesProcessed", "memoryUsage"})


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one job: as the stream tells it, and as REST told it last."""

    live: LiveJob
    view: Data = msgspec.field(default_factory=dict)
    steps: Sequence[StepTime] = ()
    events: Sequence[Data] = ()
    history: History | None = None
    away: bool = False
    """Whether the server is away, so that what is missing cannot be asked for."""


def crumb_line(detail: Detail, width: int, scene: Scene, pill: Line | None) -> Line:
    """Row 1: where we are; when it ran and how long, or how the connection stands when it is not live."""
    job = detail.live.job
    left = [Span(" Jobs › ", "muted"), Span(job.name, "text bold"), Span(f"  {job.id[:13]}", "muted")]
    if pill is not None:
        return spread(left, [Span("  "), *pill, Span(" ")], width)
    began = "" if job.started_at is None else figures.clock(job.started_at, scene.zone)
    ended = "" if job.finished_at is None else f" → {figures.clock(job.finished_at, scene.zone)}"
    took = figures.worked(job.execution_ms(scene.now))
    return spread(left, [Span(f"  {began}{ended}  ", "muted"), Span(f"{took} ")], width)


def tabs_line(here: int, width: int) -> Line:
    """Row 2: the tabs of the job."""
    line: Line = [Span(" ")]
    for n, name in enumerate(TABS):
        line.append(Span(f" {name} ", "text bold underline" if n == here else "muted"))
        line.append(Span(" "))
    return line


def overview(detail: Detail, width: int, height: int, scene: Scene, *, dotted: bool, roomy: bool) -> list[Line]:
    """What happened, what to do, facts, the log's end filling what is left of ``height``."""
    live, room = detail.live, width - 4
    blank: list[Line] = [[]] if roomy else []
    lines: list[Line] = [*_headline(detail, room, scene, dotted=dotted)]
    actions = live.job.failure.suggested_actions if live.job.failure is not None else ()
    if actions:
        lines += [*blank, _title("TRY THIS")]
        for n, action in enumerate(actions, 1):
            first, *more = wrapped(action, room - 2)
            lines.append([Span("  "), Span(f"{n} ", "accent"), Span(first)])
            lines += [[Span("    " + each)] for each in more]
    if live.is_active:
        if steps := job_panel.step_lines(detail.steps, min(room, 60), scene, ended=False):
            lines += [*blank, _title("STEPS"), *_indented(steps)]
        if sparks := job_panel.spark_lines(detail.history, min(room, 60)):
            lines += [*blank, _title("LAST 5 MINUTES"), *_indented(sparks)]
    lines += [*blank, *_indented(_facts(detail, room, scene, short=not roomy))]
    entries = detail.view.get("recentLogs") or []
    left = max(3, height - len(lines) - 1 - len(blank))
    head = spread([Span("  LAST LINES", "muted")], [Span("l", "accent"), Span(" whole log ", "muted")], width)
    none = "No lines yet." if detail.view else "Not read yet." if not detail.away else "Not known: the server is away."
    tail = job_panel.log_lines(entries, room, scene, most=left, whole_words=True) or [[Span(none, "muted")]]
    return [*lines, *blank, head, *_indented(tail)]


def _title(text: str) -> Line:
    return [Span(f"  {text}", "muted")]


def _indented(lines: Sequence[Line]) -> list[Line]:
    return [[Span("  "), *line] for line in lines]


def _headline(detail: Detail, room: int, scene: Scene, *, dotted: bool) -> list[Line]:
    live = detail.live
    job = live.job
    if live.is_active:
        return _indented(job_panel.head_lines(live, min(room, 60), scene, dotted=dotted))
    state = job_cells.status(live, scene)
    told = ""
    if job.status is Status.FAILED and job.failure is not None:
        failure = job.failure
        place = f" in step {failure.step}" if failure.step else ""
        at = f" at {figures.percent(job.progress_percent).strip()}" if job.progress_percent is not None else ""
        how = f", exit code {failure.exit_code}" if failure.exit_code is not None else ""
        how += f", signal {failure.signal}" if failure.signal else ""
        told = f"{failure.kind.value}{place}{at}{how}"
        lines: list[Line] = [[Span("  "), state, Span("   "), Span(cut(told, room - line_width([state]) - 3))]]
        for text in wrapped(failure.message, room - 2)[:8]:
            lines.append([Span("  ▎ ", "fail"), Span(text, "fail")])
        return lines
    reason = job_cells.reason(live, scene)
    return [[Span("  "), state, Span("   "), Span(cut(reason.text, room - line_width([state]) - 3), reason.look)]]


def _facts(detail: Detail, room: int, scene: Scene, *, short: bool) -> list[Line]:
    facts = list(_told(detail, scene))
    if room < 72:
        return [[Span(padded(label, 12), "muted"), Span(cut(value, room - 12))] for label, value in facts]
    if short:
        facts = facts[:8]
    half = (len(facts) + 1) // 2
    column = room // 2
    lines: list[Line] = []
    for n in range(half):
        line: Line = []
        for label, value in (facts[n], facts[n + half]) if n + half < len(facts) else (facts[n],):
            line += [Span(padded(label, 12), "muted"), Span(padded(value, column - 12))]
        lines.append(line)
    return lines


def _told(detail: Detail, scene: Scene) -> list[tuple[str, str]]:
    job, view = detail.live.job, detail.view

    def number(key: str) -> str:
        value = job_cells.number(job, key)
        return "" if value is None else f"{value:,.0f}"

    def at(instant: int | None) -> str:
        return "" if instant is None else figures.day_clock(instant, scene.now, scene.zone)

    size = job_cells.number(job, "bytesProcessed")
    memory = job_cells.number(job, "memoryUsage")
    cpu = job_cells.number(job, "cpuUsage")
    expected = view.get("expectedDurationMs")
    facts = [
        ("type", job.type),
        ("records in", number("recordsProcessed")),
        ("rejected", number("recordsFailed")),
        ("of", number("recordsTotal")),
        ("rate", figures.rate(job_cells.number(job, "processingRate"))),
        ("bytes", format_size(int(size)) if size is not None else ""),
        ("owner", job.owner or ""),
        ("host", job.host or ""),
        ("source", job.source or ""),
        ("try", str(job.attempt) if job.attempt > 1 else ""),
        ("retry of", job.retry_of or ""),
        ("started", at(job.started_at)),
        ("created", at(job.created_at)),
        ("expected", format_duration(expected) if isinstance(expected, int) else ""),
        ("memory", format_size(int(memory)) if memory is not None else ""),
        ("cpu", f"{cpu:.0f}%" if cpu is not None else ""),
        ("health", job.health.value if job.health else ""),
        ("tags", " ".join(f"{key}={value}" for key, value in job.tags.items())),
        ("command", shown(" ".join(str(word) for word in view.get("command") or ()))),
        ("id", job.id),
    ]
    return [(label, value) for label, value in facts if value]


def steps(detail: Detail, width: int, scene: Scene) -> list[Line]:
    """Each step: when it began, how long it took, its share of the whole."""
    if not detail.steps:
        return [[Span("  This job tells no steps.", "muted")]]
    total = max(1, detail.live.job.execution_ms(scene.now) or 1)
    room = max(10, width - 44)
    lines: list[Line] = [[Span("  " + padded("STEP", room) + "  BEGAN     TOOK    SHARE", "muted")]]
    for n, step in enumerate(detail.steps):
        running = step.finished_at is None and n == len(detail.steps) - 1 and detail.live.is_active
        failed = n == len(detail.steps) - 1 and detail.live.job.status is Status.FAILED
        word = "running" if running else "failed" if failed else "completed"
        end = step.finished_at if step.finished_at is not None else scene.now
        took = max(0, end - step.started_at) if step.started_at is not None else 0
        share = min(100.0, 100 * took / total)
        sign = Span(glyph(word, ascii_only=scene.ascii), role(word))
        began = "" if step.started_at is None else figures.clock(step.started_at, scene.zone)
        fill, rest = figures.bar(share, 12)
        lines.append([
            Span("  "), sign, Span(" " + padded(step.name, room - 2)), Span(f"  {began:8}", "muted"),
            Span(f"{figures.worked(took):>7}  "), Span(f"{share:3.0f}% ", "muted"),
            Span(fill, f"fill-{role(word)}"), Span(rest, "text track"),
        ])  # fmt: skip
    told = {step.name for step in detail.steps}
    for name in detail.live.job.steps:
        if name not in told and detail.live.is_active:
            lines.append([Span("  ○ ", "muted"), Span(padded(name, room - 2), "muted")])
    return lines


def metrics(detail: Detail, width: int, scene: Scene) -> list[Line]:
    """Every metric that is known, with its unit; sparklines of what moves."""
    lines = _indented(job_panel.spark_lines(detail.history, min(width - 4, 70)))
    if lines:
        lines.append([])
    for key, value in sorted(detail.live.job.metrics.items()):
        if key == "executionTime":
            continue
        text = _metric(key, value)
        lines.append([Span("  " + padded(shown(key), 24), "muted"), Span(cut(text, width - 28))])
    return lines or [[Span("  This job tells no metrics.", "muted")]]


def _metric(key: str, value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if key in SIZES:
            return format_size(int(value))
        if key == "errorRate":
            return f"{value * 100:.3g}%"
        if key == "processingRate":
            return figures.rate(value)
        return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
    return shown(str(value))


def config(detail: Detail, width: int) -> list[Line]:
    """What the job was started with."""
    lines: list[Line] = []
    command = detail.view.get("command")
    if command:
        lines += [
            _title("COMMAND"),
            *([Span("  " + each)] for each in wrapped(shown(" ".join(command)), width - 4)),
            [],
        ]
    given = detail.view.get("config")
    if given:
        pretty = msgspec.json.format(msgspec.json.encode(given), indent=2).decode()
        lines += [_title("CONFIG"), *([Span("  " + cut(shown(each), width - 2))] for each in pretty.splitlines())]
    return lines or [[Span("  This job tells neither config nor command.", "muted")]]


LOOKS = {"failed": "fail", "lost": "fail", "timed_out": "fail", "completed": "ok", "paused": "paused",
         "control_requested": "accent", "control_refused": "warn", "cancelled": "muted", "gap": "warn"}  # fmt: skip


def events(detail: Detail, width: int, scene: Scene) -> list[Line]:
    """The job's part of the journal, oldest first."""
    lines: list[Line] = []
    for event in detail.events:
        kind = shown(str(event.get("kind") or ""))
        at = event.get("at")
        time = figures.clock(parse_instant(at), scene.zone) if isinstance(at, str) else ""
        by = shown(str(event["by"])) if event.get("by") else ""
        told = event.get("detail") or {}
        words = ", ".join(f"{key} {_brief(value)}" for key, value in told.items() if value not in (None, "", [], {}))
        head = [
            Span(f"  {time}  ", "muted"),
            Span(padded(kind, 18), LOOKS.get(kind, "text")),
            Span(padded(by, 12), "muted"),
        ]
        lines.append([*head, Span(cut(shown(words), max(0, width - line_width(head) - 1)))])
    return lines or [[Span("  No events yet.", "muted")]]


def _brief(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
