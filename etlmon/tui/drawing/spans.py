"""Drawn text before it has a colour: spans with a role, cut and padded by terminal cells. Pure; knows no Textual.

All text from outside goes through ``core.text.shown`` before it becomes a span.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len, set_cell_size

ELLIPSIS = "…"


ASCII: Final = str.maketrans(
    "●○◐↻▸✓▲✗‖⊘◆▌▎▏▍▋▊▉█·…–—›→←↑↓▼×─│╭╮╰╯",
    "*.o~>+!x=-*||||####-.-->><^vvx-|++++",
)
"""Each sign that the console draws → its stand-in of one cell, for terminals that have no other characters."""


class Span(NamedTuple):
    """Some text and how it looks: a role of ``palette`` and perhaps ``bold``, ``dim``, ``reverse``: ``"fail bold"``."""

    text: str
    look: str = "text"


Line = list[Span]
"""One line of the screen, left to right."""


def width_of(text: str) -> int:
    """The terminal cells that ``text`` takes."""
    return len(text) if text.isascii() else cell_len(text)


def cut(text: str, width: int, *, ellipsis: str = ELLIPSIS) -> str:
    """``text`` in at most ``width`` cells; what is cut off at the end is told by an ellipsis."""
    if width_of(text) <= width:
        return text
    if width <= len(ellipsis):
        return ellipsis[: max(0, width)]
    return set_cell_size(text, width - len(ellipsis)).rstrip() + ellipsis


def cut_middle(text: str, width: int, *, ellipsis: str = ELLIPSIS) -> str:
    """``text`` in at most ``width`` cells, cut in its middle: names of one family differ at their ends."""
    if width_of(text) <= width:
        return text
    room = width - len(ellipsis)
    if room < 2:
        return cut(text, width, ellipsis=ellipsis)
    tail = room // 3
    end = text
    while width_of(end) > tail:
        end = end[1:]
    return set_cell_size(text, room - width_of(end)).rstrip() + ellipsis + end


def padded(text: str, width: int, *, right: bool = False, ellipsis: str = ELLIPSIS) -> str:
    """``text`` in exactly ``width`` cells, cut at its end where it is longer."""
    short = cut(text, width, ellipsis=ellipsis)
    blank = " " * max(0, width - width_of(short))
    return blank + short if right else short + blank


def line_width(line: Iterable[Span]) -> int:
    """The cells that a line takes."""
    return sum(width_of(span.text) for span in line)


def plain(line: Iterable[Span]) -> str:
    """The line's text alone."""
    return "".join(span.text for span in line)


def fitted(line: Sequence[Span], width: int) -> Line:
    """The line in exactly ``width`` cells: cut at its end, or padded with blanks."""
    out: Line = []
    left = width
    for span in line:
        size = width_of(span.text)
        if size > left:
            out.append(Span(set_cell_size(span.text, left), span.look))
            return out
        out.append(span)
        left -= size
    if left:
        out.append(Span(" " * left))
    return out


def spread(left: Sequence[Span], right: Sequence[Span], width: int) -> Line:
    """``left`` and ``right`` at the two ends of a line of ``width`` cells; where room is short the left gives way."""
    room = width - line_width(right)
    if room < 0:
        return fitted(right, width)
    return [*fitted(left, room), *right]
