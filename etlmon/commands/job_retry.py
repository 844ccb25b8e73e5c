"""``etlmon jobs retry``: queue finished jobs anew; each becomes a new job that names the old one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from etlmon.commands.context import Context, jobs_argument, pass_context

if TYPE_CHECKING:
    from etlmon.client.rest import Client


@click.command("retry")
@jobs_argument
@click.option("--reason", metavar="TEXT", help="Why; the audit keeps it.")
@click.option("--wait", "wait_for_it", is_flag=True, help="Return when the new jobs have ended: 0 completed, else 1.")
@click.option("--timeout", metavar="DURATION", help="With --wait: give up after this (exit 124).")
@pass_context
def retry(
    context: Context, /, job_ids: tuple[str, ...], reason: str | None, wait_for_it: bool, timeout: str | None
) -> int:
    """Start finished jobs again and print the new ones. What etlmon only watched cannot start from here (exit 6).

    Jobs that waited for each other do so again.
    """
    from etlmon.commands.job_columns import COLUMNS, WIDE
    from etlmon.core.errors import Usage

    if timeout is not None and not wait_for_it:
        raise Usage("--timeout goes with --wait.")
    client = context.client()
    if len(set(job_ids)) == 1:
        jobs, worst = [_one(client, job_ids[0], reason)], 0
    else:
        jobs, worst = _several(client, job_ids, reason)
    _tell_pauses(client, jobs)
    if wait_for_it and jobs:
        from etlmon.commands.job_wait import settled

        jobs, code = settled(context, [str(job["id"]) for job in jobs], ("completed",), timeout)
        worst = worst or code
    context.printer().items(jobs, COLUMNS, wide=WIDE)
    return worst


def _one(client: Client, part: str, reason: str | None) -> dict[str, Any]:
    from etlmon.commands.job_ids import resolve

    job: dict[str, Any] = client.post(f"/api/jobs/{resolve(client, part)}/retry", body=_body(reason))
    return job


def _several(client: Client, parts: tuple[str, ...], reason: str | None) -> tuple[list[dict[str, Any]], int]:
    """The new jobs of those that can be retried; the others are told on stderr and set the exit code."""
    from etlmon.commands.job_ids import resolve
    from etlmon.commands.output import note
    from etlmon.core.errors import Conflict, NotFound, Usage

    ids, worst = [], 0
    for part in dict.fromkeys(parts):
        try:
            ids.append(resolve(client, part))
        except (NotFound, Usage) as refusal:
            note(f"etlmon: {part}: {refusal.detail}")
            worst = worst or refusal.exit_code
    answer = client.post("/api/jobs/bulk", body={"action": "retry", "ids": ids, **_body(reason)})
    for each in answer["skipped"]:
        note(f"etlmon: {each['id']}: {each['why']}")
        worst = worst or Conflict.exit_code
    return [client.get(f"/api/jobs/{new}") for new in answer["retried"].values()], worst


def _body(reason: str | None) -> dict[str, Any]:
    return {"reason": reason} if reason else {}


def _tell_pauses(client: Client, jobs: list[dict[str, Any]]) -> None:
    """Say so when what was just queued is not given out."""
    from etlmon.commands.output import note
    from etlmon.commands.queue import paused_sentence

    if jobs:
        for pause in client.get("/api/queue")["paused"]:
            note(f"etlmon: {paused_sentence(pause)}")
