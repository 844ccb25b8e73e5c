"""``etlmon history``: finished jobs, as a list, as figures, and as NDJSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from etlmon.commands.context import Context, pass_context
from etlmon.commands.job_filters import filter_params, job_filters
from etlmon.commands.job_pages import list_params, page_options, print_jobs
from etlmon.commands.lazy import Entry, LazyGroup

if TYPE_CHECKING:
    from etlmon.commands.output import Look

COMMANDS = {
    "list": Entry("etlmon.commands.history:list_history", "Finished jobs."),
    "stats": Entry("etlmon.commands.history:stats", "Success rate, counts and durations."),
    "export": Entry("etlmon.commands.history:export", "Every finished job that matches, as NDJSON."),
}

history = LazyGroup("history", table=COMMANDS, help="Finished jobs: list, statistics, export.")


@click.command("list")
@job_filters
@page_options
@pass_context
def list_history(context: Context, /, sort: str | None, limit: int, everything: bool, **options: Any) -> None:
    """Finished jobs, newest first; --since and --until speak of the last change."""
    print_jobs(context, "/api/history", list_params(options, sort), limit=None if everything else limit)


@click.command("export")
@job_filters
@pass_context
def export(context: Context, /, **options: Any) -> None:
    """Every finished job that matches, one JSON object per line (or as -o asks), whole."""
    from etlmon.commands.job_columns import COLUMNS, WIDE

    context.output = context.output or "jsonl"
    printer, client = context.printer(), context.client()
    printer.items(client.records("/api/history/export", filter_params(options)), COLUMNS, wide=WIDE)


@click.command("stats")
@click.option("--name", multiple=True, metavar="NAME", help="Of jobs of this name.")
@click.option("--type", "type_", multiple=True, metavar="TYPE", help="Of jobs of this type.")
@click.option("--owner", multiple=True, metavar="OWNER", help="Of jobs of this owner.")
@click.option("--since", metavar="AGE|TIME", help="Finished within (30d) or since a timestamp (default 7d).")
@click.option("--until", metavar="AGE|TIME", help="Finished before that.")
@pass_context
def stats(context: Context, /, **options: Any) -> None:
    """Success rate, counts and durations of finished jobs; -o json adds the trend by hour or day."""
    printer, client = context.printer(), context.client()
    answer = client.get("/api/analytics/summary", filter_params(options))
    printer.item(answer, lambda item, look: figure_lines({**item, "trend": None}, look), key="name")


def figure_lines(value: Any, look: Look, path: str = "") -> Iterator[tuple[str, str]]:
    """Nested figures as dotted labels; durations and shares in the units people read."""
    from etlmon.core.durations import format_duration

    if isinstance(value, dict):
        for key, inner in value.items():
            yield from figure_lines(inner, look, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from figure_lines(inner, look, f"{path}[{place}]")
    elif path.endswith(("successRate", "failureRate", "errorRate")) and isinstance(value, int | float):
        yield path, f"{value:.1%}"
    elif value is not None:
        is_duration = path.endswith("Ms") and isinstance(value, int | float)
        yield (
            path,
            format_duration(int(value)) if is_duration else f"{value:g}" if isinstance(value, float) else str(value),
        )
