"""One line in full: when, whose, where, the whole message, its fields as JSON. Pure."""

from __future__ import annotations

from datetime import tzinfo

import msgspec
from rich.cells import chop_cells

from etlmon.core.job import LEVEL_NAME
from etlmon.core.text import shown, shown_json
from etlmon.tui.drawing.figures import local
from etlmon.tui.drawing.spans import Line, Span, width_of
from etlmon.tui.logs.entry import HOLE, Entry
from etlmon.tui.logs.rows import LOOKS, marked

LABEL = 9
MOST_LINES = 2_000
"""The most rows that the message or the fields take."""


def detail_lines(
    entry: Entry, name: str, job_id: str, width: int, *, term: str = "", zone: tzinfo | None = None
) -> list[Line]:
    """The rows of the panel; ``width`` cells wide, as many as it takes."""
    at = local(entry.at, zone)
    stamp = f"{at:%Y-%m-%d %H:%M:%S}.{entry.at % 1000:03d} {at:%z}"
    if entry.level == HOLE:
        return [[], *_folded(entry.message, width, "muted", "")]
    facts = [
        ("time", stamp, "text"),
        ("level", LEVEL_NAME.get(entry.level, "info"), LOOKS.get(entry.level, "text")),
        ("job", name, "text"),
        ("id", job_id, "muted"),
        ("logger", entry.logger or "", "text"),
        ("step", entry.step or "", "text"),
        ("seq", f"{entry.seq:,}", "muted"),
    ]
    out: list[Line] = []
    for label, value, look in facts:
        if value:
            rows = _folded(value, max(8, width - LABEL - 2), look, "")
            out.append([Span(" " + label.ljust(LABEL), "muted"), *rows[0]])
            out += [[Span(" " * (LABEL + 1)), *row] for row in rows[1:]]
    out += [[], [Span(" MESSAGE", "muted bold")]]
    out += [[Span(" "), *row] for row in _folded(entry.message, width - 2, "text", term)]
    if entry.fields:
        out += [[], [Span(" FIELDS", "muted bold")]]
        out += [[Span(" "), *row] for row in _folded(pretty(entry.fields), width - 2, "text", term)]
    return out


def pretty(fields: bytes) -> str:
    """Encoded JSON over several lines, safe to show."""
    try:
        return shown_json(msgspec.json.format(fields, indent=2).decode(errors="replace"))
    except msgspec.DecodeError:
        return fields.decode(errors="replace")


def _folded(text: str, width: int, look: str, term: str) -> list[Line]:
    rows: list[Line] = []
    for line in shown(text, keep_newlines=True).split("\n"):
        if len(rows) >= MOST_LINES:
            return [*rows, [Span("…", "muted")]]
        pieces = [line] if width_of(line) <= width else chop_cells(line, max(4, width))
        rows += [marked(piece, term, look) for piece in pieces]
    return rows
