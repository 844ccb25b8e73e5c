"""Tables for a terminal: widths, cutting and colour. Plain text in, lines out; nothing is printed here."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from etlmon.commands.output import Column, Item, Look
from etlmon.core.text import shown

COLOURS = {"run": "34", "ok": "32", "warn": "33", "fail": "31", "paused": "35", "muted": "2", "head": "1"}
"""The roles of screens.md as SGR codes of the terminal's own palette."""

GAP = "  "


def painted(text: str, role: str | None, look: Look) -> str:
    """The text in the colour of a role, where colour is wanted."""
    return f"\x1b[{COLOURS[role]}m{text}\x1b[0m" if role and look.colour and text.strip() else text


def width_of(text: str) -> int:
    """Terminal cells that safe text takes: wide East Asian characters two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(_cells(char) for char in text)


def _cells(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, room: int, look: Look) -> str:
    """At most ``room`` cells of text; what was cut is marked."""
    if width_of(text) <= room:
        return text
    mark = "…" if look.unicode else "~"
    kept, used = [], 1
    for char in text:
        used += _cells(char)
        if used > room:
            break
        kept.append(char)
    return ("".join(kept) + mark)[: max(room, 0)] if room < 2 else "".join(kept) + mark


def padded(text: str, room: int, *, right: bool = False) -> str:
    """Text filled up with blanks to ``room`` cells."""
    blank = " " * max(0, room - width_of(text))
    return blank + text if right else text + blank


def render(items: Sequence[Item], columns: Sequence[Column], look: Look, *, fit: bool = True) -> list[str]:
    """The header and a line per item; with ``fit`` no line is wider than the terminal. Empty lists give no header."""
    if not items:
        return []
    rows = [[shown(column.cell(item, look)) for column in columns] for item in items]
    widths = [max(width_of(column.title), *(width_of(row[i]) for row in rows)) for i, column in enumerate(columns)]
    if fit and look.width:
        widths = fitted(widths, columns, look.width)
    lines = [_line([column.title for column in columns], widths, columns, ["head"] * len(columns), look)]
    for item, row in zip(items, rows, strict=True):
        roles = [column.colour(item) if column.colour else None for column in columns]
        lines.append(_line(row, widths, columns, roles, look))
    return lines


def _line(
    cells: Sequence[str], widths: Sequence[int], columns: Sequence[Column], roles: Sequence[str | None], look: Look
) -> str:
    parts = []
    for cell, room, column, role in zip(cells, widths, columns, roles, strict=True):
        if room > 0:
            parts.append(painted(padded(cut(cell, room, look), room, right=column.right), role, look))
    return GAP.join(parts).rstrip()


def fitted(widths: Sequence[int], columns: Sequence[Column], total: int) -> list[int]:
    """Widths that fit into ``total`` cells: elastic columns give first, the widest most; then whole columns go (0)."""
    kept = list(range(len(columns)))
    while True:
        least = {i: min(widths[i], columns[i].elastic or widths[i]) for i in kept}
        room = total - len(GAP) * (len(kept) - 1)
        if sum(least.values()) <= room or len(kept) == 1:
            break
        kept.remove(max(kept, key=lambda i: (columns[i].rank, i)))
    result = {i: widths[i] for i in kept}
    while (excess := sum(result.values()) - room) > 0:
        widest = max(kept, key=lambda i: (result[i] - least[i], i))
        if result[widest] == least[widest]:
            result[widest] = max(1, result[widest] - excess)
            break
        result[widest] -= min(excess, max(1, (result[widest] - least[widest]) // 2))
    return [result.get(i, 0) for i in range(len(columns))]
