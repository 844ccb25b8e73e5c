"""Submitting a job: the name of a definition and, if wanted, another priority."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widgets import Input

from etlmon.tui.drawing.spans import Span
from etlmon.tui.steering.submit import OFFERED, Order, offers, order_of
from etlmon.tui.widgets.dialog import Block, Choice, Dialog, field

if TYPE_CHECKING:
    from etlmon.tui.app import Console

WIDE = 60
HINT = "enter submits · esc leaves it"


class SubmitScreen(ModalScreen[Order | None]):
    """Answers with what is to be queued, or None."""

    AUTO_FOCUS = "#name"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave it", id="submit.leave"),
        Binding("down", "app.focus_next", "next", id="submit.next", show=False),
        Binding("up", "app.focus_previous", "before", id="submit.before", show=False),
    ]
    DEFAULT_CSS = """
    SubmitScreen { align: center middle; }
    SubmitScreen Horizontal { height: 1; }
    SubmitScreen .label { width: 9; }
    SubmitScreen .field { width: 1fr; border: none; padding: 0; height: 1; background: $panel; }
    SubmitScreen #submit { margin-left: 4; }
    """

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self._start = name

    @property
    def console(self) -> Console:
        """The app."""
        return self.app  # type: ignore[return-value]

    def compose(self) -> ComposeResult:
        """The name with what may be named, the priority, the choices."""
        with Dialog("Submit a job"):
            with Horizontal(classes="block"):
                yield Block([[Span("Name ", "muted")]], classes="label")
                name = field(id="name", placeholder="of a definition")
                name.value = self._start
                yield name
            yield Block([], id="offers", classes="block")
            with Horizontal(classes="block"):
                yield Block([[Span("Priority ", "muted")]], classes="label")
                yield field(id="priority", placeholder="the definition's own")
            with Horizontal(classes="block"):
                yield Choice("Leave it", id="leave")
                yield Choice("Submit the job", id="submit")
            yield Block([[Span(HINT, "muted")]], id="hint", classes="block")

    def on_mount(self) -> None:
        """Offer what is known, and read it anew."""
        self.query_one(Dialog).fit(WIDE, OFFERED + 14)
        self.offer()
        self.run_worker(self._read(), name="definitions", exit_on_error=False)

    async def _read(self) -> None:
        await self.console.read_definitions()
        if self.is_attached:
            self.offer()

    def offer(self) -> None:
        """The definitions that hold what was typed."""
        known, name = self.console.queue.definitions, self.query_one("#name", Input)
        name.suggester = SuggestFromList([each.name for each in known if each.startable])
        self.query_one("#offers", Block).say(offers(name.value, known, WIDE))

    @on(Input.Changed, "#name")
    def _typed(self) -> None:
        self.offer()

    @on(Choice.Chosen, "#leave")
    def action_leave(self) -> None:
        """Nothing is queued."""
        self.dismiss(None)

    @on(Choice.Chosen, "#submit")
    @on(Input.Submitted)
    def _submitted(self) -> None:
        name, priority = (self.query_one(each, Input).value for each in ("#name", "#priority"))
        order = order_of(name, priority, self.console.queue.definitions)
        if isinstance(order, str):
            self.query_one("#hint", Block).say([[Span(order, "warn bold")]])
            return
        self.dismiss(order)
