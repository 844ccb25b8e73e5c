"""``etlmon`` and ``etlmon tui``: the console."""

from __future__ import annotations

import sys

import click

from etlmon.commands.context import Context


@click.command()
@click.option("--read-only", is_flag=True, help="Hide every key that changes something.")
@click.option("--theme", metavar="NAME", help="etlmon-dark, etlmon-light, ansi-dark, ansi-light or any of Textual's.")
@click.option("--ascii", "ascii_only", is_flag=True, help="Draw with ASCII alone.")
@click.pass_obj
def tui(context: Context, read_only: bool, theme: str | None, ascii_only: bool) -> None:
    """Watch and steer jobs live, full screen."""
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        raise click.UsageError("The console needs a terminal. In a pipe use `etlmon jobs list` or `etlmon jobs watch`.")
    show_console(context, read_only=read_only, theme=theme, ascii_only=ascii_only)


def show_console(context: Context, *, read_only: bool, theme: str | None, ascii_only: bool) -> None:
    """Run the console until the person leaves it."""
    import gc
    from datetime import UTC

    gc.disable()  # until the first paint: hundreds of modules come, none of them is garbage
    from etlmon.tui.app import Console

    app = Console(
        context.endpoint_now,
        server=context.profile or "",
        read_only=read_only,
        theme=theme,
        zone=UTC if context.utc else None,
        ascii_only=ascii_only,
    )
    app.run()
