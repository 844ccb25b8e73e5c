"""``etlmon jobs priority``: which of the queued jobs is sooner."""

from __future__ import annotations

import click

from etlmon.commands.context import Context, job_argument, pass_context


@click.command("priority", context_settings={"ignore_unknown_options": True})
@job_argument
@click.argument("priority", metavar="N", type=click.IntRange(-1000, 1000))
@pass_context
def priority(context: Context, /, job_id: str, priority: int) -> None:
    """Set the priority of a queued job: higher is sooner, 0 is usual, -1000 to 1000.

    \b
    etlmon jobs priority 1c9e4f7a 10
    """
    from etlmon.commands.job_columns import COLUMNS, WIDE
    from etlmon.commands.job_ids import resolve
    from etlmon.commands.output import note

    client = context.client()
    job = client.patch(f"/api/jobs/{resolve(client, job_id)}", body={"priority": priority})
    printer = context.printer()
    printer.items([job], [*COLUMNS[:3], *(column for column in WIDE if column.title == "PRIO"), *COLUMNS[3:]])
    if job.get("status") != "pending":
        note(f"etlmon: {job.get('name')} is {job.get('status')}: its priority only tells in the queue.")
