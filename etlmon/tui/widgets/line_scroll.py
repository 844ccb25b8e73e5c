"""Lines that may be longer than the screen: scrolled, never wrapped here, drawn only where they are seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from etlmon.tui.drawing.palette import Palette
from etlmon.tui.drawing.spans import Line
from etlmon.tui.widgets.lines import strip_of


class LineScroll(ScrollView, can_focus=True):
    """Shows ``lines``; keys of a pager move through them."""

    DEFAULT_CSS = """
    LineScroll { height: 1fr; width: 1fr; scrollbar-size: 0 0; overflow-x: hidden; overflow-y: scroll; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "by(1)", "down", id="pager.down", show=False),
        Binding("up,k", "by(-1)", "up", id="pager.up", show=False),
        Binding("pagedown", "page(1)", "page down", id="pager.page_down", show=False),
        Binding("pageup", "page(-1)", "page up", id="pager.page_up", show=False),
        Binding("home,g", "edge(0)", "top", id="pager.top", show=False),
        Binding("end,G", "edge(1)", "end", id="pager.end", show=False),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: Sequence[Line] = ()

    @property
    def palette(self) -> Palette:
        """The colours of the app."""
        palette: Palette = self.app.palette  # type: ignore[attr-defined]
        return palette

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines; the place stays."""
        if lines == self._lines:
            return
        self._lines = lines
        self.virtual_size = Size(self.size.width, len(lines))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        at = self.scroll_offset.y + y
        line: Line = self._lines[at] if at < len(self._lines) else []
        return strip_of(line, self.size.width, self.palette)

    def _to(self, y: int) -> None:
        self.scroll_to(y=max(0, min(y, len(self._lines) - self.size.height)), animate=False, immediate=True)

    def action_by(self, n: int) -> None:
        """Lines down or up."""
        self._to(self.scroll_offset.y + n)

    def action_page(self, n: int) -> None:
        """A screen down or up."""
        self._to(self.scroll_offset.y + n * max(1, self.size.height - 1))

    def action_edge(self, end: int) -> None:
        """The first line or the last."""
        self._to(len(self._lines) if end else 0)
