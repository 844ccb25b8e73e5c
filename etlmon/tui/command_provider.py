"""The palette (ctrl+p): the same commands as the ``:`` line, found by any of their letters."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from etlmon.tui import commands
from etlmon.tui.screens.command_line import open_line, run_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from etlmon.tui.app import Console


class CommandProvider(Provider):
    """Names of jobs come from outside: what is shown is plain text, never markup."""

    @property
    def console(self) -> Console:
        """The app."""
        return self.app  # type: ignore[return-value]

    async def search(self, query: str) -> Hits:
        """The lines that hold the letters of the query."""
        matcher = self.matcher(query)
        for line in commands.lines_for(self.console):
            score = matcher.match(line)
            if score > 0:
                yield Hit(score, Content(line), self._doing(line), text=line, help=_help(line))

    async def discover(self) -> Hits:
        """The commands, while nothing is typed."""
        for command in commands.COMMANDS:
            yield DiscoveryHit(
                Content(f"{command.name} {command.usage}".strip()),
                self._doing(command.name),
                text=command.name,
                help=command.help,
            )

    def _doing(self, line: str) -> Callable[[], None]:
        """Run the line; where something is missing, open the ``:`` line with it."""
        if isinstance(commands.parsed(line), str):
            return partial(open_line, self.console, f"{line} ")
        return partial(run_line, self.console, line)


def _help(line: str) -> str:
    command = commands.BY_NAME[line.partition(" ")[0]]
    return command.help if " " in line or not command.needs else f"{command.help}: {command.usage}"
