"""Colours: the eight roles of the console, its own themes, and what a role becomes in any theme. The one place of both.

A look is a role and perhaps ``bold``, ``dim``, ``reverse``, ``underline``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rich.style import Style
from textual.color import Color, ColorParseError
from textual.theme import Theme

ROLES: Final = ("run", "ok", "warn", "fail", "paused", "muted", "accent", "text")
LANES: Final = 6
"""How many colours tell the jobs of one log view apart."""

_DARK = {
    "run": "#62a8f0",
    "ok": "#55c283",
    "warn": "#e3b341",
    "fail": "#ff6b70",
    "paused": "#b794f6",
    "muted": "#8c99a6",
    "accent": "#3fd0c9",
    "text": "#cdd6df",
}
_LIGHT = {
    "run": "#0a5fb4",
    "ok": "#187a41",
    "warn": "#8a6100",
    "fail": "#c01f2e",
    "paused": "#7340bf",
    "muted": "#57616b",
    "accent": "#0b7480",
    "text": "#1f262d",
}
_ANSI = {
    "run": "blue",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
    "paused": "magenta",
    "muted": "default",
    "accent": "cyan",
    "text": "default",
}
_LANES_DARK = ("#86add6", "#cfa97f", "#94bd7c", "#cf93b8", "#7dbcb5", "#b3a9e0")
_LANES_LIGHT = ("#3a6894", "#86602f", "#4d7437", "#8a4a72", "#2d726b", "#5f539c")
_LANES_ANSI = ("blue", "yellow", "green", "magenta", "cyan", "red")
_GROUNDS_DARK = {"screen": "#0f1318", "dialog": "#151b22", "cursor": "#22303d", "track": "#26303a"}
_GROUNDS_LIGHT = {"screen": "#fcfcfb", "dialog": "#f3f4f5", "cursor": "#e2edf6", "track": "#dfe3e7"}
_FALLBACK = {
    "run": "text-primary",
    "ok": "text-success",
    "warn": "text-warning",
    "fail": "text-error",
    "paused": "text-secondary",
    "muted": "foreground-muted",
    "accent": "accent",
    "text": "foreground",
}
"""What a role is in a theme that is not ours. ``$secondary`` and ``$error`` are unreadable as text (1.9:1, 3.4:1)."""
FILL_DARK, FILL_LIGHT = 0.62, 0.55
"""How much of a bar's fill is its role; the rest is the screen's ground."""


def _theme(name: str, roles: Mapping[str, str], grounds: Mapping[str, str], *, dark: bool) -> Theme:
    return Theme(
        name=name,
        dark=dark,
        primary=roles["run"],
        secondary=roles["paused"],
        warning=roles["warn"],
        error=roles["fail"],
        success=roles["ok"],
        accent=roles["accent"],
        foreground=roles["text"],
        background=grounds["screen"],
        surface=grounds["screen"],
        panel=grounds["dialog"],
        variables={
            **{role: roles[role] for role in ROLES if role != "text"},
            **{f"ground-{name}": value for name, value in grounds.items()},
            "input-selection-background": grounds["cursor"],
            "scrollbar": grounds["track"],
            "scrollbar-background": grounds["screen"],
            "scrollbar-corner-color": grounds["screen"],
            "block-cursor-background": roles["accent"],
            "block-cursor-foreground": grounds["screen"],
        },
    )


THEMES: Final = (
    _theme("etlmon-dark", _DARK, _GROUNDS_DARK, dark=True),
    _theme("etlmon-light", _LIGHT, _GROUNDS_LIGHT, dark=False),
)
DARK, LIGHT, ANSI = "etlmon-dark", "etlmon-light", "ansi-dark"


class Palette:
    """Looks → terminal styles, for one theme. ``colour=False`` tells states apart by bold and dim alone."""

    def __init__(
        self,
        variables: Mapping[str, str],
        *,
        dark: bool,
        ansi: bool = False,
        colour: bool = True,
        ascii_only: bool = False,
    ) -> None:
        self.ascii_only = ascii_only
        self.ansi = ansi
        self.colour = colour
        self.has_track = colour and not ansi
        """Whether a bar's track is a ground of its own; else it is drawn with dots."""
        self._cache: dict[tuple[str, str | None], Style] = {}
        if ansi or not colour:
            self._roles = dict(_ANSI)
            self._lanes: tuple[str, ...] = _LANES_ANSI
            self._grounds: dict[str, str] = {}
            return
        screen = _colour(variables.get("ground-screen") or variables.get("background"), _GROUNDS_DARK["screen"])
        grounds = _GROUNDS_DARK if dark else _GROUNDS_LIGHT
        self._grounds = {"screen": screen.hex, "dialog": _colour(variables.get("panel"), grounds["dialog"]).hex}
        own = "ground-track" in variables
        tint = _colour(variables.get("foreground"), "#808080")
        self._grounds["cursor"] = variables["ground-cursor"] if own else screen.blend(tint, 0.14).hex
        self._grounds["track"] = variables["ground-track"] if own else screen.blend(tint, 0.18).hex
        known = _DARK if dark else _LIGHT
        self._roles = {
            role: _over(_colour(variables.get(role) or variables.get(_FALLBACK[role]), known[role]), screen)
            for role in ROLES
        }
        self._lanes = _LANES_DARK if dark else _LANES_LIGHT
        share = FILL_DARK if dark else FILL_LIGHT
        for role in ROLES:
            mixed = screen.blend(Color.parse(self._roles[role]), share)
            self._roles[f"fill-{role}"] = mixed.hex

    def style(self, look: str, ground: str | None = None) -> Style:
        """The style of a look; ``ground`` is ``cursor`` or ``dialog`` (None: the screen's own)."""
        key = (look, ground)
        found = self._cache.get(key)
        if found is None:
            found = self._cache[key] = self._made(look, ground)
        return found

    def ground(self, name: str) -> str | None:
        """The colour of a ground, where the theme has one."""
        return self._grounds.get(name)

    def _made(self, look: str, ground: str | None) -> Style:
        words = look.split()
        role, flags = words[0], set(words[1:])
        bold, dim = "bold" in flags, "dim" in flags
        reverse, underline = "reverse" in flags, "underline" in flags
        if self.ansi or not self.colour:
            if ground == "cursor":  # roles inside a reversed row would make patches
                return Style(reverse=True, bold=bold or None)
            base = role.removeprefix("fill-").removeprefix("track-")
            if base == "muted":
                dim = True
            if not self.colour:
                return Style(bold=bold or base in ("fail", "warn", "accent"), dim=dim, reverse=reverse)
            colour = self._lane(base) or self._roles.get(base, "default")
            return Style(color=colour, bold=bold, dim=dim, reverse=reverse, underline=underline)
        background = self._grounds[ground or "screen"]
        if role.startswith("fill-"):
            background = self._grounds["track"]
        if "track" in flags:
            background = self._grounds["track"]
        colour = self._lane(role) or self._roles.get(role, self._roles["text"])
        if reverse:
            return Style(color=self._grounds["screen"], bgcolor=colour, bold=bold)
        return Style(color=colour, bgcolor=background, bold=bold, dim=dim, underline=underline)

    def _lane(self, role: str) -> str | None:
        return self._lanes[int(role[4:]) % LANES] if role.startswith("lane") else None


def _colour(value: str | None, default: str) -> Color:
    try:
        return Color.parse(value) if value else Color.parse(default)
    except ColorParseError:  # a theme may say "auto 87%"
        return Color.parse(default)


def _over(colour: Color, ground: Color) -> str:
    """The colour as it looks on ``ground``, where it lets the ground through."""
    return ground.blend(colour, colour.a, alpha=1.0).hex if colour.a < 1 else colour.hex
