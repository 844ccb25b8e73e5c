"""The pages say what the programs do: every route, command, option, message and public name, and no broken link.

(The settings' page and the example config are held to the code in ``core/test_config.py``.)
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import click
import pytest
from textual.screen import ModalScreen

import etlmon
import etlmon.tui
from etlmon.cli import root
from etlmon.commands.context import shared_options
from etlmon.core.protocol import CloseCode, MessageType, Topic, Wanted
from etlmon.server.api.table import ROUTES
from etlmon.tui.drawing.spans import plain
from etlmon.tui.keys import key_name
from etlmon.tui.link_state import LinkState, Standing

TOP = Path(__file__).parents[1]
DOCS = TOP / "docs"
PAGES = sorted([*DOCS.glob("*.md"), TOP / "README.md", TOP / "CHANGELOG.md"])
OPTIONS_AT = {"run": "run.md", "config": "config.md", "worker": "worker.md"}
"""Commands with a page of their own; the options of all others are in cli.md."""
IN_DIALOGS = {"Choice", "LogPrompt"}
"""Widgets whose keys are told where they work, not on the page."""


def text_of(page: str) -> str:
    return (DOCS / page).read_text()


# -- REST -------------------------------------------------------------------------------------------------------------

FULL = ("/api/", "/status/", "/metrics", "/ws", "/progress")


def named_routes() -> set[tuple[str, str]]:
    """Every method and path that rest.md names; after ``GET /a/b`` on a line, ``/c`` stands for ``GET /a/c``."""
    found = set()
    for line in text_of("rest.md").splitlines():
        method, base = "", ""
        for token in re.findall(r"`([^`]+)`", line):
            if named := re.fullmatch(r"(GET|POST|PUT|PATCH|DELETE) (/[^\s?]*)(\?.*)?", token):
                method, path = named[1], named[2]
                base = base if path.startswith("/status/") else path
            elif method and token.startswith("/") and token != "/status":
                path = token if token.startswith(FULL) else base.rpartition("/")[0] + token
            else:
                continue
            found.add((method, path))
    return found


def test_the_rest_page_names_every_route() -> None:
    assert {(route.method, route.path) for route in ROUTES} - named_routes() == set()


def test_the_rest_page_names_no_route_that_is_not_there() -> None:
    assert named_routes() - {(route.method, path) for route in ROUTES for path in route.paths} == set()


# -- the stream -------------------------------------------------------------------------------------------------------


def test_the_stream_page_names_each_message_topic_parameter_and_code() -> None:
    page = text_of("websocket.md")
    for word in [*MessageType, *Topic, *map(str, map(int, CloseCode))]:
        assert f"`{word}`" in page or f"| {word} |" in page, word
    for parameter in Wanted.__struct_encode_fields__:
        assert f"`{parameter}`" in page or f'"{parameter}"' in page, parameter


def test_the_stream_page_says_which_messages_no_server_sends_yet() -> None:
    sources = "".join(file.read_text() for file in (TOP / "etlmon" / "server").rglob("*.py"))
    unsent = {each.value for each in MessageType if f"MessageType.{each.name}" not in sources}
    told = {
        word
        for line in text_of("websocket.md").splitlines()
        if "not sent yet" in line
        for word in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert told == unsent


# -- the command line -------------------------------------------------------------------------------------------------


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every visible command of a group, with its words."""
    context, found = click.Context(group), []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found += commands(command, (*path, name)) if isinstance(command, click.Group) else [((*path, name), command)]
    return found


COMMANDS = commands(root)
EACH = pytest.mark.parametrize(("words", "command"), COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS])


def named_commands() -> set[tuple[str, ...]]:
    """Every command that a row of cli.md names; after ``tokens list``, ``revoke ID`` is one of tokens too."""
    groups, found = {words[0] for words, _ in COMMANDS if len(words) > 1}, set()
    for line in text_of("cli.md").splitlines():
        group = ""
        for token in re.findall(r"`([^`]+)`", line.split("|")[1]) if line.startswith("|") else ():
            words = tuple(re.split(r"[^a-z ]", token)[0].split())
            if len(words) > 1 and words[0] in groups:
                group = words[0]
            elif group:
                words = (group, *words)
            found.add(words)
    return found


@EACH
def test_the_pages_name_each_command_and_its_options(words: tuple[str, ...], command: click.Command) -> None:
    assert words in named_commands()
    page = text_of(OPTIONS_AT.get(words[0], "cli.md"))
    for param in command.params:
        if isinstance(param, click.Option) and not param.hidden:
            assert any(spelling in page for spelling in param.opts), param.opts


@EACH
def test_each_command_explains_itself_and_takes_the_shared_options(
    words: tuple[str, ...], command: click.Command
) -> None:
    assert command.help
    assert {"--url", "--data-dir"} <= {spelling for param in command.params for spelling in param.opts}
    for param in command.params:
        assert not isinstance(param, click.Option) or param.help, param


def test_the_shared_options_are_on_the_page() -> None:
    page = text_of("cli.md")
    for spelling in {spelling for option in shared_options() for spelling in option.opts} - {"--output"}:
        assert spelling in page, spelling


# -- the SDK ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", etlmon.__all__)
def test_the_sdk_page_names_each_public_name(name: str) -> None:
    page = text_of("sdk.md")
    assert f"etlmon.{name}" in page or f"`{name}`" in page


def test_what_the_sdk_page_says_of_a_job_is_there() -> None:
    job = etlmon.job("orders_nightly")
    named = set(re.findall(r"\bjob\.([a-z]\w*)", text_of("sdk.md")))
    assert {name for name in named if not hasattr(job, name)} == set()
    assert {"track", "step", "progress", "metrics", "log", "checkpoint", "acheckpoint", "summary", "fail"} <= named


# -- the console -------------------------------------------------------------------------------------------------------


def every_key() -> set[str]:
    """What a person types, of every binding of every screen and widget of the console but those of its dialogs."""
    found = set()
    for module in pkgutil.walk_packages(etlmon.tui.__path__, "etlmon.tui."):
        for name, thing in vars(importlib.import_module(module.name)).items():
            own = isinstance(thing, type) and thing.__module__ == module.name and not issubclass(thing, ModalScreen)
            for binding in vars(thing).get("BINDINGS", ()) if own and name not in IN_DIALOGS else ():
                found |= {key_name(key) for key in binding.key.split(",")}
    return found


@pytest.mark.parametrize("key", sorted(every_key()))
def test_the_console_page_names_every_key(key: str) -> None:
    page = text_of("console.md").replace("\\|", "|")
    shown = {"0", "1", "2", "3", "4", "5", "6"}
    assert f"`{key}`" in page or key in shown or f"`shift+{key}`" in page


def test_the_console_page_names_every_pill() -> None:
    page = text_of("console.md")
    for standing in Standing:
        state = LinkState(standing=standing, retries=3, retry_at=4000, caught_up=1204, latency_ms=8)
        (sign, word) = plain(state.pill(0)).split()[:2]
        assert f"{sign} {word}" in page, standing


# -- between the pages ------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """What a link into a page can point at: its headings, as GitHub spells them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target
