"""The frame that every tab stands in: three rows above, the body, the keys below; and the 10 Hz flush."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen

from etlmon.tui.drawing.spans import Line, Span, cut
from etlmon.tui.widgets.frame_lines import CountsLine, FrameLine, HintLine, ThirdLine, TopLine
from etlmon.tui.widgets.lines import Lines

if TYPE_CHECKING:
    from etlmon.tui.app import Console


LEAST = (40, 8)
"""The smallest window that the frame fits, in cells."""


class TooSmall(FrameLine):
    """What a window says that is too small for anything else."""

    def drawn(self, width: int, height: int) -> list[Line]:
        """One sentence."""
        return [[Span(cut("Make this window larger.", width))]]


class FrameScreen(Screen[None]):
    """A tab. Its body is what ``compose_body`` gives; ``flush`` is called ten times a second while it is shown."""

    TAB: ClassVar[int] = 0
    BINDINGS: ClassVar[list[BindingType]] = []
    DEFAULT_CSS = """
    FrameScreen { layout: vertical; }
    FrameScreen TooSmall { display: none; height: 1fr; }
    FrameScreen.tiny > * { display: none; }
    FrameScreen.tiny TooSmall { display: block; }
    """

    is_ready = False
    """Whether the body is there to be painted."""

    def on_mount(self) -> None:
        """Called beside the ``on_mount`` of each tab."""
        self.is_ready = True

    @property
    def console(self) -> Console:
        """The app."""
        return self.app  # type: ignore[return-value]

    def compose(self) -> ComposeResult:
        """The frame around the body."""
        yield TopLine()
        yield CountsLine()
        yield ThirdLine()
        yield from self.compose_body()
        yield HintLine()
        yield TooSmall()

    def on_resize(self) -> None:
        """Below a least size the frame would only mislead."""
        width, height = self.app.size
        self.set_class(width < LEAST[0] or height < LEAST[1], "tiny")

    def compose_body(self) -> ComposeResult:
        """What the tab shows."""
        yield from ()

    def third_line(self) -> tuple[str, str, str]:
        """Row 3 when all is well: left, right, the look of the left."""
        return "", "", "text"

    def hints(self) -> list[tuple[str, str]]:
        """Keys and words, the most useful first."""
        return []

    def flush(self, now: int) -> None:
        """Ten times a second: paint what changed."""

    def tick(self, now: int) -> None:
        """Once a second: clocks."""

    def pulse(self) -> None:
        """Twice a second: what moves without news."""

    def redraw_frame(self) -> None:
        """Ask each line of the frame whether it looks different."""
        for line in self.query(Lines):
            line.redraw()

    def repaint(self) -> None:
        """The theme changed."""
        for line in self.query(Lines):
            line.repaint()
