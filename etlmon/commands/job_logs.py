"""``etlmon jobs logs``: the log lines of one or several jobs, with ``-f`` live until they end."""

from __future__ import annotations

from typing import Any

import click

from etlmon.commands.context import Context, jobs_argument, pass_context
from etlmon.commands.log_lines import QUIET_S, Choice, choice_of, follow, line_options, read, show_lines

SEVERAL_QUIET_S = 2.0
"""The server ends the answer for one job with the job; whether several have ended is asked after such a silence."""


@click.command("logs")
@jobs_argument
@line_options
@pass_context
def job_logs(context: Context, /, job_ids: tuple[str, ...], **options: Any) -> None:
    """Log lines of jobs, oldest first; of several jobs each line with its job's name.

    With -f it goes on until the jobs have ended; a server that restarts in between costs no line and doubles none.
    """
    choice = choice_of(options)
    printer, client = context.printer(), context.client()
    from etlmon.commands.job_ids import resolve_all

    ids = resolve_all(client, job_ids)
    if len(ids) > 1:
        for job_id in ids:
            client.get(f"/api/jobs/{job_id}/status")  # a search over ids would say nothing of one that is not there
    path = f"/api/jobs/{ids[0]}/logs" if len(ids) == 1 else "/api/logs"
    params = [] if len(ids) == 1 else [("jobs", "id:" + ",".join(ids))]
    lines = followed(context, ids, path, params, choice) if choice.follow else read(client, path, params, choice)
    show_lines(printer, lines, names=len(ids) > 1, choice=choice)


def followed(context: Context, ids: list[str], path: str, params: list[tuple[str, Any]], choice: Choice) -> Any:
    """The lines of these jobs and what comes, until all have ended."""
    client = context.client()

    def ended() -> bool:
        from etlmon.client.rest import AWAY
        from etlmon.commands.job_columns import is_final

        try:
            return all(is_final(client.get(f"/api/jobs/{job_id}/status")) for job_id in ids)
        except AWAY:
            return False

    return follow(client, path, params, choice, ended, quiet_s=QUIET_S if len(ids) == 1 else SEVERAL_QUIET_S)
