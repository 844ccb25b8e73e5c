"""``etlmon jobs show|events|metrics``: what is known of one job."""

from __future__ import annotations

import click

from etlmon.commands.context import Context, job_argument, pass_context


@click.command("show")
@job_argument
@pass_context
def show(context: Context, job_id: str) -> None:
    """Everything about one job; ID may be shortened to any beginning or end that only it has."""
    from etlmon.commands.job_columns import job_lines
    from etlmon.commands.job_ids import resolve

    printer, client = context.printer(), context.client()
    printer.item(client.get(f"/api/jobs/{resolve(client, job_id)}"), job_lines)


@click.command("events")
@job_argument
@click.option("-L", "--limit", type=click.IntRange(min=1), help="At most this many (default: all).")
@pass_context
def events(context: Context, job_id: str, limit: int | None) -> None:
    """A job's part of the journal: every fact accepted, in order, with who and when."""
    from etlmon.commands.event_columns import EVENT_COLUMNS
    from etlmon.commands.job_ids import resolve

    printer, client = context.printer(), context.client()
    found = client.items(f"/api/jobs/{resolve(client, job_id)}/events", limit=limit)
    printer.items(found, EVENT_COLUMNS, key="seq")


@click.command("metrics")
@job_argument
@pass_context
def metrics(context: Context, job_id: str) -> None:
    """A job's measurements as they stand; -o json gives the series over the run too."""
    from etlmon.commands.job_columns import metric_lines
    from etlmon.commands.job_ids import resolve

    printer, client = context.printer(), context.client()
    answer = client.get(f"/api/jobs/{resolve(client, job_id)}/metrics")
    printer.item(answer, lambda item, look: metric_lines(item.get("current")))
