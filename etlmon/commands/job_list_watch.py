"""``etlmon jobs list --watch``: what comes live says when to ask again; the list itself is always the server's."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from etlmon.client.rest import AWAY
from etlmon.commands.job_columns import COLUMNS, WIDE, gist
from etlmon.commands.output import Item, Look, Printer, note, write
from etlmon.core.errors import Usage

if TYPE_CHECKING:
    from etlmon.commands.context import Context

AGAIN_S = 0.3
"""The least time between two readings of the list."""
TICK_S = 1.0
"""How often a terminal is redrawn so that durations go on."""


def watch_list(context: Context, params: Sequence[tuple[str, Any]], limit: int) -> None:
    """Show the list until interrupted: redrawn in place on a terminal, elsewhere a line for each job that changed."""
    if any(key == "until" for key, _ in params):
        raise Usage("--until looks back and --watch ahead: leave one of them out.")
    printer = context.printer()
    redraws = printer.look.redraws and printer.format in ("table", "wide")
    try:
        asyncio.run(_watch(context, params, limit, Redrawn(context) if redraws else Appended(printer)))
    except BaseExceptionGroup as group:  # one task listens, one draws: whichever failed first is what happened
        raise group.exceptions[0] from None


async def _watch(context: Context, params: Sequence[tuple[str, Any]], limit: int, view: Redrawn | Appended) -> None:
    from etlmon.client.live import Link, LinkState, Live
    from etlmon.core.protocol import Wanted

    changed, client = asyncio.Event(), context.client()
    view.show(_page(client, params, limit))

    async def listen() -> None:
        async with aclosing(aiter(Live(context.endpoint_now, Wanted(topics="jobs")))) as items:
            async for item in items:
                if isinstance(item, Link):
                    view.tell("" if item.state is LinkState.LIVE else str(item.state))
                changed.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen(), name="listen for changes")
        while True:
            try:
                async with asyncio.timeout(TICK_S):
                    await changed.wait()
            except TimeoutError:
                view.tick()
                continue
            changed.clear()
            try:
                view.show(await asyncio.to_thread(_page, client, params, limit))
            except AWAY:
                view.tick()  # the listener says how the link stands, and rings when it is back
            await asyncio.sleep(AGAIN_S)


def _page(client: Any, params: Sequence[tuple[str, Any]], limit: int) -> list[Item]:
    seen_at = time.time_ns() // 1_000_000
    return [{**job, "_seenAt": seen_at} for job in client.items("/api/jobs", params, limit=limit)]


class Appended:
    """A line for each job that is new or changed: what a pipe and a dumb terminal get."""

    def __init__(self, printer: Printer) -> None:
        self.printer = printer
        self.seen: dict[str, object] = {}

    def show(self, jobs: list[Item]) -> None:
        """Print what changed since the last time, oldest change first: of rows those that tell something new."""
        told = {job["id"]: job["seq"] if self.printer.structured else gist(job) for job in jobs}
        news = sorted((job for job in jobs if self.seen.get(job["id"]) != told[job["id"]]), key=lambda job: job["seq"])
        self.seen = told
        for job in news:
            job.pop("_seenAt", None)
            if self.printer.format == "json":
                self.printer.record(job)
            else:
                self.printer.items([job], COLUMNS, wide=WIDE)
        sys.stdout.flush()

    def tell(self, state: str) -> None:
        """How the link stands, when it is away."""
        if state == "waiting":
            note("etlmon: The server is away. Trying again.")

    def tick(self) -> None:
        """Nothing to do."""


class Redrawn:
    """The list on a terminal, drawn over itself."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.wide = context.output == "wide"
        self.jobs: list[Item] = []
        self.state = ""
        self.height = 0

    def show(self, jobs: list[Item]) -> None:
        """Draw these jobs."""
        self.jobs = jobs
        self.tick()

    def tell(self, state: str) -> None:
        """Draw how the link stands above the list, unless it is live."""
        if state != self.state:
            self.state = state
            self.tick()

    def tick(self) -> None:
        """Draw again: durations go on, the window may have another size."""
        from etlmon.commands.table import render

        look = Look.of(self.context)
        rows = max(2, shutil.get_terminal_size().lines - 2)
        columns = [*COLUMNS, *WIDE] if self.wide else COLUMNS
        lines = render(self.jobs, columns, look) or ["No jobs match."]
        if self.state:
            lines.insert(0, f"[{self.state}]")
        if len(lines) > rows:
            lines = [*lines[: rows - 1], f"and {len(lines) - rows + 1} more"]
        up = f"\x1b[{self.height}A" if self.height else ""
        write(f"{up}\r\x1b[J" + "".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        self.height = len(lines)
