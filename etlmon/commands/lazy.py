"""Command groups that import a command only when it is asked for, and options that every command takes.

The table beside a group holds each command's place and its line of help, so that ``--help`` opens no other module.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from etlmon.commands.context import Context, shared_options

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Entry(NamedTuple):
    """Where a command lives (``module:attribute``), its line in the help, and whether it prints lists and records."""

    target: str
    help: str
    prints: bool = True
    hidden: bool = False


class LazyGroup(click.Group):
    """A group whose commands are named in a table and imported one at a time."""

    def __init__(self, *args: Any, table: Mapping[str, Entry], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the table, in its order."""
        return [name for name, entry in self.table.items() if not entry.hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now and given the options that every command takes."""
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        module, attribute = entry.target.split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        _share_options(command, prints=entry.prints)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown word is answered with the nearest command."""
        if args and args[0] not in self.table and not args[0].startswith("-"):
            from etlmon.core.text import nearest

            guess = nearest(args[0], self.list_commands(ctx))
            hint = f" Did you mean {guess!r}?" if guess else ""
            raise click.UsageError(f"No such command {args[0][:80]!r}.{hint}", ctx=ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The names of the table and the options, without importing what the table names."""
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name, help=self.table[name].help) for name in self.list_commands(ctx)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [item for item in names if item.value.startswith(incomplete)] + options

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table as help, without importing what it names."""
        rows = [(name, entry.help) for name, entry in self.table.items() if not entry.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _share_options(command: click.Command, *, prints: bool) -> None:
    """Give ``command`` each shared option whose spelling it does not use itself (once: modules are kept)."""
    taken = {spelling for param in command.params for spelling in (*param.opts, *param.secondary_opts)}
    for option in shared_options(prints=prints):
        if taken.isdisjoint(option.opts):
            option.hidden = True
            command.params.append(option)
    if prints and not command.epilog and not isinstance(command, click.Group):
        command.epilog = "Also: -o FORMAT, --json FIELDS, --utc, --no-color, --url, --profile … (see etlmon --help)."


def inherited_defaults(context: Context, table: Mapping[str, Entry]) -> dict[str, dict[str, Any]]:
    """What was given before a command becomes the default of options that the command declares itself."""
    given = {key: value for key, value in context.given().items() if value is not None}
    return dict.fromkeys(table, given)
