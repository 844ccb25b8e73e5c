"""``etlmon jobs bulk``: one action on every job that matches; counted first, asked before, told after."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from etlmon.commands.context import Context, pass_context

if TYPE_CHECKING:
    from etlmon.client.rest import Client
    from etlmon.commands.output import Item, Printer

ACTIONS = ("pause", "resume", "cancel", "retry")
MOST_IDS = 1000
"""The most ids that one request may name."""
PATIENCE_S = 130.0
"""The server takes up to two minutes for ten thousand jobs."""
PAST = {"pause": "asked to pause", "resume": "asked to resume", "cancel": "asked to cancel", "retry": "retried"}


@click.command("bulk")
@click.argument("action", type=click.Choice(ACTIONS, case_sensitive=False))
@click.option("-q", "--query", "q", metavar="EXPR", required=True, help="Which jobs: the filter grammar.")
@click.option("--dry-run", is_flag=True, help="Only tell which jobs it fits, and why not the others.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--reason", metavar="TEXT", help="Why; the journal keeps it.")
@pass_context
def bulk(context: Context, /, action: str, q: str, dry_run: bool, yes: bool, reason: str | None) -> int:
    """Pause, resume, cancel or retry every job that matches; those that it does not fit are left alone and told.

    \b
    etlmon jobs bulk cancel -q 'name:orders_* tag.env:prod' --reason 'wrong source file'
    etlmon jobs bulk retry -q 'status:failed finished<1h' --dry-run
    """
    from etlmon.core.errors import Conflict

    client = context.client(timeout_s=PATIENCE_S)
    planned = client.post("/api/jobs/bulk", body={"action": action, "q": q, "dryRun": True})
    if dry_run:
        _print(context.printer(), planned, "eligible")
        _tell_counts(planned, f"can be {_may_be(action)}")
        return 0
    if planned["eligible"]:
        _ask(action, planned, is_sure=yes)
        done = _do(client, action, q, planned, reason)
    else:
        done = planned
    _print(context.printer(), done, "done")
    _tell_counts(done, PAST[action])
    return Conflict.exit_code if done["skipped"] and not done["done"] else 0


def _may_be(action: str) -> str:
    return {"pause": "paused", "resume": "resumed", "cancel": "cancelled", "retry": "retried"}[action]


def _ask(action: str, planned: Item, *, is_sure: bool) -> None:
    """Go on only when a person says so, or has said so with --yes."""
    from etlmon.core.errors import Usage

    if is_sure:
        return
    n, left = planned["eligible"], len(planned["skipped"])
    rest = f" {left:,} {'is' if left == 1 else 'are'} left alone." if left else ""
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None and sys.stderr.isatty()):
        raise Usage(
            f"This would {action} {_jobs(n)}.{rest} Without a terminal nobody is asked: say --yes, or --dry-run."
        )
    click.confirm(f"{action.capitalize()} {_jobs(n)}?{rest}", default=False, abort=True, err=True)


def _jobs(n: int) -> str:
    return f"{n:,} job{'' if n == 1 else 's'}"


def _do(client: Client, action: str, q: str, planned: Item, reason: str | None) -> dict[str, Any]:
    """Act on exactly the jobs that were counted. Retries beyond one request's ids go by the filter: jobs that waited
    for each other have to be retried together."""
    body: dict[str, Any] = {"action": action, "reason": reason}
    ids = planned["ids"]
    if action == "retry" and len(ids) > MOST_IDS:
        answer: dict[str, Any] = client.post("/api/jobs/bulk", body={**body, "q": q})
        return answer
    parts = [ids[at : at + MOST_IDS] for at in range(0, len(ids), MOST_IDS)]
    answers = [client.post("/api/jobs/bulk", body={**body, "ids": part}) for part in parts]
    return {
        "eligible": sum(each["eligible"] for each in answers),
        "ids": [one for each in answers for one in each["ids"]],
        "skipped": [*planned["skipped"], *(one for each in answers for one in each["skipped"])],
        "done": sum(each["done"] for each in answers),
        "retried": {old: new for each in answers for old, new in each["retried"].items()},
    }


def _print(printer: Printer, result: Item, word: str) -> None:
    """The whole result as a record, or a row for each job: what came of it and, where it is left alone, why."""
    from etlmon.commands.job_columns import id_cell, text_of
    from etlmon.commands.output import Column

    if printer.structured:
        printer.item(result, lambda item, look: ())
        return
    columns = (
        Column("ID", id_cell, elastic=12),
        Column("RESULT", text_of("result"), colour=lambda item: "ok" if item["result"] == word else "muted"),
        Column("NEW / WHY", text_of("more"), elastic=20),
    )
    printer.items(_rows(result, word), columns)


def _rows(result: Item, word: str) -> Iterator[Item]:
    retried = result.get("retried") or {}
    for job_id in result["ids"]:
        yield {"id": job_id, "result": word, "more": retried.get(job_id, "")}
    for each in result["skipped"]:
        yield {"id": each["id"], "result": "left", "more": each["why"]}


def _tell_counts(result: Item, what: str) -> None:
    from etlmon.commands.output import note

    n, left = len(result["ids"]), len(result["skipped"])
    note(f"etlmon: {_jobs(n)} {what}, {left:,} left alone." if n or left else "etlmon: no job matches.")
