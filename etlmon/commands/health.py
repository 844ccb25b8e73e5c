"""``etlmon health``: how the server does."""

from __future__ import annotations

from typing import Any

import click

from etlmon.commands.context import Context, pass_context


@click.command("health")
@click.option("--system", is_flag=True, help="Also resources, store, queue and services (needs a token).")
@pass_context
def health(context: Context, /, system: bool) -> int:
    """How the server does; exit 1 when it cannot serve well, 3 when it cannot be reached."""
    from etlmon.commands.history import figure_lines
    from etlmon.core.durations import format_duration

    printer, client = context.printer(), context.client()
    path = "/api/system/health" if system else "/api/health"
    answer: dict[str, Any] = client.get(path, accept=(503,))

    def lines(item: dict[str, Any], look: Any) -> Any:
        yield "url", client.url
        for key, value in item.items():
            if key == "uptimeMs" and isinstance(value, int):
                yield "uptime", format_duration(value)
            elif value is not None:
                yield from figure_lines(value, look, key)

    printer.item(answer, lines, key="status")
    return 0 if answer.get("status") == "ok" else 1
