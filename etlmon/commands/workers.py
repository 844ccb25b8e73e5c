"""``etlmon workers``: who runs queued jobs, what they hold, when they were last heard of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from etlmon.commands.context import Context, pass_context
from etlmon.commands.lazy import Entry, LazyGroup

if TYPE_CHECKING:
    from etlmon.commands.output import Item, Look

COMMANDS = {
    "list": Entry("etlmon.commands.workers:list_workers", "Workers with their jobs and leases."),
    "ls": Entry("etlmon.commands.workers:list_workers", "Same as list.", hidden=True),
}
workers = LazyGroup("workers", table=COMMANDS, help="Who runs queued jobs.")

ROLES = {"busy": "run", "idle": "muted", "silent": "warn"}


@click.command("list")
@click.option("-s", "--status", "statuses", multiple=True, metavar="STATUS", help="busy, idle or silent.")
@pass_context
def list_workers(context: Context, /, statuses: tuple[str, ...]) -> None:
    """Workers that hold a job or were heard of within an hour: slots, jobs, leases, last beat."""
    from etlmon.commands.job_columns import instant_of, text_of
    from etlmon.commands.output import Column, note

    wanted = _wanted(statuses)
    columns = (
        Column("ID", text_of("id"), elastic=12),
        Column("STATUS", text_of("status"), colour=lambda item: ROLES.get(str(item.get("status")))),
        Column("HOST", text_of("host"), elastic=8, rank=2),
        Column("PID", text_of("pid"), right=True, rank=5),
        Column("SLOTS", _slots, right=True, rank=1),
        Column("QUEUES", lambda item, look: ",".join(item.get("queues") or ()), elastic=8, rank=4),
        Column("LAST BEAT", instant_of("lastSeenAt"), rank=3),
        Column("JOBS", _jobs, elastic=8, rank=6),
    )
    wide = (
        Column("LEASES UNTIL", _leases),
        Column("VERSION", text_of("version")),
        Column("SINCE", instant_of("firstSeenAt")),
    )
    printer = context.printer()
    found = [item for item in context.client().listed("/api/workers") if not wanted or item.get("status") in wanted]
    printer.items(found, columns, wide=wide)
    if not found and printer.look.terminal and not printer.structured:
        note("No worker was heard of within an hour.")


def _wanted(given: tuple[str, ...]) -> set[str]:
    from etlmon.core.errors import Usage
    from etlmon.core.text import hint, sentence

    words = {word.strip().lower() for text in given for word in text.split(",") if word.strip()}
    for word in sorted(words - ROLES.keys()):
        raise Usage(sentence(f"--status: there is no status {word!r}{hint(word, ROLES)}"))
    return words


def _slots(item: Item, look: Look) -> str:
    """``2/4``: slots in use, and how many there are."""
    n = item.get("concurrency")
    return f"{len(item['running'])}/{'?' if n is None else n}"


def _jobs(item: Item, look: Look) -> str:
    from etlmon.core.ids import short_id

    ids = [str(each["jobId"]) for each in item["running"]]
    return ",".join(short_id(each) if look.terminal else each for each in ids)


def _leases(item: Item, look: Look) -> str:
    return ",".join(look.instant(each["leaseUntil"]) for each in item["running"])
