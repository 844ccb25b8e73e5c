"""``etlmon definitions``: what can be started by name, and what is expected."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from etlmon.commands.context import Context, pass_context
from etlmon.commands.lazy import Entry, LazyGroup

if TYPE_CHECKING:
    from etlmon.commands.output import Item, Look

COMMANDS = {
    "list": Entry("etlmon.commands.definitions:list_definitions", "Every [jobs.NAME] of the server's config."),
    "ls": Entry("etlmon.commands.definitions:list_definitions", "Same as list.", hidden=True),
}
definitions = LazyGroup("definitions", table=COMMANDS, help="What can be started by name, and what is expected.")


@click.command("list")
@click.option("--name", "names", multiple=True, metavar="NAME", help="Only these; * stands for anything.")
@click.option("--startable", is_flag=True, help="Only what `jobs submit NAME` starts.")
@pass_context
def list_definitions(context: Context, /, names: tuple[str, ...], startable: bool) -> None:
    """What the server knows by name: how it is started, when it is expected, whose it is."""
    from etlmon.commands.job_columns import tags_cell, text_of
    from etlmon.commands.output import Column, note

    columns = (
        Column("NAME", text_of("name"), elastic=18),
        Column("TYPE", text_of("type"), elastic=10, rank=1),
        Column("START", _start, rank=2),
        Column("SCHEDULE", text_of("schedule"), elastic=10, rank=3),
        Column("OWNER", text_of("owner"), elastic=8, rank=4),
        Column("PRIO", text_of("priority"), right=True, rank=6),
        Column("RETRIES", text_of("retries"), right=True, rank=7),
        Column("TIMEOUT", _duration_of("timeoutMs"), right=True, rank=5),
    )
    wide = (
        Column("ZONE", text_of("timezone")),
        Column("GRACE", _duration_of("graceMs"), right=True),
        Column("EXPECTED", _duration_of("expectedDurationMs"), right=True),
        Column("STEPS", lambda item, look: ", ".join(item.get("steps") or ())),
        Column("COMMAND", _command),
        Column("TAGS", tags_cell),
    )
    printer = context.printer()
    found = [item for item in context.client().listed("/api/definitions") if _is_wanted(item, names, startable)]
    printer.items(found, columns, wide=wide, key="name")
    if not found and printer.look.terminal and not printer.structured:
        note("Nothing is defined: [jobs.NAME] in the server's config file does.")


def _is_wanted(item: Item, names: tuple[str, ...], startable: bool) -> bool:
    named = not names or any(fnmatchcase(str(item.get("name")), pattern) for pattern in names)
    return named and (bool(item.get("startable")) or not startable)


def _start(item: Item, look: Look) -> str:
    """``yes``: submit starts it; ``expected``: it is started elsewhere; ``nothing``: no command and no config."""
    if item.get("startable"):
        return "yes"
    return "nothing" if item.get("start") else "expected"


def _duration_of(key: str) -> Any:
    def cell(item: Item, look: Look) -> str:
        from etlmon.core.durations import format_duration

        ms = item.get(key)
        return "" if ms is None else format_duration(ms)

    return cell


def _command(item: Item, look: Look) -> str:
    import shlex

    return shlex.join(item.get("command") or ())
