"""``etlmon jobs watch``: one job live, as a line that changes on a terminal or a line per change elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from etlmon.commands.context import Context, job_argument, pass_context

if TYPE_CHECKING:
    from etlmon.commands.output import Look, Printer


@click.command("watch")
@job_argument
@click.option("--exit-status", is_flag=True, help="Exit 1 unless the job completed.")
@pass_context
def watch(context: Context, /, job_id: str, exit_status: bool) -> int:
    """Follow one job until it ends."""
    from etlmon.commands.job_ids import resolve

    printer = context.printer()
    last = asyncio.run(_watch(context, resolve(context.client(), job_id), printer))
    if printer.look.terminal and printer.format in ("table", "wide"):
        _print_end(context, last, printer)
    return int(exit_status and last.get("status") != "completed")


async def _watch(context: Context, job_id: str, printer: Printer) -> dict[str, Any]:
    from etlmon.client.live import Link
    from etlmon.commands.following import follow_jobs
    from etlmon.commands.job_columns import is_final

    view = (LiveLine if printer.look.redraws and printer.format in ("table", "wide") else Rows)(printer)
    job: dict[str, Any] = {}
    async with aclosing(follow_jobs(context, [job_id])) as items:
        async for item in items:
            if isinstance(item, Link):
                view.tell(item)
                continue
            job = item
            view.draw(job)
            if is_final(job):
                break
    view.clear()
    return job


class Rows:
    """What a pipe gets: whole records for each change, rows only when a row would tell something new."""

    def __init__(self, printer: Printer) -> None:
        self.printer = printer
        self.told: tuple[object, ...] | None = None

    def draw(self, job: dict[str, Any]) -> None:
        """Print the job as it stands, if that is news."""
        from etlmon.commands.job_columns import COLUMNS, WIDE, gist

        if self.printer.format == "json":
            self.printer.record(job)
        elif self.printer.structured or gist(job) != self.told:
            self.printer.items([job], COLUMNS, wide=WIDE)
        self.told = gist(job)
        sys.stdout.flush()

    def tell(self, link: Any) -> None:
        """Say why the server is away, on stderr."""
        if link.state == "waiting":
            from etlmon.commands.output import note

            note(f"etlmon: {link.detail} Trying again.")

    def clear(self) -> None:
        """Nothing to do: what was printed stays."""


def _print_end(context: Context, job: dict[str, Any], printer: Printer) -> None:
    """The whole job as it ended, when the server still tells it."""
    from etlmon.commands.job_columns import job_lines
    from etlmon.core.errors import EtlmonError

    try:
        job = context.client().get(f"/api/jobs/{job['id']}")
    except EtlmonError:
        job = dict(job, recentLogs=[])  # gone or unreachable by now: what was seen last is told
    printer.item({**job, "recentLogs": []}, job_lines)


class LiveLine:
    """One line of a terminal, drawn over itself at most ten times a second."""

    def __init__(self, printer: Printer) -> None:
        self.printer = printer
        self.state = ""
        self.job: dict[str, Any] = {}
        self.drawn_at = 0.0

    def tell(self, link: Any) -> None:
        """Show how the link stands unless it is live."""
        self.state = "" if link.state == "live" else f"  [{link.state}]"
        self.draw(self.job, at_once=True)

    def draw(self, job: dict[str, Any], *, at_once: bool = False) -> None:
        """Draw the job as it stands now."""
        self.job = job
        if not job or (not at_once and time.monotonic() - self.drawn_at < 0.1):
            return
        from etlmon.commands.output import write
        from etlmon.commands.table import cut

        self.drawn_at = time.monotonic()
        look = self.printer.look
        write("\r\x1b[2K" + cut(watch_line(job, look) + self.state, max(1, look.width - 1), look))
        sys.stdout.flush()

    def clear(self) -> None:
        """Take the line away."""
        from etlmon.commands.output import write

        write("\r\x1b[2K")


def watch_line(job: dict[str, Any], look: Look) -> str:
    """A job in one line: status, name, bar, percent, step, time, when it is ready."""
    from etlmon.commands.job_columns import duration_cell, progress_cell, status_cell
    from etlmon.core.text import shown

    estimate = job.get("estimate") or {}
    low, high = estimate.get("low"), estimate.get("high")
    parts = [
        status_cell(job, look),
        str(job.get("name", "")),
        bar(job.get("progressPercent"), look),
        progress_cell(job, look),
        str(job.get("currentStep") or ""),
        duration_cell(job, look),
        f"ready {look.instant(low)} to {look.instant(high)}" if low and high else "",
    ]
    return "  ".join(shown(part) for part in parts if part)


def bar(percent: Any, look: Look, *, cells: int = 20) -> str:
    """A bar of whole cells; nothing when the share is unknown."""
    if not isinstance(percent, int | float):
        return ""
    full = round(max(0.0, min(100.0, percent)) / 100 * cells)
    return ("█" * full + "·" * (cells - full)) if look.unicode else ("#" * full + "." * (cells - full))
