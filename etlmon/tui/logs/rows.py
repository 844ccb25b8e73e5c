"""How lines of the log room look: one line → the rows it takes, each a list of spans. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import tzinfo

import msgspec
from rich.cells import chop_cells

from etlmon.core.text import shown
from etlmon.tui.drawing.figures import clock, local
from etlmon.tui.drawing.spans import Line, Span, cut, cut_middle, padded, width_of
from etlmon.tui.logs.entry import DEBUG, HOLE, Entry
from etlmon.tui.logs.filter import ignores_case

WIDE = 100
"""From how many columns on times have milliseconds and levels are words."""
NAME_WIDE, NAME_NARROW = 20, 12
"""The most cells that a job's name takes."""
WORDS = {10: "debug", 20: "info", 30: "WARN", 40: "ERROR", 50: "CRIT"}
LOOKS = {10: "muted", 30: "warn bold", 40: "fail bold", 50: "fail bold"}
GLYPHS = {"bar": "▎", "cursor": "▌", "mark": "◆", "rule": "──", "dash": "–", "ellipsis": "…"}
ASCII_GLYPHS = {"bar": "|", "cursor": ">", "mark": "*", "rule": "--", "dash": "-", "ellipsis": "..."}
MOST_ROWS = 500
"""The most rows that one line takes."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What decides how a line is drawn. ``name_width`` 0: one job alone. ``time``: ``clock``, ``date`` or ``off``."""

    width: int
    name_width: int = 0
    time: str = "clock"
    wrap: bool = False
    offset: int = 0
    term: str = ""
    zone: tzinfo | None = None
    ascii: bool = False

    @property
    def wide(self) -> bool:
        """Whether there is room for whole words."""
        return self.width >= WIDE

    @property
    def prefix(self) -> int:
        """The cells before the message."""
        lane = self.name_width + 3 if self.name_width else 0
        return 1 + lane + self.time_width + (6 if self.wide else 2)

    @property
    def time_width(self) -> int:
        """The cells of the time and the blank after it."""
        if self.time == "off":
            return 0
        return (11 if self.time == "date" else 0) + (13 if self.wide else 9)

    @property
    def room(self) -> int:
        """The cells that a row of the message has."""
        return max(8, self.width - self.prefix - 1)

    @property
    def glyphs(self) -> dict[str, str]:
        """The signs to draw with."""
        return ASCII_GLYPHS if self.ascii else GLYPHS


class RowState(msgspec.Struct, frozen=True, kw_only=True):
    """What else there is to one row: whose line it is and what the reader does with it."""

    name: str = ""
    lane: int = 0
    with_name: bool = False
    cursor: bool = False
    marked: bool = False
    context: bool = False


def name_width(longest: int, width: int) -> int:
    """The cells of the name's column."""
    return min(longest, NAME_WIDE if width >= WIDE else NAME_NARROW)


def texts(entry: Entry, shape: Shape) -> list[str]:
    """The message as the rows of text it takes, safe to show; wrapped when the shape says so."""
    message = entry.message
    if "\n" not in message and not shape.wrap:
        return [shown(message)]
    rows: list[str] = []
    for text in shown(message, keep_newlines=True).split("\n")[:MOST_ROWS]:
        rows += _wrapped(text, shape.room) if shape.wrap else [text]
    return rows[:MOST_ROWS]


def n_rows(entry: Entry, shape: Shape) -> int:
    """How many rows the line takes."""
    if entry.level == HOLE:
        return 1
    if shape.wrap:
        return len(texts(entry, shape))
    return min(MOST_ROWS, entry.message.count("\n") + 1)


def _wrapped(text: str, room: int) -> list[str]:
    """The text in rows of at most ``room`` cells, broken at blanks where there are any in the last third."""
    rows = []
    while width_of(text) > room:
        head = text[:room] if text.isascii() else chop_cells(text[:room], room)[0]
        blank = head.rfind(" ")
        at = blank + 1 if blank > room * 2 // 3 else max(1, len(head))
        rows.append(text[:at].rstrip() or " ")
        text = text[at:]
    return [*rows, text]


