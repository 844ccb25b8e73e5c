"""``etlmon jobs list``: one page of jobs, or with ``--watch`` the same list kept live."""

from __future__ import annotations

from typing import Any

import click

from etlmon.commands.context import Context, pass_context
from etlmon.commands.job_filters import SORTS, filter_params, job_filters


@click.command("list")
@job_filters
@click.option("--sort", metavar="KEY", help=f"{', '.join(SORTS)}; - before it: largest first (default -createdAt).")
@click.option("-L", "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most this many.")
@click.option("-a", "--all", "everything", is_flag=True, help="All that match.")
@click.option("-w", "--watch", is_flag=True, help="Keep the list live until interrupted.")
@pass_context
def list_jobs(context: Context, /, sort: str | None, limit: int, everything: bool, watch: bool, **options: Any) -> None:
    """List jobs, newest first.

    \b
    etlmon jobs list --status failed --since 24h
    etlmon jobs list -q 'name:orders_* duration>10m' -o wide
    etlmon jobs list --status running --json id,name,progressPercent
    """
    from etlmon.commands.job_columns import COLUMNS, WIDE
    from etlmon.commands.output import note

    params = filter_params(options)
    if sort:
        params.append(("sort", sort))
    if watch:
        from etlmon.commands.job_list_watch import watch_list

        watch_list(context, params, limit)
        return
    printer, client = context.printer(), context.client()
    found = list(client.items("/api/jobs", params, limit=None if everything else limit + 1))
    shown = found if everything else found[:limit]
    printer.items(shown, COLUMNS, wide=WIDE)
    if printer.look.terminal and not printer.structured:
        if not found:
            note("No jobs match.")
        elif len(found) > len(shown):
            note(f"The first {limit} are shown; --limit N or --all for more.")
