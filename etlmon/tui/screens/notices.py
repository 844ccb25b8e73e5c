"""Every notice of this console, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from etlmon.tui.drawing import figures
from etlmon.tui.drawing.spans import Line, Span, spread
from etlmon.tui.screens.frame import FrameScreen
from etlmon.tui.toasts import KEPT, notice_lines
from etlmon.tui.widgets.frame_lines import FrameLine, HintLine
from etlmon.tui.widgets.line_scroll import LineScroll


class NoticesTitle(FrameLine):
    """How many there are."""

    DEFAULT_CSS = "NoticesTitle { height: 2; }"

    def drawn(self, width: int, height: int) -> Sequence[Line]:
        """Row 1, and a blank one."""
        console = self.console
        n = len(console.toasts.history)
        told = f"the newest {KEPT:,}" if n == KEPT else "since this console opened"
        right: Line = [Span(f"{figures.clock(console.local_now(), console.zone)} ", "muted")]
        left = [Span(" Notices", "text bold"), Span(f"  {n:,}", "accent"), Span(f"  {told}", "muted")]
        return [spread(left, right, width)]


class NoticesScreen(FrameScreen):
    """What was told in passing, to be read at leisure."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "app.leave", "back", id="notices.back"),
        Binding("c", "clear", "clear", id="notices.clear"),
    ]

    def compose(self) -> ComposeResult:
        """Title, notices, keys."""
        yield NoticesTitle()
        yield LineScroll(id="notices")
        yield HintLine()

    def on_mount(self) -> None:
        """Toasts have been seen by opening their list."""
        self.console.toasts.dismiss()
        body = self.query_one(LineScroll)
        body.focus()
        self.call_after_refresh(self._draw)

    def on_resize(self) -> None:
        """Another width, other breaks."""
        self.call_after_refresh(self._draw)

    def tick(self, now: int) -> None:
        """News come in."""
        self._draw()

    def _draw(self) -> None:
        body, console = self.query_one(LineScroll), self.console
        if not body.size.width:
            return
        lines: list[Line] = []
        for notice in reversed(console.toasts.history):
            clock = figures.clock(notice.at, console.zone)
            lines += notice_lines(notice, body.size.width, clock, ascii_only=console.ascii)
        body.show(lines or [[Span("  Nothing was told yet.", "muted")]])

    def action_clear(self) -> None:
        """Forget them all."""
        self.console.toasts.history.clear()
        self._draw()
        self.redraw_frame()

    def hints(self) -> list[tuple[str, str]]:
        """Keys."""
        return [("esc", "back"), ("c", "clear")]
