"""The queued jobs as a list with a cursor: drawn whole lines, only those in sight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.message import Message
from textual.strip import Strip

from etlmon.tui import chrome
from etlmon.tui.drawing.spans import Line, Span
from etlmon.tui.queue import lines as queue_lines
from etlmon.tui.queue.state import QueueState
from etlmon.tui.widgets.frame_lines import FrameLine
from etlmon.tui.widgets.lines import strip_of


class QueueList(FrameLine, can_focus=True):
    """Header and rows; the row under the cursor keeps in sight."""

    DEFAULT_CSS = "QueueList { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "down", id="queue.down", show=False),
        Binding("up,k", "move(-1)", "up", id="queue.up", show=False),
        Binding("pagedown", "page(1)", "page down", id="queue.page_down", show=False),
        Binding("pageup", "page(-1)", "page up", id="queue.page_up", show=False),
        Binding("home,g", "edge(-1)", "top", id="queue.top", show=False),
        Binding("end,G", "edge(1)", "end", id="queue.end", show=False),
        Binding("enter", "open", "open the job", id="queue.open"),
    ]

    class Opened(Message):
        """A job is to be opened."""

        def __init__(self, job_id: str) -> None:
            self.job_id = job_id
            super().__init__()

    def __init__(self, state: QueueState) -> None:
        super().__init__()
        self.state = state
        self._top = 0
        self._here = -1
        """The line of the screen that the cursor is on."""

    def drawn(self, width: int, height: int) -> Sequence[Line]:
        """The titles and the jobs in sight; a sentence when none waits."""
        state, jobs, scene = self.state, self.console.jobs.jobs, self.console.scene
        self._here = -1
        if not state.order:
            return self._nothing(width, height)
        room = max(1, height - 1)
        at = state.order.index(state.cursor) if state.cursor in state.order else 0
        self._top = max(0, min(max(at - room + 1, min(self._top, at)), len(state.order) - room))
        self._here = at - self._top + 1
        nth, away = state.nth(jobs, scene.now), self.console.link.is_away
        names = len(state.standing.names) if state.standing is not None else 1
        out: list[Line] = [queue_lines.header(width)]
        for n, job_id in enumerate(state.order[self._top : self._top + room], 1):
            live = jobs.get(job_id)
            row = [] if live is None else queue_lines.row(live, jobs, nth.get(job_id), names, scene, width)
            if away:
                row = [Span(span.text, "muted") for span in row]
            bar = (">" if scene.ascii else "▌") if n == self._here else " "
            out.append([Span(f"{bar} ", "accent"), *row])
        return out

    def _nothing(self, width: int, height: int) -> Sequence[Line]:
        if not self.console.feed.has_list:
            return chrome.middle(self.console.link.connecting_lines(self.console.local_now()), width, height)
        return chrome.middle(("No job waits.", "Try: :submit   or: etlmon jobs submit NAME"), width, height)

    def render_line(self, y: int) -> Strip:
        """One line; the one with the cursor on its own ground."""
        if y == self._here and y < len(self._lines):
            return strip_of(self._lines[y], self.size.width, self.palette, "cursor")
        return super().render_line(y)

    # -- moving

    def _moved(self, by: int) -> None:
        self.state.touch(self.console.now())
        self.state.move(by)
        self.redraw()
        self.refresh()

    def action_move(self, by: int) -> None:
        """Up or down."""
        self._moved(by)

    def action_page(self, by: int) -> None:
        """A screen up or down."""
        self._moved(by * max(1, self.size.height - 2))

    def action_edge(self, by: int) -> None:
        """The first job or the last."""
        self._moved(by * len(self.state.order))

    def action_open(self) -> None:
        """Open the job under the cursor."""
        if self.state.cursor is not None:
            self.post_message(self.Opened(self.state.cursor))

    def on_click(self, event: Click) -> None:
        """A click chooses a row, a second one opens it."""
        at = self._top + event.y - 1
        if event.y < 1 or at >= len(self.state.order):
            return
        was, self.state.cursor = self.state.cursor, self.state.order[at]
        if event.chain > 1 and was == self.state.cursor:
            self.action_open()
        self._moved(0)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        """The wheel moves the cursor."""
        event.stop()
        self._moved(3)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        """The wheel moves the cursor."""
        event.stop()
        self._moved(-3)
