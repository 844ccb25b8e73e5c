"""``etlmon run -- CMD``: run a command as a job and report it; transparent to whoever started it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from etlmon.commands.context import Context, pass_context

if TYPE_CHECKING:
    from etlmon.agent.asked import Reports
    from etlmon.core.reports import CommandItem

WRAPPER_FAULT = 125


def _duration(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """``90s``, ``25m``, ``1h30m`` → milliseconds."""
    from etlmon.core.durations import parse_duration

    try:
        return None if value is None else parse_duration(value)
    except ValueError as fault:
        raise click.BadParameter(f"{fault}.", ctx, param) from None


def _tags(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """``key=value`` … → a dict; the last of the same key counts."""
    tags = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{value!r} is not a tag: write key=value.", ctx, param)
        tags[key] = text
    return tags


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.option("--name", metavar="NAME", help="The job's recurring name (default: the program's).")
@click.option("--type", "type_", metavar="TYPE", default="command", show_default=True, help="The kind of work.")
@click.option("--owner", metavar="OWNER", help="Whose job it is.")
@click.option("--tag", "tags", metavar="K=V", multiple=True, callback=_tags, help="A tag; may be repeated.")
@click.option("--expect", "expect_ms", metavar="DURATION", callback=_duration, help="How long it should take: 10m.")
@click.option(
    "--timeout", "timeout_ms", metavar="DURATION", callback=_duration, help="End it after this: 1h (exit 124)."
)
@click.option(
    "--grace",
    "grace_ms",
    metavar="DURATION",
    callback=_duration,
    default="10s",
    show_default=True,
    help="Between SIGTERM and SIGKILL.",
)
@click.option("--unbuffered", is_flag=True, help="Set PYTHONUNBUFFERED=1 for the command.")
@click.option("--no-capture", is_flag=True, help="Hand the descriptors through: no log lines, no progress.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD…")
@pass_context
def run(
    context: Context,
    name: str | None,
    type_: str,
    owner: str | None,
    tags: dict[str, str],
    expect_ms: int | None,
    timeout_ms: int | None,
    grace_ms: int,
    unbuffered: bool,
    no_capture: bool,
    command: tuple[str, ...],
) -> int:
    """Run CMD as a job: its output, signals and exit status are as without etlmon.

    Its lines become the job's log, its progress is read from what it prints. Exit code: the command's own; 124 timed
    out, 125 etlmon failed, 126 not executable, 127 not found.
    """
    from etlmon.agent.asked import Options
    from etlmon.agent.run import run as run_command

    options = Options(
        argv=command,
        name=name,
        type=type_,
        owner=owner,
        tags=tags,
        expect_ms=expect_ms,
        timeout_ms=timeout_ms,
        grace_ms=grace_ms,
        unbuffered=unbuffered,
        capture=not no_capture,
    )
    try:
        run_command(options, _WayOut(context)).take()
    except OSError as fault:
        click.echo(f"etlmon: the command could not be started: {fault}", err=True)
        return WRAPPER_FAULT


_BY_ENVIRONMENT = {
    "url": "ETLMON_URL",
    "profile": "ETLMON_PROFILE",
    "config": "ETLMON_CONFIG",
    "data_dir": "ETLMON_DATA_DIR",
}


class _WayOut:
    """The way to the server that the shared options name."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def open(self, take_command: Callable[[CommandItem], None], /) -> Reports:
        """The reporter of this run; its warnings stay off stderr, which is the command's."""
        import logging

        from etlmon.sdk.guard import LOGGER
        from etlmon.sdk.reporter import Reporter

        logging.getLogger(LOGGER).addHandler(logging.NullHandler())
        self._follow_options()
        reporter = Reporter(source="run")
        reporter.on_command(take_command)
        return reporter

    def _follow_options(self) -> None:
        """Put the options where the reporter and a flusher look. The command has its environment already."""
        for option, variable in _BY_ENVIRONMENT.items():
            given = getattr(self._context, option)
            if given:
                os.environ[variable] = given
        if self._context.token_file:
            from etlmon.host.endpoint import read_token_file

            os.environ["ETLMON_TOKEN"] = read_token_file(self._context.token_file)

    def leave_flusher(self) -> None:
        """It finds directory, server and token as we did, by the environment."""
        from etlmon.sdk.flush import spawn_flusher

        spawn_flusher()
