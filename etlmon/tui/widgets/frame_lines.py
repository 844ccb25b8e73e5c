"""The lines of the frame as widgets: each asks the app what to say, and draws it through ``chrome``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from etlmon.tui import chrome
from etlmon.tui.drawing import figures
from etlmon.tui.drawing.spans import Line
from etlmon.tui.widgets.lines import Lines

if TYPE_CHECKING:
    from etlmon.tui.app import Console
    from etlmon.tui.screens.frame import FrameScreen


class FrameLine(Lines):
    """A line of the frame: knows the app and the screen that it is part of."""

    @property
    def console(self) -> Console:
        """The app."""
        return self.app  # type: ignore[return-value]

    @property
    def frame(self) -> FrameScreen:
        """The screen."""
        return self.screen  # type: ignore[return-value]


class TopLine(FrameLine):
    """Server, tabs, the state of the connection, the clock."""

    def drawn(self, width: int, height: int) -> Sequence[Line]:
        """Row 1."""
        app = self.console
        line = chrome.top_line(
            width,
            server=app.link.server,
            tabs=app.tabs(),
            here=self.frame.TAB,
            pill=app.link.pill(app.local_now()),
            clock=figures.clock(app.local_now(), app.zone),
        )
        return [line]

    def on_click(self, event: object) -> None:
        """A click on a tab goes there."""
        text = "".join(span.text for span in self._lines[0]) if self._lines else ""
        x = getattr(event, "x", 0)
        for tab in self.console.tabs():
            at = text.find(f"  {tab.digit} ")
            if 0 <= at <= x < at + 4 + len(tab.name):
                self.console.action_tab(tab.digit)
                return


class CountsLine(FrameLine):
    """How many jobs of each kind; rows and lines per second."""

    def drawn(self, width: int, height: int) -> Sequence[Line]:
        """Row 2."""
        app = self.console
        line = chrome.counts_line(
            width,
            app.jobs.counts,
            rows=list(app.feed.rows_per_s),
            lines=list(app.feed.lines_per_s),
            away=app.link.is_away,
            ascii_only=app.ascii,
        )
        return [line]


class ThirdLine(FrameLine):
    """The filter in force, or the banner of trouble."""

    def drawn(self, width: int, height: int) -> Sequence[Line]:
        """Row 3."""
        app = self.console
        banner = app.link.banner(app.local_now(), app.zone)
        if banner is not None:
            return [chrome.banner_line(width, *banner)]
        left, right, look = self.frame.third_line()
        return [chrome.filter_line(width, left, right, look=look)]


class HintLine(FrameLine):
    """The keys that matter here."""

    def drawn(self, width: int, height: int) -> Sequence[Line]:
        """The last row."""
        return [chrome.hint_line(width, self.frame.hints())]
