"""Log lines on the command line: which are asked for, how one looks, and how they are read and followed.

History and what comes live are one answer of the server (``follow=true``), so nothing can fall between; after a break
it is asked again from the last line's ``seq``, so nothing comes twice.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from etlmon.client.rest import AWAY
from etlmon.commands.output import Column, Item, Look, Printer, note, tsv_cell, write
from etlmon.commands.table import painted
from etlmon.core.errors import TimedOut, Usage
from etlmon.core.text import shown

if TYPE_CHECKING:
    from etlmon.client.rest import Client

F = TypeVar("F", bound=Callable[..., Any])

QUIET_S = 10.0
"""A follow that brings nothing for so long is asked again: the peer may be gone without a word."""
LONGEST_RETRY_S = 20.0
ROLES = {"warning": "warn", "error": "fail", "critical": "fail", "debug": "muted"}
WORDS = {"warning": "WARN", "critical": "CRIT"}


def line_options(command: F) -> F:
    """The options that choose log lines."""
    for option in reversed(
        (
            click.option("-f", "--follow", is_flag=True, help="Go on with what comes, live."),
            click.option("--level", metavar="LEVEL", help="debug, info, warning, error or critical, and above."),
            click.option("--since", metavar="AGE|TIME", help="Not older than (1h) or since a timestamp."),
            click.option("--until", metavar="AGE|TIME", help="Not newer."),
            click.option("-n", "--tail", type=click.IntRange(1, 100_000), metavar="N", help="Only the last N."),
            click.option("-q", "--query", "q", metavar="WORD", help="Lines with these words."),
            click.option("--contains", metavar="TEXT", help="Lines with this text in them."),
            click.option("--regex", metavar="RE", help="Lines that match (RE2)."),
            click.option("-t", "--timestamps", is_flag=True, help="Each line with its time and level."),
        )
    ):
        command = option(command)
    return command


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines are asked for; ``params`` as the server takes them, ages already turned into timestamps."""

    params: list[tuple[str, Any]]
    tail: int | None
    follow: bool
    timestamps: bool


def choice_of(options: dict[str, Any]) -> Choice:
    """The Choice that a command's options spell; Usage for what makes no sense together."""
    from etlmon.core.durations import parse_age_or_instant
    from etlmon.core.instants import format_instant

    if options["follow"] and options["until"]:
        raise Usage("--until looks back and --follow ahead: leave one of them out.")
    params = [(key, options[key]) for key in ("level", "q", "contains", "regex") if options[key]]
    for key in ("since", "until"):
        if options[key]:
            try:
                at = parse_age_or_instant(options[key], time.time_ns() // 1_000_000)
            except (ValueError, OverflowError) as error:
                raise Usage(f"--{key}: {error}.") from error
            params.append((key, format_instant(at)))
    return Choice(params=params, tail=options["tail"], follow=options["follow"], timestamps=options["timestamps"])


def read(client: Client, path: str, params: Sequence[tuple[str, Any]], choice: Choice) -> Iterator[Item]:
    """The lines that there are, oldest first."""
    asked = [*params, *choice.params, ("stream", True), ("tail", choice.tail)]
    yield from client.records(path, asked)


def follow(
    client: Client,
    path: str,
    params: Sequence[tuple[str, Any]],
    choice: Choice,
    has_ended: Callable[[], bool],
    *,
    quiet_s: float = QUIET_S,
) -> Iterator[Item]:
    """The lines that there are and then those that come, each once and in order, until ``has_ended``.

    ``has_ended`` is asked when the server ends its answer or is quiet; what came before its yes is still read.
    """
    last, failures = 0, 0
    if choice.tail is not None:
        for line in read(client, path, params, choice):
            last = line["seq"]
            yield line
    while True:
        asked, before, ended = [*params, *choice.params, ("follow", True), ("cursor", last or None)], last, False
        try:
            for line in _fresh(client.records(path, asked, quiet_s=quiet_s), last):
                last, failures = line["seq"], 0
                yield line
            ended = has_ended()
            if not ended and last == before:
                time.sleep(0.2)  # a server that stops ends every answer at once
        except TimedOut:
            ended = has_ended()
        except AWAY as error:
            if failures == 0:
                note(f"etlmon: {error.detail} Trying again.")
            failures = min(failures + 1, 16)
            time.sleep(random.uniform(0, min(LONGEST_RETRY_S, 0.25 * 2**failures)))  # noqa: S311 - no secret
        if ended:
            rest = [*params, *choice.params, ("stream", True), ("cursor", last or None)]
            yield from _fresh(client.records(path, rest), last)
            return


def _fresh(lines: Iterator[Item], last: int) -> Iterator[Item]:
    return (line for line in lines if line["seq"] > last)


def show_lines(printer: Printer, lines: Iterator[Item], *, names: bool, choice: Choice) -> None:
    """Print lines as they come; ``names`` puts the job's name before each."""
    if printer.structured and not (choice.follow and printer.format == "json"):
        printer.items(lines, ())
        return
    if printer.format == "json":
        for line in lines:
            printer.record(line)
        return
    if printer.format == "wide":
        printer.items(lines, COLUMNS, key="seq")
        return
    shape = _terminal_line if printer.look.terminal else _piped_line
    for line in lines:
        if printer.format == "name":
            write(f"{line['seq']}\n")
        else:
            write(shape(line, printer.look, names=names, timestamps=choice.timestamps))
        if choice.follow:
            sys.stdout.flush()


def _piped_line(line: Item, look: Look, *, names: bool, timestamps: bool) -> str:
    cells = [str(line.get("name", ""))] if names else []
    if timestamps:
        cells += [look.log_instant(str(line.get("at", ""))), str(line.get("level", ""))]
    return "\t".join(tsv_cell(cell) for cell in [*cells, str(line.get("message", ""))]) + "\n"


def _terminal_line(line: Item, look: Look, *, names: bool, timestamps: bool) -> str:
    level = str(line.get("level", ""))
    word = WORDS.get(level, level.upper() if level == "error" else level)[:5]
    head = f"{shown(str(line.get('name', ''))):<16} " if names else ""
    head += f"{look.log_instant(str(line.get('at', '')))} " if timestamps else ""
    first, *rest = shown(str(line.get("message", "")), keep_newlines=True).split("\n")
    margin = " " * (len(head) + 6)
    text = painted(f"{shown(word):<5} {first}", ROLES.get(level), look)
    return f"{head}{text}\n" + "".join(f"{margin}{more}\n" for more in rest)


def _cell(key: str) -> Callable[[Item, Look], str]:
    return lambda line, look: "" if line.get(key) is None else str(line[key])


COLUMNS = (
    Column("SEQ", _cell("seq"), right=True),
    Column("AT", lambda line, look: look.log_instant(str(line.get("at", "")))),
    Column("LEVEL", _cell("level")),
    Column("NAME", _cell("name")),
    Column("JOB", _cell("jobId")),
    Column("STEP", _cell("step")),
    Column("LOGGER", _cell("logger")),
    Column("MESSAGE", _cell("message"), elastic=16),
)
"""The columns of log lines with ``-o wide``."""
