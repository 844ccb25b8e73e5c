"""The lines above and below the log: whose lines, what chooses them, where the reader stands. Pure."""

from __future__ import annotations

import msgspec

from etlmon.core.job import LEVEL_NAME
from etlmon.core.text import shown
from etlmon.tui.drawing.spans import Line, Span, cut, cut_middle, line_width, spread, width_of
from etlmon.tui.logs.entry import Lanes
from etlmon.tui.logs.filter import LogFilter, typed
from etlmon.tui.logs.state import LogLines

NARROW = 100


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the reader chose beside the filter."""

    window: str = "all"
    wrap: bool = False
    single: bool = False
    has_older: bool = False
    """The server holds more than is here: counts end in ``+``."""
    ascii: bool = False


def lanes_line(lanes: Lanes, wanted: LogFilter, settings: Settings, width: int) -> Line:
    """The first line: the jobs in their lanes' colours; level, time and wrap."""
    level = LEVEL_NAME[wanted.level] + ("+" if wanted.level < 50 else "")
    named = width >= NARROW
    parts = [
        ("level ", level, wanted.level > 10 and wanted.on),
        ("time ", settings.window, settings.window != "all"),
        ("wrap ", "on" if settings.wrap else "off", settings.wrap),
    ]
    right: Line = []
    for label, value, is_set in parts:
        bare = label if named or label == "wrap " else ""
        right += [Span(f"  {bare}", "muted"), Span(value, "accent" if is_set else "muted")]
    right.append(Span(" "))
    return spread(_jobs(lanes, settings, width - line_width(right)), right, width)


def _jobs(lanes: Lanes, settings: Settings, room: int) -> Line:
    if not len(lanes):
        return [Span(" ")]
    bar = "|" if settings.ascii else "▌"
    if settings.single:
        return [Span(" " + cut_middle(shown(lanes.name(0)), max(4, room - 2)), "bold")]
    line: Line = []
    left = room
    for lane in range(len(lanes)):
        name = cut_middle(shown(lanes.name(lane)), 26)
        more = f"  and {len(lanes) - lane:,} more"
        after = width_of(more) if lane + 1 < len(lanes) else 0
        if left - width_of(name) - 3 < after:
            return [*line, Span(cut(more, max(0, left - 1)), "muted")]
        line += [Span(" " if lane == 0 else "  "), Span(bar + name, f"lane{lane}")]
        left -= width_of(name) + (2 if lane == 0 else 3)
    return line


def filters_line(lines: LogLines, number: int, settings: Settings, width: int) -> Line:
    """The second line: what must and must not be in a line, what is searched for; how much there is of it."""
    wanted = lines.filter
    right = _counts(lines, number, settings, width)
    room = width - line_width(right) - 1
    out = "" if wanted.on or not wanted.chooses else "  off"
    words = (("&", typed(wanted.words)), ("|", typed(wanted.without)), ("/", lines.term))
    set_ones = [(sign, shown(text)) for sign, text in words if text]
    each = max(8, (room - 14) // max(1, len(set_ones))) if set_ones else 0
    left: Line = []
    for sign, text in words:
        in_force = bool(text) and (wanted.on or sign == "/")
        left += [Span(" " if not left else "   "), Span(sign, "accent" if in_force else "muted")]
        left.append(Span(" " + (cut(shown(text), each) if text else "none"), "text" if in_force else "muted"))
    return spread([*left, Span(out, "warn bold")], right, width)


def _counts(lines: LogLines, number: int, settings: Settings, width: int) -> Line:
    dot = " - " if settings.ascii else " · "
    wide = width >= NARROW
    parts: list[tuple[str, str]] = []
    if lines.term:
        rank = lines.hit_rank(number)
        told = f"hit {rank:,} of {lines.n_hits:,}" if rank else f"{lines.n_hits:,} hits"
        parts.append((told if lines.n_hits else "no hit", "accent" if lines.n_hits else "warn"))
    for n, word, short, look in (
        (lines.n_errors, "error", "err", "fail"),
        (lines.n_warnings, "warning", "warn", "warn"),
    ):
        parts.append((f"{n:,} {_plural(n, word) if wide else short}", look if n else "muted"))
    shown_lines = lines.n_lines - lines.n_hidden
    more = "+" if settings.has_older else ""
    whole = f"{lines.n_lines:,}{more} {_plural(lines.n_lines, 'line')}"
    parts.append((f"{shown_lines:,} of {whole}" if lines.n_hidden else whole, "muted"))
    out: Line = [Span("  ")]
    for at, (text, look) in enumerate(parts):
        out += [Span(dot if at else "", "muted"), Span(text, look)]
    return [*out, Span(" ")]


def _plural(n: int, word: str) -> str:
    return word if n == 1 else word + "s"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where the reader stands; ``trouble`` says why nothing new comes."""

    number: int
    following: bool
    n_waiting: int = 0
    trouble: str | None = None
    older: str = ""


def status_line(lines: LogLines, standing: Standing, settings: Settings, width: int) -> Line:
    """The last line: which line the cursor is on; following, or how many new lines wait."""
    dot = " - " if settings.ascii else " · "
    right = _tail(standing, settings, width)
    if not lines.n_shown or not lines.holds(standing.number):
        return spread([Span(" ")], right, width)
    entry = lines.entry(standing.number)
    at = standing.number - lines.first + 1
    more = "+" if settings.has_older else ""
    left: Line = [Span(f" line {at:,} of {lines.end - lines.first:,}{more}{dot}seq {entry.seq:,}", "muted")]
    if standing.older:
        left.append(Span(dot + standing.older, "muted"))
    return spread(left, right, width)


def _tail(standing: Standing, settings: Settings, width: int) -> Line:
    down = "v" if settings.ascii else "▼"
    if standing.trouble:
        sign = "!" if settings.ascii else "▲"
        return [Span(" "), Span(f"{sign} {cut(shown(standing.trouble), width * 3 // 5)}", "warn"), Span(" ")]
    if standing.following:
        return [Span(" FOLLOWING ", "accent bold reverse"), Span(" ")]
    n = standing.n_waiting
    told = [Span(f"{down} {n:,} new {_plural(n, 'line')}  ", "warn bold")] if n else []
    return [*told, Span("f", "accent"), Span(" follow ", "muted")]
