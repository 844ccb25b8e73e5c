"""``etlmon jobs list``: one page of jobs, or with ``--watch`` the same list kept live."""

from __future__ import annotations

from typing import Any

import click

from etlmon.commands.context import Context, pass_context
from etlmon.commands.job_filters import job_filters
from etlmon.commands.job_pages import list_params, page_options, print_jobs


@click.command("list")
@job_filters
@page_options
@click.option("-w", "--watch", is_flag=True, help="Keep the list live until interrupted.")
@pass_context
def list_jobs(context: Context, /, sort: str | None, limit: int, everything: bool, watch: bool, **options: Any) -> None:
    """List jobs, newest first.

    \b
    etlmon jobs list --status failed --since 24h
    etlmon jobs list -q 'name:orders_* duration>10m' -o wide
    etlmon jobs list --status running --json id,name,progressPercent
    """
    params = list_params(options, sort)
    if watch:
        from etlmon.commands.job_list_watch import watch_list

        watch_list(context, params, limit)
        return
    print_jobs(context, "/api/jobs", params, limit=None if everything else limit)
