"""What dialogs are made of: a frame in a role's colour, fixed lines, choices that take the focus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.color import ColorType
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.containers import Vertical
from textual.events import Click
from textual.message import Message
from textual.widgets import Input

from etlmon.tui.drawing.palette import Palette
from etlmon.tui.drawing.spans import Line, Span, line_width, width_of
from etlmon.tui.widgets.lines import Lines

MOST_WIDE = 72


def colour_of(palette: Palette, role: str) -> Color:
    """A role's colour for a style of Textual's."""
    colour = palette.style(role).color
    if colour is None or colour.type is ColorType.DEFAULT:
        return Color.parse("ansi_default")
    return Color.parse(colour.name if colour.type is ColorType.TRUECOLOR else f"ansi_{colour.name}")


class Dialog(Vertical):
    """A bordered box in the middle of the screen, as wide as its content."""

    DEFAULT_CSS = """
    Dialog { width: 56; height: auto; max-height: 100%; background: $panel; padding: 0 1; border: round $accent;
             border-title-style: bold; }
    Dialog.roomy > .block { margin-top: 1; }
    Dialog.roomy { padding: 0 1 1 1; }
    """

    def __init__(self, title: str, *, role: str = "accent") -> None:
        super().__init__()
        self.border_title = title
        self.role = role

    def on_mount(self) -> None:
        """The border takes its role's colour."""
        palette: Palette = self.app.palette  # type: ignore[attr-defined]
        self.styles.border = ("ascii" if palette.ascii_only else "round", colour_of(palette, self.role))
        self.styles.border_title_color = colour_of(palette, self.role)

    def fit(self, widest: int, height: int) -> None:
        """Be as wide as ``widest`` cells ask; blank rows between the blocks where ``height`` lines leave room."""
        columns, rows = self.app.size
        self.styles.width = max(20, min(MOST_WIDE, columns - 2, widest + 4))
        self.set_class(rows >= height, "roomy")


class Block(Lines):
    """Lines that do not change by themselves."""

    DEFAULT_CSS = "Block { width: 1fr; height: auto; }"
    ground: str | None = "dialog"

    def __init__(self, lines: Sequence[Line], *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._content = list(lines)
        self.styles.height = len(self._content)

    @property
    def widest(self) -> int:
        """Cells that the longest line takes."""
        return max((line_width(line) for line in self._content), default=0)

    def say(self, lines: Sequence[Line]) -> None:
        """Other lines."""
        self._content = list(lines)
        self.styles.height = len(self._content)
        self.redraw()

    def drawn(self, width: int, height: int) -> Sequence[Line]:
        """The lines as they are."""
        return self._content


class Choice(Lines, can_focus=True):
    """A button: a verb with a count. The one with the focus has a ``▸``."""

    DEFAULT_CSS = "Choice { width: auto; height: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "choose", "choose", id="dialog.choose", show=False)]
    ground: str | None = "dialog"

    class Chosen(Message):
        """The choice was made."""

        def __init__(self, choice: Choice) -> None:
            self.choice = choice
            super().__init__()

        @property
        def control(self) -> Choice:
            """The choice that was made."""
            return self.choice

    def __init__(self, label: str, *, role: str = "accent", id: str | None = None) -> None:
        super().__init__(id=id)
        self.label = label
        self.role = role
        self.styles.width = width_of(label) + 4

    def drawn(self, width: int, height: int) -> Sequence[Line]:
        """The label; marked while it has the focus."""
        if not self.has_focus:
            return [[Span("   "), Span(self.label, self.role if self.role == "fail" else "text"), Span(" ")]]
        pointer = ">" if getattr(self.app, "ascii", False) else "▸"
        return [[Span(f" {pointer} {self.label} ", f"{self.role} bold reverse")]]

    def watch_has_focus(self, has_focus: bool) -> None:
        """Show whether it has the focus."""
        super().watch_has_focus(has_focus)
        self.redraw()

    def action_choose(self) -> None:
        """Make the choice."""
        self.post_message(self.Chosen(self))

    def on_click(self, event: Click) -> None:
        """A click chooses."""
        event.stop()
        self.action_choose()


def field(*, id: str, placeholder: str = "", password: bool = False) -> Input:
    """A line to type into, as dialogs have it."""
    made = Input(id=id, placeholder=placeholder, password=password, compact=True, classes="field")
    made.cursor_blink = False
    return made
