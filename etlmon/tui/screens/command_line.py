"""The ``:`` line, in row 3: type a command, with the rest of it suggested."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widgets import Input

from etlmon.tui import commands
from etlmon.tui.drawing.spans import Line, Span
from etlmon.tui.widgets.dialog import Block, field

if TYPE_CHECKING:
    from etlmon.tui.app import Console

ROW = 2
"""The line of the screen that it takes: row 3, where the filter stands."""
MOST_PAST = 100


class CommandScreen(ModalScreen[None]):
    """Stands over the screen that it was called from; what is under it goes on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave", id="command.leave"),
        Binding("tab", "complete", "complete", id="command.complete", priority=True),
        Binding("up", "past(1)", "command before", id="command.up"),
        Binding("down", "past(-1)", "next command", id="command.down"),
    ]
    DEFAULT_CSS = """
    CommandScreen #bar { margin-top: 2; height: 2; background: $background; }
    CommandScreen Horizontal { height: 1; }
    CommandScreen .field { width: 1fr; height: 1; border: none; padding: 0; background: $background; }
    """

    def __init__(self, past: list[str], offers: Iterable[str], *, start: str = "", fault: str = "") -> None:
        super().__init__()
        self.past = past
        self._back = 0
        self._start = start
        self._fault = fault
        self._offers = list(offers)

    @property
    def console(self) -> Console:
        """The app."""
        return self.app  # type: ignore[return-value]

    def compose(self) -> ComposeResult:
        """The line, and under it what may be typed."""
        with Vertical(id="bar"):
            with Horizontal():
                prompt = Block([[Span(" :", "accent bold")]])
                prompt.ground = None
                prompt.styles.width = 2
                yield prompt
                typing = field(id="command")
                typing.suggester = SuggestFromList(self._offers, case_sensitive=True)
                typing.value = self._start
                yield typing
            told = Block([_refusal(self._fault) if self._fault else _told(self._start)], id="told")
            told.ground = None
            yield told

    def on_mount(self) -> None:
        """Nothing is dimmed: this is a line, not a dialog."""
        self.styles.background = "transparent"

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        if event.value != self._start:
            self._fault = ""
        if not self._fault:
            self.query_one("#told", Block).say([_told(event.value)])

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        if not text:
            self.dismiss(None)
            return
        found = commands.parsed(text)
        if isinstance(found, str):
            self.query_one("#told", Block).say([_refusal(found)])
            return
        if text not in self.past[:1]:
            self.past.insert(0, text)
            del self.past[MOST_PAST:]
        console = self.console
        self.dismiss(None)
        console.call_later(run_line, console, text)

    def action_leave(self) -> None:
        """Away, with nothing done."""
        self.dismiss(None)

    def action_complete(self) -> None:
        """Take the suggestion."""
        self.query_one(Input).action_cursor_right()

    def action_past(self, by: int) -> None:
        """A command typed before."""
        self._back = max(0, min(self._back + by, len(self.past)))
        typing = self.query_one(Input)
        typing.value = self.past[self._back - 1] if self._back else ""
        typing.cursor_position = len(typing.value)


def _told(text: str) -> Line:
    return [Span(f"  {commands.told(text)}", "muted")]


def _refusal(sentence: str) -> Line:
    return [Span(f"  ^ {sentence}", "warn")]


def open_line(console: Console, start: str = "", fault: str = "") -> None:
    """Open the line over the screen on top; with ``start`` typed already, and what is wrong with it."""
    if not console.screen.is_modal:
        offers = commands.lines_for(console)
        console.push_screen(CommandScreen(console.past_commands, offers, start=start, fault=fault))


def run_line(console: Console, text: str) -> None:
    """Do what the line says; where it cannot be done, it is there again with why."""
    sentence = commands.run(console, text)
    if sentence:
        open_line(console, text, sentence)
