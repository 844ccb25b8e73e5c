"""``etlmon jobs pause|resume|cancel``: ask, and print how each job stands after."""

from __future__ import annotations

from typing import Any

import click

from etlmon.commands.context import Context, jobs_argument, pass_context


def _control_options(command: Any) -> Any:
    for option in (
        jobs_argument,
        click.option("--reason", metavar="TEXT", help="Why; the journal keeps it."),
        click.option("--wait", "wait_for_it", is_flag=True, help="Return when the job has obeyed."),
        click.option("--timeout", metavar="DURATION", help="With --wait: give up after this (exit 124)."),
        pass_context,
    ):
        command = option(command)
    return command


@click.command("pause")
@_control_options
def pause(context: Context, **options: Any) -> int:
    """Ask jobs to hold still. A job that nobody reports for cannot pause (exit 6)."""
    return _control(context, "pause", ("paused",), **options)


@click.command("resume")
@_control_options
def resume(context: Context, **options: Any) -> int:
    """Let paused jobs go on."""
    return _control(context, "resume", ("running",), **options)


@click.command("cancel")
@_control_options
def cancel(context: Context, **options: Any) -> int:
    """Cancel jobs. This is final; the journal names who and why."""
    return _control(context, "cancel", ("cancelled",), **options)


def _control(
    context: Context,
    action: str,
    reached: tuple[str, ...],
    *,
    job_ids: tuple[str, ...],
    reason: str | None,
    wait_for_it: bool,
    timeout: str | None,
) -> int:
    from etlmon.commands.job_columns import COLUMNS
    from etlmon.commands.job_ids import resolve
    from etlmon.commands.output import note
    from etlmon.core.errors import Conflict, Forbidden, NotFound, Usage

    if timeout is not None and not wait_for_it:
        raise Usage("--timeout goes with --wait.")
    printer, client = context.printer(), context.client()
    jobs: dict[str, Any] = {}
    worst = 0
    for part in dict.fromkeys(job_ids):
        job_id = part
        try:
            job_id = resolve(client, part)
            if job_id not in jobs:
                jobs[job_id] = client.post(f"/api/jobs/{job_id}/{action}", body={"reason": reason} if reason else {})
        except (Conflict, Forbidden, NotFound, Usage) as refusal:
            if len(job_ids) == 1:
                raise
            note(f"etlmon: {job_id}: {refusal.detail}")
            worst = worst or refusal.exit_code
    if wait_for_it and jobs:
        from etlmon.commands.job_wait import settled

        shown, code = settled(context, list(jobs), reached, timeout)
        worst = worst or code
    else:
        shown = list(jobs.values())
    printer.items(shown, COLUMNS)
    return worst