def line_row(entry: Entry, sub: int, shape: Shape, state: RowState) -> Line:
    """Row ``sub`` of a line."""
    rows = texts(entry, shape)
    text = rows[min(sub, len(rows) - 1)]
    follows = sub > 0
    quiet = follows or entry.level == DEBUG or state.context
    look = "muted" if quiet else "text"
    text = cut(_panned(text, shape.offset), shape.room, ellipsis=shape.glyphs["ellipsis"])
    return [*_head(entry, shape, state, follows=follows), *marked(text, shape.term, look)]


def _head(entry: Entry, shape: Shape, state: RowState, *, follows: bool) -> Line:
    """Gutter, lane, time and level."""
    glyphs = shape.glyphs
    sign = glyphs["mark"] if state.marked else glyphs["cursor"] if state.cursor else " "
    head = [Span(sign, "accent bold" if sign != " " else "text")]
    if shape.name_width:
        name = cut_middle(shown(state.name), shape.name_width, ellipsis=glyphs["ellipsis"]) if state.with_name else ""
        look = f"lane{state.lane}" + (" bold" if state.cursor else "")
        head.append(Span(glyphs["bar"] + padded(name, shape.name_width) + "  ", look))
    if shape.time != "off":
        head.append(Span(instant(entry.at, shape) + " ", "muted"))
    word = "" if follows else WORDS.get(entry.level, "")
    cells = 5 if shape.wide else 1
    head.append(Span(padded(word[:cells], cells) + " ", LOOKS.get(entry.level, "text") if word else "text"))
    return head


def instant(at: int, shape: Shape) -> str:
    """A line's time, as wide as the shape says."""
    moment = local(at, shape.zone)
    text = moment.strftime("%Y-%m-%d %H:%M:%S" if shape.time == "date" else "%H:%M:%S")
    return f"{text}.{at % 1000:03d}" if shape.wide else text


def _panned(text: str, offset: int) -> str:
    if not offset:
        return text
    if text.isascii():
        return text[offset:]
    while text and offset > 0:
        offset -= width_of(text[0])
        text = text[1:]
    return " " * -offset + text


def marked(text: str, term: str, look: str) -> Line:
    """The text with what is searched for on the accent's ground."""
    if not term:
        return [Span(text, look)]
    out: Line = []
    last = 0
    for found in re.finditer(re.escape(term), text, re.IGNORECASE if ignores_case(term) else 0):
        if found.start() > last:
            out.append(Span(text[last : found.start()], look))
        out.append(Span(found[0], "accent reverse"))
        last = found.end()
    return [*out, Span(text[last:], look)] if last < len(text) or not out else out


def hole_row(entry: Entry, shape: Shape, before: Entry | None, after: Entry | None, *, cursor: bool) -> Line:
    """A hole between two lines: ``── 412 lines removed by retention, 02:10–02:14 ──``."""
    glyphs = shape.glyphs
    ends = [clock(each.at, shape.zone, seconds=False) for each in (before, after) if each is not None]
    when = f", {ends[0]}{glyphs['dash']}{ends[1]}" if len(ends) == 2 else ""
    gutter = Span(glyphs["cursor"], "accent bold") if cursor else Span(" ")
    return [gutter, Span(f"{glyphs['rule']} {shown(entry.message)}{when} {glyphs['rule']}", "muted")]


def plain_line(entry: Entry, name: str, written: Callable[[int], str]) -> str:
    """The line as it is copied and saved: time, level, job, message; further rows as they are."""
    if entry.level == HOLE:
        return f"── {shown(entry.message)} ──"
    level = WORDS.get(entry.level, "info").lower()
    return f"{written(entry.at)} {level:<5} {shown(name)} {shown(entry.message, keep_newlines=True)}"
