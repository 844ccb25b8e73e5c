"""The pages say what the programs do: every command and option, every message and close code."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from etlmon.cli import root
from etlmon.commands.context import shared_options
from etlmon.core.protocol import CloseCode, MessageType, Topic, Wanted

DOCS = Path(__file__).parents[2] / "docs"
OTHERS = {"server", "run", "demo", "config"}
SHARED = {spelling for option in shared_options() for spelling in option.opts}


def commands(group, path=()):
    """Every visible command of a group, with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


MINE = [(words, command) for words, command in commands(root) if words[0] not in OTHERS]


@pytest.mark.parametrize(
    ("words", "command"), MINE, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_the_page_names_each_command_and_its_options(words, command):
    page = (DOCS / "cli.md").read_text()
    assert words[-1] in page
    for param in command.params:
        if isinstance(param, click.Option) and not param.hidden:
            assert any(spelling in page for spelling in param.opts), param.opts


@pytest.mark.parametrize(
    ("words", "command"), MINE, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_each_command_explains_itself_and_takes_the_shared_options(words, command):
    assert command.help
    assert {"--url", "--data-dir"} <= {spelling for param in command.params for spelling in param.opts}
    for param in command.params:
        assert not isinstance(param, click.Option) or param.help, param


def test_the_shared_options_are_on_the_page():
    page = (DOCS / "cli.md").read_text()
    for spelling in SHARED - {"--output"}:
        assert spelling in page, spelling


def test_the_stream_page_names_each_message_topic_parameter_and_code():
    page = (DOCS / "websocket.md").read_text()
    for word in [*MessageType, *Topic, *map(str, map(int, CloseCode))]:
        assert f"`{word}`" in page or f"| {word} |" in page, word
    for parameter in Wanted.__struct_encode_fields__:
        assert f"`{parameter}`" in page or f'"{parameter}"' in page, parameter
