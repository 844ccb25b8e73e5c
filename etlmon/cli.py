"""The click root: which command lives where, and how any failure leaves the process. Imports click alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from etlmon.commands.context import Context, shared_options
from etlmon.commands.lazy import Entry, LazyGroup, inherited_defaults

COMMANDS = {
    "demo": Entry("etlmon.commands.demo:demo", "A server and real jobs over shipped data, to look at.", prints=False),
    "server": Entry("etlmon.commands.server:server", "Run the server in the foreground.", prints=False),
    "worker": Entry("etlmon.commands.worker:worker", "Claim queued jobs and run them.", prints=False),
    "run": Entry("etlmon.commands.run:run", "Run a command as a job and report it.", prints=False),
    "tui": Entry("etlmon.commands.tui:tui", "The console, full screen: what `etlmon` alone opens.", prints=False),
    "jobs": Entry("etlmon.commands.jobs:jobs", "List, show, watch, wait for, submit and control jobs."),
    "queue": Entry("etlmon.commands.queue:queue", "What waits to be run; pause and resume it."),
    "workers": Entry("etlmon.commands.workers:workers", "Who runs queued jobs."),
    "definitions": Entry("etlmon.commands.definitions:definitions", "What can be started by name."),
    "logs": Entry("etlmon.commands.logs:logs", "Search and follow every job's logs."),
    "history": Entry("etlmon.commands.history:history", "Finished jobs: list, statistics, export."),
    "config": Entry("etlmon.commands.config:config", "Show, check and create the config file."),
    "tokens": Entry("etlmon.commands.tokens:tokens", "Create, list and revoke tokens."),
    "connections": Entry("etlmon.commands.connections:connections", "Who watches live now."),
    "audit": Entry("etlmon.commands.audit:audit", "Who changed what, and when."),
    "health": Entry("etlmon.commands.health:health", "How the server does."),
    "doctor": Entry("etlmon.commands.doctor:doctor", "Check this machine, the server and the way between."),
    "completion": Entry("etlmon.commands.completion:completion", "Print a shell's completion script.", prints=False),
}
"""Every command of ``etlmon``: its place, its line of help, whether it takes the output options."""

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


class Root(LazyGroup):
    """The top group; hands what was given before a command to the options that the command declares itself."""

    def invoke(self, ctx: click.Context) -> object:
        """As click does, with the shared options as defaults for the chosen command."""
        ctx.default_map = inherited_defaults(ctx.ensure_object(Context), self.table)
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            _silence_stdout()
            raise click.exceptions.Exit(EXIT_BROKEN_PIPE) from error


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import version

    click.echo(f"etlmon {version('etlmon')}")
    ctx.exit()


@click.pass_context
def _alone(ctx: click.Context) -> None:
    """``etlmon`` without a command: the console, or where there is no terminal the help."""
    if ctx.invoked_subcommand is not None:
        return
    if sys.stdin.isatty() and sys.stdout.isatty():
        from etlmon.commands.tui import show_console

        show_console(ctx.ensure_object(Context), read_only=False, theme=None, ascii_only=False)
    else:
        click.echo(ctx.get_help())


root = Root(
    "etlmon",
    table=COMMANDS,
    callback=_alone,
    help="A terminal console for ETL and batch jobs: what runs, how far it is, what it says, what failed and why.",
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=[
        *shared_options(),
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="The version."
        ),
    ],
    epilog="Settings: flag, then environment (ETLMON_URL, ETLMON_TOKEN, ETLMON_PROFILE, ETLMON_CONFIG, "
    "ETLMON_DATA_DIR), then profile, then what this machine offers. Exit codes: 0 ok, 1 failure, 2 usage, "
    "3 server unreachable, 4 not authorised, 5 not found, 6 conflict, 124 timed out, 130 interrupted.",
)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit code; never a traceback unless ``--debug`` asks for it."""
    words = list(sys.argv[1:] if args is None else args)
    context = Context()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        _check_words(words)
        code = root.main(words, prog_name="etlmon", standalone_mode=False, obj=context)
        if sys.stdout is not None:  # started with it closed
            sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        return EXIT_BROKEN_PIPE
    except click.exceptions.NoArgsIsHelpError as unfinished:
        click.echo(unfinished.format_message())
        return 0
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last net: whatever it is becomes a sentence and an exit code
        if context.debug:
            import traceback

            traceback.print_exc()
        return _explain(error)
    finally:
        context.close()
    return code if type(code) is int else 0


def _check_words(words: Sequence[str]) -> None:
    """Refuse words that are no text; what follows ``--`` is another program's and may be any bytes."""
    for word in words:
        if word == "--":
            return
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise click.UsageError("An argument is not valid UTF-8.") from error


def _explain(error: Exception) -> int:
    """Say on stderr what went wrong, one sentence and then each fault; the exit code that goes with it."""
    from etlmon.core.errors import EtlmonError
    from etlmon.core.text import shown

    lines, code = [], 1
    if isinstance(error, EtlmonError):
        code = error.exit_code
        lines.append(f"etlmon: {error.detail}")
        lines += [f"  {fault.path}: {fault.message}" for fault in error.errors if fault.message not in error.detail]
    elif isinstance(error, click.ClickException):
        code = error.exit_code
        lines.append(f"etlmon: {error.format_message()}")
        usage = getattr(error, "ctx", None)
        if usage is not None:
            lines.append(f"Try '{usage.command_path} --help'.")
    elif isinstance(error, OSError) and error.filename:
        lines.append(f"etlmon: {error.filename}: {error.strerror}")
    else:
        lines.append(f"etlmon: this is a fault of etlmon itself: {type(error).__name__}: {error} (--debug shows where)")
    try:
        click.echo("\n".join(shown(line[:2000]) for line in lines), err=True)
    except BrokenPipeError:
        return EXIT_BROKEN_PIPE
    return code


def _silence_stdout() -> None:
    """Point stdout at nothing, so that the flush at exit does not complain of the closed pipe."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
