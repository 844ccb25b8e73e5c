"""``etlmon connections``: who watches live now."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from etlmon.commands.context import Context, pass_context


def _cell(*keys: str) -> Any:
    """The value under the first of the keys that is there, as text."""

    def cell(item: dict[str, Any], look: Any) -> str:
        value = next((item[key] for key in keys if item.get(key) is not None), None)
        if value is None:
            return ""
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()

    return cell


@click.command("connections")
@pass_context
def connections(context: Context, /) -> None:
    """Who watches live now: role, what they follow, how far behind they are, what they lost."""
    from etlmon.commands.output import Column, note

    columns = (
        Column("ID", _cell("id")),
        Column("WHO", _cell("name", "actor", "owner", "token"), elastic=16),
        Column("ROLE", _cell("role")),
        Column("STATE", _cell("state")),
        Column("LAG", _cell("lag"), right=True),
        Column("DROPPED", _cell("dropped"), right=True),
        Column("LATENCY", _cell("latencyMs", "latency"), right=True),
        Column("SINCE", lambda item, look: look.instant(item.get("since"))),
        Column("FILTERS", _cell("filters", "subscriptions"), elastic=16),
    )
    printer = context.printer()
    found = context.client().listed("/api/monitor/connections")
    printer.items(found, columns)
    if not found and printer.look.terminal and not printer.structured:
        note("Nobody watches live.")
