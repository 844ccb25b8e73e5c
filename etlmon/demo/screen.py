"""The demo's displays: a drawn screen on a terminal, lines anywhere else, and the summary at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from etlmon.core.durations import format_duration
from etlmon.core.text import shown
from etlmon.demo.watch import Line, Scene

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group, RenderResult
    from rich.measure import Measurement
    from rich.table import Table

STYLES = {"running": "cyan", "completed": "green", "failed": "bold red", "paused": "yellow", "cancelled": "magenta"}
GLYPHS = {"pending": "○", "running": "●", "paused": "‖", "completed": "✓", "failed": "✗", "cancelled": "⊘"}
COLUMNS = (
    ("", 1),
    ("JOB", 15),
    ("STATUS", 10),
    ("PROGRESS", None),
    ("", 6),
    ("STEP", 18),
    ("RECORDS", 9),
    ("ERRORS", 7),
)


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


def drawn(scene: Scene) -> Group:
    """The screen: a row a job with its bar, then the newest lines of all jobs."""
    from rich.console import Group
    from rich.text import Text

    lines = [
        Text(shown(f"{line.name}  {line.message}"), "yellow" if line.level == "warning" else "", no_wrap=True)
        for line in scene.lines
    ]
    return Group(_table(scene), Text(f"\n{scene.n_lines:,} log lines · {scene.link}", "dim"), *lines)


def _table(scene: Scene) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, expand=True, pad_edge=False)
    for title, width in COLUMNS:
        table.add_column(title, width=width, no_wrap=True, ratio=1 if width is None else None)
    for job in in_order(scene):
        style, metrics, done = STYLES.get(job["status"], ""), job["metrics"], job["progressPercent"]
        table.add_row(
            Text(GLYPHS.get(job["status"], "?"), style),
            Text(shown(job["name"])),
            Text(job["status"], style),
            Bar(done, style),
            Text(percent(job)),
            Text(shown(job["currentStep"] or "")),
            Text(f"{metrics['recordsProcessed'] or 0:,}"),
            Text(f"{metrics['recordsFailed'] or 0:,}"),
        )
    return table


class Bar:
    """A bar as wide as its column. What is left is drawn in another glyph, for where there are no colours."""

    def __init__(self, percent: float | None, style: str) -> None:
        self.percent = percent
        self.style = style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As rich asks."""
        from rich.text import Text

        width = options.max_width
        full = round(min(max(self.percent or 0.0, 0.0), 100.0) / 100 * width)
        yield Text.assemble(("█" * full, self.style), ("·" * (width - full), "dim"), no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Whatever room there is."""
        from rich.measure import Measurement

        return Measurement(4, options.max_width)


def summary(scene: Scene) -> list[str]:
    """How each job ended, why the one that failed did, and how many lines came."""
    lines = []
    for job in in_order(scene):
        took = format_duration((job.get("summary") or {}).get("durationMs") or 0)
        metrics, glyph = job["metrics"], GLYPHS.get(job["status"], "?")
        records = f"{metrics['recordsProcessed']:,} records" if metrics["recordsProcessed"] else ""
        rejected = f", {metrics['recordsFailed']:,} rejected" if metrics["recordsFailed"] else ""
        lines.append(shown(f"{glyph} {job['name']:<15} {job['status']:<10} {took:>8}  {records}{rejected}".rstrip()))
        if job["errorMessage"]:
            lines.append(shown(f"    {job['errorMessage']}"))
    return [*lines, f"{scene.n_lines:,} log lines came live."]
