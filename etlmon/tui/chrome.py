"""The frame's own lines: server and tabs, counts and sparklines, filter or trouble, the keys. Pure.

Row 1 gives way in a fixed order: long tab names, server and latency, clock, other tabs' names, tabs. The pill never.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from etlmon.core.glyphs import GLYPHS, glyph
from etlmon.tui.drawing import figures
from etlmon.tui.drawing.spans import Line, Span, cut, fitted, line_width, spread

COUNTED = ("running", "paused", "pending", "failed", "warning")
WORDS = {"warning": "warn"}


class Tab(NamedTuple):
    """A tab: its digit, its name and the short form of it, and how many of its things want a look."""

    digit: int
    name: str
    short: str
    waiting: int = 0


def top_line(
    width: int, *, server: str, tabs: Sequence[Tab], here: int, pill: Line, clock: str, away: bool = False
) -> Line:
    """Row 1 in exactly ``width`` cells."""
    for n in range(6):
        line = _top(server, tabs, here, pill, clock, away, less=n)
        if line_width(line[0]) + line_width(line[1]) <= width:
            break
    return spread(line[0], line[1], width)


def _top(
    server: str, tabs: Sequence[Tab], here: int, pill: Line, clock: str, away: bool, *, less: int
) -> tuple[Line, Line]:
    """The two ends of row 1, with ``less`` things left out."""
    left: Line = [Span(" etlmon", "accent bold")]
    if server and less < 2:
        left.append(Span(f" {server}", "text bold"))
    for tab in tabs if less < 5 else ():
        name = tab.short if less >= 1 else tab.name
        if less >= 4 and tab.digit != here:
            name = ""
        count = f" {tab.waiting}" if tab.waiting else ""
        left.append(Span("  "))
        on = tab.digit == here
        left.append(Span(f"{tab.digit}", "accent bold" if on else "muted"))
        if name:
            left.append(Span(f" {name}", "text bold underline" if on else "muted"))
        if count:
            left.append(Span(count, "fail bold"))
    shown = list(pill)
    if less >= 2 and len(shown) > 1 and shown[1].text.endswith(" ms"):
        del shown[1]
    right: Line = [Span("  "), *shown, Span(" ")]
    if less < 3:
        right = [*right[:-1], Span(f"  {clock} ", "muted")]
    return left, right


def counts_line(
    width: int,
    counts: Counter[str],
    *,
    rows: Sequence[float | None],
    lines: Sequence[float | None],
    away: bool = False,
    ascii_only: bool = False,
) -> Line:
    """Row 2: how many jobs of each kind, and two sparklines with what they stand at."""
    narrow = width < 76
    left: Line = [Span(" ")]
    for word in COUNTED:
        n = counts.get(word, 0)
        look = "muted" if not n or away else GLYPHS[word][2]
        sign = glyph(word, ascii_only=ascii_only)
        left.append(Span(f"{sign} {n:,}" + ("" if narrow else f" {WORDS.get(word, word)}") + "  ", look))
    right = _sparks(width, rows, lines, away=away, ascii_only=ascii_only)
    while right and line_width(left) + line_width(right) > width:
        right = right[:-2] if len(right) > 2 else []
    return spread(left, right, width)


def _sparks(
    width: int, rows: Sequence[float | None], lines: Sequence[float | None], *, away: bool, ascii_only: bool
) -> Line:
    look = "muted" if away else "run"
    now_rows = next((value for value in reversed(rows) if value is not None), None)
    now_lines = next((value for value in reversed(lines) if value is not None), None)
    if now_rows is None and now_lines is None:
        return []
    if width < 100:
        spark = "" if ascii_only else figures.sparkline(rows, 8) + " "
        return [Span(spark, look), Span(f"{figures.rate(now_rows)} ", "muted")]
    out: Line = []
    for label, values, value in (("rows/s", rows, now_rows), ("lines/s", lines, now_lines)):
        out.append(Span(f"{label} ", "muted"))
        out.append(Span("" if ascii_only else figures.sparkline(values, 13), look))
        out.append(Span(f" {figures.count(value or 0)}  " + ("" if label == "lines/s" else "    "), "text"))
    out[-1] = Span(out[-1].text.rstrip() + " ", "text")
    return out


def filter_line(width: int, left: str, right: str, *, look: str = "text") -> Line:
    """Row 3 when all is well: the filter in force, and what the list holds."""
    end: Line = [Span(f"{right} ", "muted")]
    start = cut(f" {left}", max(0, width - line_width(end) - 1))
    return spread([Span(start, look)], end, width)


def banner_line(width: int, sentence: str, key: str) -> Line:
    """Row 3 in trouble."""
    end: Line = [Span(f" {key} ", "accent bold")] if key else []
    room = max(0, width - line_width(end))
    return [*fitted([Span(cut(f" ▲ {sentence}", room), "warn bold")], room), *end]


HINT_ORDER = ("enter", "l", "/", "!", "space", "p", "x", "d", ":", "o", "w", "f", "y")


def hint_line(width: int, hints: Sequence[tuple[str, str]], *, last: tuple[str, str] = ("?", "help")) -> Line:
    """The keys of a screen: the most useful first; those at the end give way, ``? help`` stays."""
    end: Line = [Span(last[0], "accent"), Span(f" {last[1]} ", "muted")]
    left: Line = [Span(" ")]
    room = width - line_width(end) - 1
    for key, word in hints:
        piece = [Span(key, "accent"), Span(f" {word}  ", "muted")]
        if line_width(left) + line_width(piece) - 2 > room:
            break
        left += piece
    return spread(left, end, width)


def middle(lines: Sequence[str], width: int, height: int, looks: Mapping[int, str] | None = None) -> list[Line]:
    """A few sentences in the middle of an empty body."""
    above = max(0, (height - len(lines)) // 3)
    drawn: list[Line] = [[] for _ in range(above)]
    for n, text in enumerate(lines):
        short = cut(text, max(0, width - 2))
        look = (looks or {}).get(n, "text" if n == 0 else "muted")
        drawn.append([Span(" " * max(0, (width - len(short)) // 2)), Span(short, look)])
    return drawn
