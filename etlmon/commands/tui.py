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
    """Run the console until the person leaves it; from there it may go on to another server, or to the demo."""
    import gc
    from datetime import UTC

    gc.disable()  # until the first paint: hundreds of modules come, none of them is garbage
    from etlmon.tui.app import Console

    while True:
        app = Console(
            context.endpoint_now,
            server=context.profile or "",
            read_only=read_only,
            theme=theme,
            zone=UTC if context.utc else None,
            ascii_only=ascii_only,
            data_dir=context.data_dir,
            config=context.config,
        )
        parting, _, place = (app.run() or "").partition(" ")
        match parting:
            case "demo":
                from etlmon.commands.demo import demo

                demo.main([], prog_name="etlmon demo")
            case "server":
                context, theme = _towards(context, place), app.theme
            case _:
                return


def _towards(context: Context, place: str) -> Context:
    """The same options for another server: a profile, or a URL. A token given for the old one is not sent to it."""
    from etlmon.host.config_file import read_profiles
    from etlmon.host.paths import config_file, data_dir

    context.close()
    other = Context()
    for name, value in context.given().items():
        setattr(other, name, value)
    known = read_profiles(config_file(context.config, data_dir(context.data_dir)))
    other.token_file = None
    other.profile, other.url = (place, known[place][0]) if place in known else (None, place)
    return other
