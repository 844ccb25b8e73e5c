"""Entering a token where the server wants one. It is kept in this process's memory, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import ModalScreen
from textual.widgets import Input

from etlmon.core.errors import EtlmonError
from etlmon.core.text import shown
from etlmon.tui.drawing.spans import Span
from etlmon.tui.widgets.dialog import Block, Choice, Dialog, field

if TYPE_CHECKING:
    from etlmon.client.rest import Client
    from etlmon.tui.app import Console


class TokenScreen(ModalScreen[str | None]):
    """Answers with the token, or None."""

    AUTO_FOCUS = "#token"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave", id="token.leave"),
        Binding("down", "app.focus_next", "next", id="token.next", show=False),
        Binding("up", "app.focus_previous", "before", id="token.before", show=False),
    ]
    DEFAULT_CSS = """
    TokenScreen { align: center middle; }
    TokenScreen Horizontal { height: 1; }
    TokenScreen .label { width: 6; }
    TokenScreen .field { width: 1fr; border: none; padding: 0; height: 1; background: $panel; }
    TokenScreen #use { margin-left: 4; }
    """

    def __init__(self, server: str) -> None:
        super().__init__()
        self.server = server

    def compose(self) -> ComposeResult:
        """What is wanted, the input, the choices."""
        with Dialog("Token"):
            told = [
                [Span(f"A token for {self.server}", "text bold")],
                [Span("It is kept in memory until this console closes.", "muted")],
                [Span("An admin makes one:", "muted")],
                [Span("  etlmon tokens create --role operator --name ana", "accent")],
            ]
            yield Block(told, classes="block")
            with Horizontal(classes="block"):
                yield Block([[Span("Token ", "muted")]], classes="label")
                yield field(id="token", password=True, placeholder="etl_…")
            with Horizontal(classes="block"):
                yield Choice("Leave it", id="leave")
                yield Choice("Use the token", id="use")
            yield Block([[Span("enter uses it · esc leaves it", "muted")]], id="hint", classes="block")

    def on_mount(self) -> None:
        """As wide as what it says."""
        self.query_one(Dialog).fit(52, 16)

    def action_leave(self) -> None:
        """Without a token."""
        self.dismiss(None)

    @on(Choice.Chosen, "#leave")
    def _left(self) -> None:
        self.dismiss(None)

    @on(Choice.Chosen, "#use")
    @on(Input.Submitted)
    def _used(self) -> None:
        token = self.query_one("#token", Input).value.strip()
        if token.isascii() and token.isprintable() and token and " " not in token and len(token) <= 512:
            self.dismiss(token)
            return
        sentence = "That is no token: it has letters that no token has." if token else "Paste the token first."
        self.query_one("#hint", Block).say([[Span(sentence, "warn bold")]])
        self.query_one("#token").focus()


def enter_token(console: Console) -> None:
    """Ask for a token, take it, and try the server again."""

    async def entered(token: str | None) -> None:
        if token is None:
            return
        console.door.use_token(token)
        try:
            await console.rest.ask(_hang_up)
        except EtlmonError as fault:
            console.toast("The token was not taken", shown(fault.detail), "fail")
            return
        console.action_reconnect()

    console.push_screen(TokenScreen(console.link.server or console.link.url), entered)


def _hang_up(client: Client) -> None:
    """The next question connects anew, with the token of then."""
    client.close()
