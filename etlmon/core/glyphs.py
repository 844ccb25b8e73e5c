"""The sign of each status, the same in the console, on the command line and in the demo. Pure."""

from __future__ import annotations

from typing import Final

GLYPHS: Final = {
    "running": ("▸", ">", "run"),
    "completed": ("✓", "+", "ok"),
    "warning": ("▲", "!", "warn"),
    "failed": ("✗", "x", "fail"),
    "paused": ("‖", "=", "paused"),
    "pending": ("○", ".", "muted"),
    "cancelled": ("⊘", "-", "muted"),
}
"""Status, or ``warning`` for a completed job with that outcome, → glyph, its ASCII stand-in, its role of colour."""
UNKNOWN: Final = ("?", "?", "muted")


def glyph(word: str, *, ascii_only: bool = False) -> str:
    """The sign of a status."""
    sign, stand_in, _ = GLYPHS.get(word, UNKNOWN)
    return stand_in if ascii_only else sign


def role(word: str) -> str:
    """The role of colour of a status."""
    return GLYPHS.get(word, UNKNOWN)[2]
