"""The one way out: every answer is printed here, in the format asked for and safe for a terminal or a pipe."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from etlmon.core.errors import Usage
from etlmon.core.instants import parse_instant
from etlmon.core.text import hint, sentence, shown, shown_json

if TYPE_CHECKING:
    from etlmon.commands.context import Context

Item = dict[str, Any]


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What the place that is printed to can do, and how times are told there. ``now`` is an instant (ms).

    ``redraws``: lines can be drawn over."""

    terminal: bool
    redraws: bool
    colour: bool
    unicode: bool
    utc: bool
    width: int
    now: int

    @classmethod
    def of(cls, context: Context) -> Look:
        """The look of this process's stdout."""
        if sys.stdout is None:  # started with it closed: there is nobody to tell
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - it is stdout from here on
        terminal = sys.stdout.isatty()
        dumb = os.environ.get("TERM") == "dumb"
        return cls(
            terminal=terminal,
            redraws=terminal and not dumb,
            colour=terminal and not (context.no_color or os.environ.get("NO_COLOR") or dumb),
            unicode="utf" in (sys.stdout.encoding or "").lower(),
            utc=context.utc or not terminal,
            width=shutil.get_terminal_size().columns if terminal else 0,
            now=time.time_ns() // 1_000_000,
        )

    def instant(self, text: str | None) -> str:
        """A timestamp of the wire, for a cell: as it is in a pipe; short and local (or with Z) on a terminal."""
        if not text or not self.terminal:
            return text or ""
        try:
            at = parse_instant(text)
        except ValueError:
            return text
        split = time.gmtime if self.utc else time.localtime
        parts, today = split(at / 1000), split(self.now / 1000)
        form = "%H:%M:%S" if parts[:3] == today[:3] else "%Y-%m-%d %H:%M"
        return time.strftime(form, parts) + ("Z" if self.utc else "")

    def log_instant(self, text: str) -> str:
        """A log line's timestamp to the millisecond; local with its offset on a terminal, else as on the wire."""
        if self.utc:
            return text
        try:
            at = parse_instant(text)
        except ValueError:
            return text
        return time.strftime(f"%Y-%m-%dT%H:%M:%S.{at % 1000:03d}%z", time.localtime(at / 1000))


class Column(NamedTuple):
    """One column of a list: its header, what a cell holds, and how it behaves when room is short.

    ``elastic`` is how many cells are enough for it when room is short (0: it is never cut); then columns go, the
    highest ``rank`` first. ``colour`` gives the role of colour for an item, or None.
    """

    title: str
    cell: Callable[[Item, Look], str]
    right: bool = False
    elastic: int = 0
    rank: int = 0
    colour: Callable[[Item], str | None] | None = None


class Printer:
    """Prints lists and records as one invocation was asked to."""

    def __init__(self, output: str | None, fields: str | None, look: Look) -> None:
        self.look = look
        self.format = output or ("json" if fields is not None else "table")
        self.fields = [name.strip() for name in fields.split(",") if name.strip()] if fields else []
        if self.fields and self.format not in ("json", "jsonl", "yaml"):
            raise Usage(
                f"--json chooses fields of JSON; it goes with -o json, jsonl or yaml, not with -o {self.format}."
            )

    @classmethod
    def of(cls, context: Context) -> Printer:
        """The printer for this invocation's options."""
        return cls(context.output, context.fields, Look.of(context))

    @property
    def structured(self) -> bool:
        """Whether whole records are printed, not cells."""
        return self.format in ("json", "jsonl", "yaml")

    def items(
        self, items: Iterable[Item], columns: Sequence[Column], *, wide: Sequence[Column] = (), key: str = "id"
    ) -> None:
        """Print a list. An empty one prints as an empty list of its format."""
        if self.format == "jsonl":
            for item in items:
                self.record(item)
        elif self.format == "json":
            self._write_json([self.chosen(item) for item in items])
        elif self.format == "yaml":
            from etlmon.commands.yaml import to_yaml

            write(to_yaml([self.chosen(item) for item in items]))
        elif self.format == "name":
            for item in items:
                write(shown(str(item.get(key, ""))) + "\n")
        else:
            self._cells(list(items), [*columns, *wide] if self.format == "wide" else columns)

    def record(self, item: Item) -> None:
        """Print one element of a stream as a line of JSON (jsonl), and let it go at once."""
        write(shown_json(msgspec.json.encode(self.chosen(item)).decode()) + "\n")
        sys.stdout.flush()

    def item(self, item: Item, lines: Callable[[Item, Look], Iterable[tuple[str, str]]], *, key: str = "id") -> None:
        """Print one record: as JSON or YAML, its name, or the label and text pairs that ``lines`` makes of it."""
        if self.format == "json":
            self._write_json(self.chosen(item))
        elif self.format == "jsonl":
            self.record(item)
        elif self.format == "yaml":
            from etlmon.commands.yaml import to_yaml

            write(to_yaml(self.chosen(item)))
        elif self.format == "name":
            write(shown(str(item.get(key, ""))) + "\n")
        else:
            self.pairs(list(lines(item, self.look)))

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Print labelled lines: aligned on a terminal, tab-separated in a pipe."""
        if not self.look.terminal:
            write("".join(f"{tsv_cell(label)}\t{tsv_cell(text)}\n" for label, text in pairs))
            return
        room = max((len(label) for label, _ in pairs), default=0)
        for label, text in pairs:
            first, *rest = shown(text, keep_newlines=True).split("\n")
            write(f"{shown(label):<{room}}  {first}\n" + "".join(f"{'':<{room}}  {line}\n" for line in rest))

    def chosen(self, item: Item) -> Any:
        """The item, or of it the fields that were asked for; a field that no item has is a usage error."""
        if not self.fields:
            return item
        return {name: _field(item, name) for name in self.fields}

    def _write_json(self, value: Any) -> None:
        write(shown_json(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()) + "\n")

    def _cells(self, items: list[Item], columns: Sequence[Column]) -> None:
        if not self.look.terminal:
            for item in items:
                write("\t".join(tsv_cell(column.cell(item, self.look)) for column in columns) + "\n")
            return
        from etlmon.commands.table import render

        write("".join(f"{line}\n" for line in render(items, columns, self.look, fit=self.format != "wide")))


def _field(item: Mapping[str, Any], name: str) -> Any:
    """``metrics.recordsFailed`` of a record; a name that leads nowhere is answered with what there is."""
    value: Any = item
    for part in name.split("."):
        if not isinstance(value, Mapping):
            return None
        if part not in value:
            if value is item:
                raise Usage(
                    sentence(f"There is no field {name!r}{hint(part, item)}")
                    + f" The fields are: {', '.join(sorted(item))}."
                )
            return None
        value = value[part]
    return value


_BREAKS = re.compile("[\t\n\r]")
_BREAK = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def tsv_cell(text: str) -> str:
    """One cell of tab-separated text: its own tabs and line ends as ``\\t`` ``\\n`` ``\\r``, and nothing unsafe."""
    return shown(_BREAKS.sub(lambda found: _BREAK[found[0]], text))


def write(text: str) -> None:
    """Put text that is already safe on stdout."""
    sys.stdout.write(text)


def note(text: str) -> None:
    """Tell the person something beside the answer, on stderr."""
    if sys.stderr is not None:  # started with it closed
        sys.stderr.write(shown(text) + "\n")
        sys.stderr.flush()


def instant_ms(text: str | None) -> int | None:
    """A timestamp of the wire as an instant; None for none or for what is no timestamp."""
    try:
        return parse_instant(text) if text else None
    except ValueError:
        return None
