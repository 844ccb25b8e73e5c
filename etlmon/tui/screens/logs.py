"""The Logs tab: the log room in the frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from etlmon.tui.screens.frame import FrameScreen, TooSmall
from etlmon.tui.widgets.frame_lines import CountsLine, HintLine, TopLine
from etlmon.tui.widgets.logs_pane import LogsPane

HINTS = [
    ("f", "follow"),
    ("e E", "errors"),
    ("w W", "warnings"),
    ("/", "find"),
    ("n N", "hits"),
    ("&", "only"),
    ("|", "without"),
    ("0-6", "time"),
    ("enter", "line"),
    ("s", "save"),
    ("y", "copy"),
    ("esc", "back"),
]


class LogsScreen(FrameScreen):
    """The lines of the jobs that were chosen, or of all."""

    TAB: ClassVar[int] = 2
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.leave", "back", id="logs.back", show=False)]

    def __init__(self, job_ids: tuple[str, ...] = (), names: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._job_ids, self._names = job_ids, names or {}

    def compose(self) -> ComposeResult:
        """Two rows of the frame, the room, the keys: row 3 is the room's own."""
        yield TopLine()
        yield CountsLine()
        yield from self.compose_body()
        yield HintLine()
        yield TooSmall()

    def compose_body(self) -> ComposeResult:
        """The room."""
        yield LogsPane(job_ids=self._job_ids, names=self._names)

    @property
    def pane(self) -> LogsPane:
        """The room."""
        return self.query_one(LogsPane)

    def on_mount(self) -> None:
        """The keys are the lines'."""
        self.pane.view.focus()

    def follow_jobs(self, job_ids: tuple[str, ...], names: Mapping[str, str]) -> None:
        """Show these jobs' lines instead; none named: every job's."""
        self._job_ids, self._names = job_ids, names
        if self.is_mounted:
            self.pane.follow_jobs(job_ids, names)

    def hints(self) -> list[tuple[str, str]]:
        """The keys of the room."""
        return list(HINTS)
