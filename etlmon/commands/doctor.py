"""``etlmon doctor``: check this machine, the server, and the way between; each line says what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from etlmon.commands.context import Context, pass_context

if TYPE_CHECKING:
    from etlmon.commands.output import Look

ROLES = {"ok": "ok", "warn": "warn", "fail": "fail"}


@click.command("doctor")
@pass_context
def doctor(context: Context, /) -> int:
    """Check the server, the token, the data directory, spools, config, clock and terminal; exit 1 when one fails."""
    from etlmon.commands.checks import examine
    from etlmon.commands.output import Column

    printer = context.printer()
    found = [finding.shown() for finding in examine(context, printer.look)]

    def state(item: dict[str, Any], look: Look) -> str:
        return str(item["state"])

    columns = (
        Column("STATE", state, colour=lambda item: ROLES[item["state"]]),
        Column("CHECK", lambda item, look: str(item["check"])),
        Column("FOUND", _found),
    )
    printer.items(found, columns, key="check")
    return 1 if any(item["state"] == "fail" for item in found) else 0


def _found(item: dict[str, Any], look: Look) -> str:
    following = f" Next: {item['next']}" if item.get("next") else ""
    return f"{item['detail']}{following}"
