"""The keys that work at one place, sorted under headings, filtered and set in columns for help. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from etlmon.core.glyphs import GLYPHS, glyph
from etlmon.tui.drawing.spans import Line, Span, cut, fitted, padded, width_of

COLUMNS: Final = (("MOVE", "FIND"), ("ACT ON JOBS", "TAKE AWAY"), ("LOOK", "CONSOLE"))
"""The headings, in the columns that they stand in where there is room for three."""
KEY_WIDTH = 9
TWO_BELOW = 100
"""Below this many cells there are two columns."""

_MOVE = (
    "down up first last top end home left right next before back open enter page_down page_up page_left page_right "
    "half_down half_up panel_down panel_up close log logs turn"
)
_FIND = (
    "filter failed find hit hit_before error error_before warning warning_before only without filters sort sort_left "
    "sort_right reverse next_mark context less_context search"
)
_ACT = "mark mark_all range unmark pause resume cancel retry sooner later pause_queue"
_TAKE = "copy copy_id copy_json save export"
_HEADINGS: Final = {
    **dict.fromkeys(_MOVE.split(), "MOVE"),
    **dict.fromkeys(_FIND.split(), "FIND"),
    **dict.fromkeys(_ACT.split(), "ACT ON JOBS"),
    **dict.fromkeys(_TAKE.split(), "TAKE AWAY"),
}
_KEYS: Final = {
    "question_mark": "?",
    "exclamation_mark": "!",
    "slash": "/",
    "backslash": "\\",
    "colon": ":",
    "plus": "+",
    "minus": "-",
    "ampersand": "&",
    "vertical_line": "|",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "down": "↓",
    "up": "↑",
    "left": "←",
    "right": "→",
    "pagedown": "pgdn",
    "pageup": "pgup",
    "escape": "esc",
}
_ASCII_KEYS: Final = {"↓": "down", "↑": "up", "←": "left", "→": "right"}
_SERIES: Final = {"logs.time": "time window"}
"""Bindings whose ids end in ``_0``, ``_1`` …: what they do together."""


class Bound(msgspec.Struct, frozen=True):
    """A live binding: its key, what it does in words, its id, and a number by which it is run."""

    key: str
    word: str
    id: str
    number: int


class Entry(msgspec.Struct, frozen=True):
    """A line of help: all keys of one binding."""

    heading: str
    keys: str
    word: str
    number: int


def key_name(key: str, *, ascii_only: bool = False) -> str:
    """A key as it is printed on a keyboard: ``ctrl+backslash`` → ``ctrl+\\``."""
    *modifiers, last = key.split("+")
    last = _KEYS.get(last, last)
    if ascii_only:
        last = _ASCII_KEYS.get(last, last)
    return "+".join([*modifiers, last])


def heading_of(binding_id: str) -> str:
    """Under which heading a binding stands, by its id (``jobs.pause``)."""
    room, _, what = binding_id.rpartition(".")
    return _HEADINGS.get(what, "LOOK") if not room.startswith("console") else "CONSOLE"


def entries(bound: Iterable[Bound], *, ascii_only: bool = False) -> list[Entry]:
    """One entry for each binding, its keys together; a series of digits is one too."""
    grouped: dict[str, list[Bound]] = {}
    for each in bound:
        grouped.setdefault(re.sub(r"_\d$", "", each.id), []).append(each)
    out = []
    for stem, same in grouped.items():
        names = [key_name(each.key, ascii_only=ascii_only) for each in same]
        series = len(same) > 1 and all(name.isdigit() for name in names)
        keys = f"{names[0]}-{names[-1]}" if series else " ".join(names[:2])
        word = _SERIES.get(stem, same[0].word) if series else same[0].word
        out.append(Entry(heading_of(same[0].id), keys, word, same[0].number))
    return out


def matching(found: Sequence[Entry], typed: str) -> list[Entry]:
    """The entries whose key, words or heading hold every word that was typed."""
    wanted = typed.lower().split()
    return [
        each
        for each in found
        if all(word in f"{each.word} {each.heading}".lower() or word == each.keys.lower() for word in wanted)
    ]


class Sheet(msgspec.Struct, frozen=True):
    """Help as it is drawn: its lines, and where each entry stands (line, column, in the order of moving)."""

    lines: list[Line]
    order: list[Entry]
    places: list[tuple[int, int]]


def sheet(found: Sequence[Entry], width: int, *, chosen: Entry | None = None, ascii_only: bool = False) -> Sheet:
    """The entries in three columns, two below ``TWO_BELOW`` cells; the chosen one has a mark."""
    n = 3 if width >= TWO_BELOW else 2
    size = width // n
    columns: list[list[tuple[Line, Entry | None]]] = [[] for _ in range(n)]
    for at, headings in enumerate(COLUMNS):
        column = columns[min(at, n - 1)]
        for heading in headings:
            _add_heading(column, heading, found, size, chosen, ascii_only=ascii_only)
    height = max((len(column) for column in columns), default=0)
    blank: tuple[Line, Entry | None] = ([Span(" " * size)], None)
    lines: list[Line] = []
    places, order = [], []
    for y in range(height):
        row = [column[y] if y < len(column) else blank for column in columns]
        lines.append([span for line, _ in row for span in line])
    for x, column in enumerate(columns):
        for y, (_, entry) in enumerate(column):
            if entry is not None:
                order.append(entry)
                places.append((y, x))
    return Sheet(lines, order, places)


def _add_heading(
    column: list[tuple[Line, Entry | None]],
    heading: str,
    found: Sequence[Entry],
    size: int,
    chosen: Entry | None,
    *,
    ascii_only: bool,
) -> None:
    mine = [each for each in found if each.heading == heading]
    if not mine:
        return
    if column:
        column.append(([Span(" " * size)], None))
    column.append((fitted([Span(f"  {heading}", "muted bold")], size), None))
    for each in mine:
        here = each is chosen
        pointer = ("> " if ascii_only else "▌ ") if here else "  "
        line: Line = [
            Span(pointer, "accent bold"),
            Span(padded(each.keys, KEY_WIDTH), "accent bold" if here else "accent"),
            Span(" " + cut(each.word, size - KEY_WIDTH - 4), "text bold" if here else "text"),
        ]
        column.append((fitted(line, size), each))


def legend(width: int, *, ascii_only: bool = False) -> Line:
    """The last line: every glyph with its word, as many as fit."""
    pieces: list[Line] = [
        [Span(glyph(word, ascii_only=ascii_only), look), Span(f" {word}  ", "muted")]
        for word, (_, _, look) in GLYPHS.items()
    ]
    mark = "*" if ascii_only else "◆"
    pieces += [[Span(mark, "accent"), Span(" marked  ", "muted")], [Span("~", "text"), Span(" not saved", "muted")]]
    line: Line = []
    room = width
    for piece in pieces:
        size = sum(width_of(span.text) for span in piece)
        if size > room:
            break
        line += piece
        room -= size
    return line
