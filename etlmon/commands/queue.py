"""``etlmon queue``: what waits, since when, and whether it is given out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from etlmon.commands.context import Context, pass_context
from etlmon.commands.lazy import Entry, LazyGroup

if TYPE_CHECKING:
    from etlmon.commands.output import Item, Look

EVERY_QUEUE = "*"
COMMANDS = {
    "show": Entry("etlmon.commands.queue:show", "Depth, the oldest, per priority, and what is paused."),
    "pause": Entry("etlmon.commands.queue:pause", "Give out nothing until resumed."),
    "resume": Entry("etlmon.commands.queue:resume", "Give out jobs again."),
}
queue = LazyGroup("queue", table=COMMANDS, help="What waits to be run: show, pause, resume.")


@click.command("show")
@pass_context
def show(context: Context, /) -> None:
    """How many jobs wait, since when, at which priority; which queues are paused, by whom and why."""
    _print(context, context.client().get("/api/queue"))


def _queue_options(command: Any) -> Any:
    for option in (
        click.argument("name", metavar="[QUEUE]", default=EVERY_QUEUE),
        click.option("--reason", metavar="TEXT", help="Why; everybody sees it."),
        pass_context,
    ):
        command = option(command)
    return command


@click.command("pause")
@_queue_options
def pause(context: Context, /, name: str, reason: str | None) -> None:
    """Give out no job of a queue (all, unless one is named) until resumed. What runs goes on; what comes is queued."""
    _put(context, "pause", name, reason)


@click.command("resume")
@_queue_options
def resume(context: Context, /, name: str, reason: str | None) -> None:
    """Give out the jobs of a queue (all, unless one is named) again."""
    client = context.client()
    paused = [str(each["queue"]) for each in client.get("/api/queue")["paused"]] if name == EVERY_QUEUE else []
    for each in paused[1:]:
        client.put("/api/queue/resume", body={"queue": each})
    _put(context, "resume", paused[0] if paused else name, reason)


def _put(context: Context, action: str, name: str, reason: str | None) -> None:
    body = {"queue": name} | ({"reason": reason} if reason else {})
    _print(context, context.client().put(f"/api/queue/{action}", body=body))


def paused_sentence(pause: Item) -> str:
    """``THE QUEUE IS PAUSED by ana since …: disk on etl-2.`` and the command that ends it."""
    name = pause.get("queue")
    which = "THE QUEUE" if name == EVERY_QUEUE else f"THE QUEUE {name}"
    again = "etlmon queue resume" + ("" if name == EVERY_QUEUE else f" {name}")
    why = f": {pause['reason']}" if pause.get("reason") else ""
    return f"{which} IS PAUSED by {pause.get('by') or 'somebody'} since {pause.get('at')}{why} (`{again}`)."


def _print(context: Context, found: Item) -> None:
    """The whole answer as a record, or a row for each queue and on a terminal a sentence for each pause."""
    from etlmon.commands.output import Column, note

    printer = context.printer()
    if printer.structured:
        printer.item(found, lambda item, look: ())
        return
    columns = (
        Column("QUEUE", lambda item, look: str(item["name"]), elastic=12),
        Column("STATE", lambda item, look: "PAUSED" if item["paused"] else "open", colour=_state_role),
        Column("DEPTH", lambda item, look: str(item["depth"]), right=True),
        Column("READY", lambda item, look: str(item["ready"]), right=True, rank=3),
        Column("SCHEDULED", lambda item, look: str(item["scheduled"]), right=True, rank=4),
        Column("BLOCKED", lambda item, look: str(item["blocked"]), right=True, rank=5),
        Column("RUNNING", lambda item, look: str(item["running"]), right=True, rank=2),
        Column("OLDEST", _oldest, right=True, rank=1),
        Column("PRIORITIES", _priorities, elastic=12, rank=6),
    )
    printer.items(found["items"], columns, key="name")
    if printer.look.terminal:
        for each in found["paused"]:
            note(paused_sentence({**each, "at": printer.look.instant(each.get("at"))}))


def _state_role(item: Item) -> str:
    return "fail" if item["paused"] else "ok"


def _oldest(item: Item, look: Look) -> str:
    from etlmon.core.durations import format_duration

    ms = item.get("oldestMs")
    return "" if ms is None else format_duration(ms)


def _priorities(item: Item, look: Look) -> str:
    """``10: 3, 0: 41``: priority and how many wait at it."""
    return ", ".join(f"{each['priority']}: {each['depth']}" for each in item["priorities"])
