"""``etlmon logs``: search and follow every job's lines."""

from __future__ import annotations

from typing import Any

import click

from etlmon.commands.context import Context, pass_context
from etlmon.commands.log_lines import choice_of, follow, line_options, read, show_lines

DEFAULT_TAIL = 1000
"""What is shown when neither a time nor a number is asked for."""


@click.command("logs")
@line_options
@click.option("--jobs", "jobs_query", metavar="EXPR", help="Only of jobs under this filter.")
@click.option("--name", multiple=True, metavar="NAME", help="Only of jobs of this name.")
@click.option("--type", "type_", multiple=True, metavar="TYPE", help="Only of jobs of this type.")
@click.option("--owner", multiple=True, metavar="OWNER", help="Only of jobs of this owner.")
@click.option("--status", multiple=True, metavar="STATUS", help="Only of jobs that stand so.")
@click.option("-a", "--all", "everything", is_flag=True, help=f"All that match (default: the last {DEFAULT_TAIL}).")
@pass_context
def logs(
    context: Context,
    /,
    jobs_query: str | None,
    name: tuple[str, ...],
    type_: tuple[str, ...],
    owner: tuple[str, ...],
    status: tuple[str, ...],
    everything: bool,
    **options: Any,
) -> None:
    """Every job's log lines, each with its job's name.

    \b
    etlmon logs -q 'connection refused' --since 24h
    etlmon logs --level error -f
    """
    from etlmon.commands.job_filters import filter_params

    if options["tail"] is None and not options["since"] and not everything:
        options["tail"] = 10 if options["follow"] else DEFAULT_TAIL
    choice = choice_of(options)
    params = filter_params({"name": name, "type_": type_, "owner": owner, "status": status})
    if jobs_query:
        params.append(("jobs", jobs_query))
    printer, client = context.printer(), context.client()
    if choice.follow:
        lines = follow(client, "/api/logs", params, choice, lambda: False)
    else:
        lines = read(client, "/api/logs", params, choice)
    show_lines(printer, lines, names=True, choice=choice)
