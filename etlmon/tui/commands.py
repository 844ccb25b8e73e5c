"""The console's commands: one registry for the ``:`` line and for the palette. Knows the console, not Textual."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import msgspec

from etlmon.core import errors
from etlmon.core.text import hint, shown
from etlmon.tui.jobs.live import LiveJob

if TYPE_CHECKING:
    from etlmon.tui.app import Console

MOST_OFFERS = 200
"""Job names that are offered; the newest first."""
MOST_LOGS = 20
"""Jobs whose logs one command opens."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """``run`` takes what follows the name, and gives a sentence when it cannot be done."""

    name: str
    usage: str = ""
    help: str
    run: Callable[[Console, str], str | None]
    offers: Callable[[Console], Iterable[str]] = lambda _: ()
    """What may follow the name."""
    needs: bool = False
    """Whether something has to follow."""


def parsed(text: str) -> tuple[Command, str] | str:
    """The command that a typed line names, with what follows it; or what is wrong, in a sentence."""
    word, _, rest = text.strip().lstrip(":").partition(" ")
    rest = rest.strip()
    command = BY_NAME.get(word) or next((each for each in COMMANDS if word and each.name.startswith(word)), None)
    if command is None:
        return f"{shown(word)} is no command{hint(word, BY_NAME)}" if word else "Type a command."
    if command.needs and not rest:
        return f"{command.name} wants {command.usage}"
    return command, rest


def lines_for(console: Console) -> list[str]:
    """Every line that is offered: the commands, and each with what may follow it."""
    out = [command.name for command in COMMANDS]
    for command in COMMANDS:
        out += [f"{command.name} {offer}" for offer in command.offers(console)]
    return out


def told(text: str) -> str:
    """A line that says what the command being typed does; all names while none is."""
    word = text.strip().lstrip(":").partition(" ")[0]
    fits = [each for each in COMMANDS if each.name.startswith(word)] if word else []
    one = BY_NAME.get(word) or (fits[0] if len(fits) == 1 else None)
    if one is not None:
        return f"{one.name} {one.usage}".strip() + f"   {one.help}"
    return "   ".join(each.name for each in fits or COMMANDS)


def run(console: Console, text: str) -> str | None:
    """Do what a line says; a sentence when it cannot be done."""
    found = parsed(text)
    if isinstance(found, str):
        return found
    command, rest = found
    try:
        return command.run(console, rest)
    except errors.EtlmonError as fault:
        return shown(fault.detail)


# -- what they do


def _jobs(console: Console, rest: str) -> str | None:
    screen = console.to_jobs()
    text = "" if rest == "!" else rest.removeprefix("/").strip()
    screen.state.filter(text, console.now())
    screen.show_failed(rest == "!")
    return None


def _logs(console: Console, rest: str) -> str | None:
    if not rest:
        console.action_tab(2)
        return None
    found = jobs_named(console, rest)
    if not found:
        return _unknown(console, rest)
    console.call_later(console.show_logs, found[:MOST_LOGS])
    return None


def _job(console: Console, rest: str) -> str | None:
    found = jobs_named(console, rest)
    if found:
        console.open_job(found[0].id)
    elif len(rest) >= 32:  # a whole id: the server may know what the table has let go
        console.open_job(rest)
    else:
        return _unknown(console, rest)
    return None


def jobs_named(console: Console, text: str) -> list[LiveJob]:
    """The jobs of this name (``*`` stands for anything) or with this id or end of it; under way first, then newest."""
    known = list(console.jobs.jobs.values())
    found = [live for live in known if live.job.name == text]
    if not found and "*" in text:
        found = [live for live in known if fnmatchcase(live.job.name, text)]
    if not found and len(text) >= 4:
        found = [live for live in known if live.id.startswith(text) or live.id.endswith(text)]
    return sorted(found, key=lambda live: (not live.is_active, -live.since))


def _unknown(console: Console, text: str) -> str:
    names = {live.job.name for live in console.jobs.jobs.values()}
    return f"No job here is called {shown(text)}{hint(text, names)}"


def _names(console: Console) -> list[str]:
    newest = sorted(console.jobs.jobs.values(), key=lambda live: (not live.is_active, -live.since))
    return list(dict.fromkeys(live.job.name for live in newest))[:MOST_OFFERS]


def _queue(console: Console, rest: str) -> str | None:
    console.action_tab(3)
    return None


def _submit(console: Console, rest: str) -> str | None:
    from etlmon.tui.steering.submit import begin

    return begin(console, rest)


def _definitions(console: Console) -> list[str]:
    return [each.name for each in console.queue.definitions if each.startable]


def _server(console: Console, rest: str) -> str | None:
    from etlmon.client.rest import parse_address

    known = _profiles(console)
    if rest not in known:
        if not any(sign in rest for sign in ".:/") and rest != "localhost":
            return f"There is no profile {shown(rest)}{hint(rest, known)}; a URL looks like http://etl-2:8081"
        parse_address(rest)
    console.exit(f"server {rest}")
    return None


def _profiles(console: Console) -> list[str]:
    from etlmon.host import paths
    from etlmon.host.config_file import read_profiles

    home = paths.data_dir(console.data_dir)
    try:
        return sorted(read_profiles(paths.config_file(console.config, home)))
    except (errors.EtlmonError, OSError):
        return []


def _theme(console: Console, rest: str) -> str | None:
    if rest not in console.available_themes:
        return f"There is no theme {shown(rest)}{hint(rest, console.available_themes)}"
    console.theme = rest
    return None


def _themes(console: Console) -> list[str]:
    return sorted(console.available_themes, key=lambda name: (not name.startswith("etlmon"), name))


def _help(console: Console, rest: str) -> str | None:
    console.action_help()
    return None


def _notices(console: Console, rest: str) -> str | None:
    console.action_notices()
    return None


def _quit(console: Console, rest: str) -> str | None:
    console.exit()
    return None


COMMANDS: Final = (
    Command(
        name="jobs",
        usage="[/FILTER or !]",
        help="the table: all jobs, those that match, only failed ones",
        run=_jobs,
        offers=lambda _: ("!", "/status:running", "/status:failed"),
    ),
    Command(name="logs", usage="[NAME]", help="the logs of the jobs of that name", run=_logs, offers=_names),
    Command(name="job", usage="ID or NAME", help="one job on its own screen", run=_job, offers=_names, needs=True),
    Command(name="server", usage="URL or PROFILE", help="another server", run=_server, offers=_profiles, needs=True),
    Command(name="queue", help="what waits to be run, and who works", run=_queue),
    Command(name="submit", usage="[NAME]", help="queue a job of a definition", run=_submit, offers=_definitions),
    Command(name="theme", usage="NAME", help="other colours", run=_theme, offers=_themes, needs=True),
    Command(name="notices", help="what this console has told", run=_notices),
    Command(name="help", help="every key that works here", run=_help),
    Command(name="quit", help="leave the console; jobs and server go on", run=_quit),
)
BY_NAME: Final = {each.name: each for each in COMMANDS} | {
    "q": next(each for each in COMMANDS if each.name == "quit"),
    "h": next(each for each in COMMANDS if each.name == "help"),
}
"""By name, and the short names that people type without thinking."""
