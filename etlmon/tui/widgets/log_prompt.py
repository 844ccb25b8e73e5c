"""The one input of the log room: it stands in the place of the filters' line while something is typed."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input

from etlmon.tui.drawing.spans import Line, Span
from etlmon.tui.widgets.lines import Lines

LABELS = {"&": "only lines with", "|": "without lines with", "/": "find", "s": "save to"}
HELP = {"&": 'words, "two words"', "|": 'words, "two words"', "/": "any text", "s": "a file that is not there yet"}


class _Label(Lines):
    """What is being typed."""

    kind = "/"

    def drawn(self, width: int, height: int) -> list[Line]:
        """The sign and the word."""
        sign = "" if self.kind == "s" else f" {self.kind}"
        return [[Span(sign, "accent bold"), Span(f" {LABELS[self.kind]} ", "muted")]]


class LogPrompt(Horizontal):
    """Shown by ``ask``; tells each change, then whether it holds. What was there before comes back on escape."""

    DEFAULT_CSS = """
    LogPrompt { height: 1; display: none; }
    LogPrompt _Label { width: auto; }
    LogPrompt Input { height: 1; width: 1fr; border: none; padding: 0; background: $background; }
    LogPrompt Input:focus { border: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "as it was", id="logs.prompt.leave", show=False),
    ]

    class Typed(Message):
        """The text changed; with ``done`` it holds. ``kind`` is ``&``, ``|``, ``/`` or ``s``."""

        def __init__(self, kind: str, text: str, *, done: bool) -> None:
            super().__init__()
            self.kind, self.text, self.done = kind, text, done

    class Left(Message):
        """The prompt is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.kind = "/"
        self._before = ""

    def compose(self) -> ComposeResult:
        """Label and input."""
        yield _Label()
        field = Input(compact=True, select_on_focus=False)
        field.cursor_blink = False
        yield field

    def ask(self, kind: str, text: str) -> None:
        """Let ``text`` be changed."""
        self.kind, self._before = kind, text
        label, field = self.query_one(_Label), self.query_one(Input)
        label.kind = kind
        label.styles.width = len(LABELS[kind]) + (2 if kind == "s" else 4)
        with self.prevent(Input.Changed):
            field.value = text
        field.placeholder = HELP[kind]
        field.cursor_position = len(text)
        self.display = True
        label.redraw()
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """At each key."""
        event.stop()
        if self.display and self.kind != "s":
            self.post_message(self.Typed(self.kind, event.value, done=False))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter."""
        event.stop()
        self.post_message(self.Typed(self.kind, event.value, done=True))
        if self.kind != "s":
            self.close()

    def action_leave(self) -> None:
        """Escape."""
        if self.kind != "s":
            self.post_message(self.Typed(self.kind, self._before, done=True))
        self.close()

    def close(self) -> None:
        """Give the line back."""
        self.display = False
        self.post_message(self.Left())
