"""A widget that draws lines of spans: the console's chrome, panes and dialogs stand on it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from etlmon.tui.drawing.palette import Palette
from etlmon.tui.drawing.spans import ASCII, Line, Span, fitted


def strip_of(line: Sequence[Span], width: int, palette: Palette, ground: str | None = None) -> Strip:
    """The line as a strip of exactly ``width`` cells."""
    style = palette.style
    if palette.ascii_only:
        line = [Span(text.translate(ASCII), look) for text, look in line]
    return Strip([Segment(text, style(look, ground)) for text, look in fitted(line, width) if text], width)


class Lines(Widget):
    """Draws the lines that ``drawn`` gives for its size; ``redraw`` shows what changed, and only that."""

    DEFAULT_CSS = """
    Lines { height: 1; width: 1fr; }
    """
    ground: str | None = None
    _lines: Sequence[Line] = ()

    @property
    def palette(self) -> Palette:
        """The colours of the app that this is part of."""
        palette: Palette = self.app.palette  # type: ignore[attr-defined]
        return palette

    def drawn(self, width: int, height: int) -> Sequence[Line]:
        """The lines to show; at most ``height`` of them are."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw anew, and repaint if it looks different."""
        if not self.is_attached or not self.size.width:
            return
        lines = self.drawn(self.size.width, self.size.height)
        if lines != self._lines:
            self._lines = lines
            self.refresh()

    def on_resize(self) -> None:
        """Another size, another drawing."""
        self._lines = ()
        self.redraw()

    def repaint(self) -> None:
        """The colours changed."""
        self.redraw()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        width = self.size.width
        if y >= len(self._lines):
            return Strip.blank(width, self.palette.style("text", self.ground))
        return strip_of(self._lines[y], width, self.palette, self.ground)
