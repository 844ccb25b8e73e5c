"""The toasts on a screen: over the body, never in the way of a key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.events import Click
from textual.geometry import Offset

from etlmon.tui.drawing.spans import Line
from etlmon.tui.toasts import WIDTH, Notice, more_line, toast_lines
from etlmon.tui.widgets.jobs_table import JobsTable
from etlmon.tui.widgets.lines import Lines

if TYPE_CHECKING:
    from etlmon.tui.app import Console

ABOVE, BELOW = 4, 1
"""Lines that stay free: the frame's rows and the table's header, the hints."""


class Rack(Lines):
    """Draws the toasts that last; bottom right, or top right while the table's cursor is low."""

    DEFAULT_CSS = """
    Rack { display: none; position: absolute; overlay: screen; width: 46; height: 2; }
    """
    ground = "dialog"

    def __init__(self) -> None:
        super().__init__()
        self._owners: list[int | None] = []

    @property
    def console(self) -> Console:
        """The app."""
        return self.app  # type: ignore[return-value]

    def show_now(self, now: int) -> None:
        """Draw what is to be seen at this instant."""
        notices, more = self.console.toasts.shown(now)
        if not notices:
            self.display = False
            return
        width = min(WIDTH, self.app.size.width)
        lines, self._owners = _stacked(notices, more, width, ascii_only=self.console.ascii)
        if lines == self._lines and self.display:
            self._place(width, len(lines))
            return
        self._lines = lines
        self._place(width, len(lines))
        self.display = True
        self.refresh()

    def _place(self, width: int, height: int) -> None:
        columns, rows = self.app.size
        top = ABOVE if self._cursor_is_low() else max(0, rows - BELOW - height)
        offset = Offset(columns - width, top)
        if self.styles.width is None or self.styles.width.value != width:
            self.styles.width = width
        if self.styles.height is None or self.styles.height.value != height:
            self.styles.height = height
        if self._at != offset:
            self._at = offset
            self.styles.offset = offset

    _at: Offset | None = None

    def _cursor_is_low(self) -> bool:
        """Whether the table's cursor stands in the lower third, where the toasts would cover it."""
        for table in self.screen.query(JobsTable):
            at = table.state.place.get(table.cursor or "")
            if at is not None and table.display:
                return at - table.scroll_offset.y >= table.body_height * 2 / 3
        return False

    def drawn(self, width: int, height: int) -> Sequence[Line]:
        """What was drawn last; ``show_now`` draws."""
        return self._lines

    def on_resize(self) -> None:
        """Another size: the next flush places the toasts."""
        self.refresh()

    def on_click(self, event: Click) -> None:
        """A click takes that toast away."""
        event.stop()
        owner = self._owners[event.y] if event.y < len(self._owners) else None
        if owner is not None:
            self.console.toasts.dismiss(owner)
            self.show_now(self.console.local_now())


def _stacked(
    notices: Sequence[Notice], more: int, width: int, *, ascii_only: bool
) -> tuple[list[Line], list[int | None]]:
    """The lines of all toasts, and whose each of them is."""
    lines: list[Line] = []
    owners: list[int | None] = []
    for notice in notices:
        drawn = toast_lines(notice, width, ascii_only=ascii_only)
        lines += drawn
        owners += [notice.id] * len(drawn)
    if more:
        lines.append(more_line(more, width, ascii_only=ascii_only))
        owners.append(None)
    return lines, owners


def show_toasts(console: Console) -> None:
    """Show the toasts that last on the screen that is on top, and on no other."""
    now = console.local_now()
    for screen in console.screen_stack:
        if not screen.is_mounted:
            continue
        on_top = screen is console.screen
        racks = screen.query(Rack)
        for rack in racks:
            if on_top:
                rack.show_now(now)
            else:
                rack.display = False
        if on_top and not racks and console.toasts.shown(now)[0]:
            screen.mount(Rack())
