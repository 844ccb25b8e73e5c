"""The question before several jobs are acted on, or one is cancelled. It shows what will happen and to whom."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import ModalScreen
from textual.widgets import Input

from etlmon.tui.drawing.spans import Span, width_of
from etlmon.tui.steering.lines import Question
from etlmon.tui.widgets.dialog import Block, Choice, Dialog, field

REASON = "Reason "
MAX_REASON = 2000
RING = ("safe", "reason", "typed", "act")
"""In which order tab moves."""


class Answer(msgspec.Struct, frozen=True):
    """Do it, for this reason."""

    reason: str | None = None


class ConfirmScreen(ModalScreen[Answer | None]):
    """Answers with ``Answer``, or with None when all is to be left as it is."""

    AUTO_FOCUS = "#safe"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "act", "do it", id="confirm.yes"),
        Binding("n,escape", "keep", "leave them", id="confirm.no"),
        Binding("tab", "turn(1)", "next", id="confirm.next", show=False),
        Binding("shift+tab", "turn(-1)", "before", id="confirm.before", show=False),
        Binding("down", "app.focus_next", "down", id="confirm.down", show=False),
        Binding("up", "app.focus_previous", "up", id="confirm.up", show=False),
        Binding("left,right", "other", "the other answer", id="confirm.other", show=False),
    ]
    DEFAULT_CSS = """
    ConfirmScreen { align: center middle; }
    ConfirmScreen Horizontal { height: 1; }
    ConfirmScreen .label { width: auto; }
    ConfirmScreen .field { width: 1fr; border: none; padding: 0; height: 1; background: $panel; }
    ConfirmScreen #act { margin-left: 4; }
    """

    def __init__(self, question: Question) -> None:
        super().__init__()
        self.question = question
        self.words = question.words

    def compose(self) -> ComposeResult:
        """The dialog."""
        question, said = self.question, self.words
        with Dialog(said.title, role=question.role):
            yield Block(question.asked, classes="block")
            if question.left:
                yield Block(question.left, classes="block")
            if question.wants_reason:
                with Horizontal(classes="block"):
                    yield _label(REASON)
                    yield field(id="reason", placeholder="optional; everybody sees it")
            if said.typed:
                with Horizontal(classes="block"):
                    yield _label(f"{said.typed} ")
                    yield field(id="typed")
            with Horizontal(classes="block"):
                yield Choice(said.safe, id="safe")
                yield Choice(said.act, role=question.role, id="act")
            yield Block([[Span(self._hint(), "muted")]], id="hint", classes="block")

    def _hint(self) -> str:
        dot = " - " if getattr(self.app, "ascii", False) else " · "
        return dot.join(("tab moves", "enter chooses", self.words.hint))

    def on_mount(self) -> None:
        """As wide as what it says."""
        self._fit()

    def on_resize(self) -> None:
        """Another size."""
        self._fit()

    def _fit(self) -> None:
        dialog = self.query_one(Dialog)
        blocks = list(self.query(Block))
        choices = width_of(self.words.safe) + width_of(self.words.act) + 14
        widest = max([choices, 46, *(block.widest for block in blocks if "label" not in block.classes)])
        parts = [each for each in dialog.children if each.has_class("block")]
        lines = sum(len(block.drawn(0, 0)) for block in blocks if "label" not in block.classes)
        dialog.fit(widest, lines + 3 * len(parts) + 3)

    # -- moving

    def action_turn(self, by: int) -> None:
        """Round from the safe answer over what may be typed to the other one: a reason comes before the deed."""
        ring = [each for name in RING for each in self.query(f"#{name}")]
        at = ring.index(self.focused) if self.focused in ring else 0
        ring[(at + by) % len(ring)].focus()

    def action_other(self) -> None:
        """From one answer to the other."""
        safe, act = self.query_one("#safe"), self.query_one("#act")
        (act if safe.has_focus else safe).focus()

    # -- answers

    @property
    def may_act(self) -> bool:
        """Whether what has to be typed was typed."""
        wanted = self.question.must_type
        return not wanted or self.query_one("#typed", Input).value.strip().replace(",", "") == wanted

    def action_act(self) -> None:
        """Do it."""
        if not self.may_act:
            self.query_one("#hint", Block).say([[Span(f"{self.words.typed} first", "warn bold")]])
            self.query_one("#typed").focus()
            return
        fields = self.query("#reason").results(Input)
        reason = next((each.value.strip()[:MAX_REASON] for each in fields), "")
        self.dismiss(Answer(reason or None))

    def action_keep(self) -> None:
        """Leave the jobs as they are."""
        self.dismiss(None)

    @on(Choice.Chosen, "#safe")
    def _safe(self) -> None:
        self.action_keep()

    @on(Choice.Chosen, "#act")
    def _act(self) -> None:
        self.action_act()

    @on(Input.Submitted)
    def _typed_on(self) -> None:
        self.action_turn(1)


def _label(text: str) -> Block:
    label = Block([[Span(text, "muted")]], classes="label")
    label.styles.width = width_of(text)
    return label
