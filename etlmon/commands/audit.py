"""``etlmon audit``: who changed what, and when."""

from __future__ import annotations

import click

from etlmon.commands.context import Context, pass_context


@click.command("audit")
@click.option("-L", "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most this many.")
@click.option("-a", "--all", "everything", is_flag=True, help="The whole trail.")
@pass_context
def audit(context: Context, /, limit: int, everything: bool) -> None:
    """Who changed what and when, newest first. Needs an admin token."""
    from etlmon.commands.event_columns import AUDIT_COLUMNS

    printer, client = context.printer(), context.client()
    printer.items(client.items("/api/audit", limit=None if everything else limit), AUDIT_COLUMNS)
