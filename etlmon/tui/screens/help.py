"""Help: every key that works where it was asked for. Typing narrows it, enter does what is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Click, Key
from textual.screen import ModalScreen

from etlmon.tui.drawing.spans import Line, Span, spread
from etlmon.tui.keys import Bound, Entry, Sheet, entries, legend, matching, sheet
from etlmon.tui.widgets.dialog import Dialog
from etlmon.tui.widgets.lines import Lines

if TYPE_CHECKING:
    from textual.dom import DOMNode
    from textual.screen import Screen

    from etlmon.tui.app import Console

NOT_TOLD = ("console.jobs", "console.logs", "console.quit", "console.toast")
MOST_WIDE = 132


class Sheets(Lines):
    """The columns of keys, scrolled so that the chosen one is seen."""

    DEFAULT_CSS = "Sheets { height: 1fr; }"
    ground = "dialog"
    top = 0
    more = 0
    """Lines below those in sight."""

    def drawn(self, width: int, height: int) -> Sequence[Line]:
        """The lines in sight."""
        screen: HelpScreen = self.screen  # type: ignore[assignment]
        made = screen.sheet_for(width)
        if screen.chosen is not None and screen.chosen in made.order:
            y = made.places[made.order.index(screen.chosen)][0]
            self.top = min(max(self.top, y - height + 1), max(0, y - 1))
        self.top = max(0, min(self.top, len(made.lines) - height))
        self.more = max(0, len(made.lines) - self.top - height)
        return made.lines[self.top : self.top + height]

    def on_click(self, event: Click) -> None:
        """A click runs what it is on."""
        screen: HelpScreen = self.screen  # type: ignore[assignment]
        made = screen.sheet_for(self.size.width)
        n = 3 if self.size.width >= 100 else 2
        place = (self.top + event.y, min(n - 1, event.x // (self.size.width // n)))
        if place in made.places:
            screen.dismiss(made.order[made.places.index(place)].number)


class Foot(Lines):
    """What was typed, or how to use this; then what the glyphs mean."""

    DEFAULT_CSS = "Foot { height: 3; }"
    ground = "dialog"

    def drawn(self, width: int, height: int) -> Sequence[Line]:
        """A blank, the typed words, the glyphs."""
        screen: HelpScreen = self.screen  # type: ignore[assignment]
        ascii_only = bool(getattr(self.app, "ascii", False))
        dot = "-" if ascii_only else "·"
        if screen.typed:
            none = "" if screen.found else "   no key does that"
            left: Line = [Span("  find ", "muted"), Span(screen.typed, "accent bold"), Span(none, "warn")]
            right = [Span(f"enter does it {dot} esc shows all ", "muted")]
        else:
            left, right = (
                [Span(f"  type to find {dot} arrows choose {dot} enter does it {dot} esc closes", "muted")],
                [],
            )
        more = screen.query_one(Sheets).more
        below = [Span(f"{more} more lines below ", "muted")] if more else []
        return [
            spread([], below, width),
            spread(left, right, width),
            [Span("  "), *legend(width - 2, ascii_only=ascii_only)],
        ]


class HelpScreen(ModalScreen[int | None]):
    """Answers with the number of the binding to run, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close", id="help.close"),
        Binding("enter", "run", "do it", id="help.run"),
        Binding("down", "move(1)", "down", id="help.down"),
        Binding("up", "move(-1)", "up", id="help.up"),
        Binding("right,tab", "across(1)", "column right", id="help.right"),
        Binding("left,shift+tab", "across(-1)", "column left", id="help.left"),
        Binding("backspace", "erase", "take a letter back", id="help.erase"),
    ]
    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    """

    def __init__(self, bound: Sequence[Bound], *, ascii_only: bool = False) -> None:
        super().__init__()
        self.ascii_only = ascii_only
        self.all = entries(bound, ascii_only=ascii_only)
        self.found: list[Entry] = self.all
        self.typed = ""
        self.chosen: Entry | None = None

    def compose(self) -> ComposeResult:
        """The box of keys."""
        with Dialog("Keys"):
            yield Sheets()
            yield Foot()

    def on_mount(self) -> None:
        """As large as it has to be."""
        self._fit()

    def on_resize(self) -> None:
        """Another size."""
        self._fit()
        self.call_after_refresh(self._redraw)

    def _fit(self) -> None:
        columns, rows = self.app.size
        width = min(MOST_WIDE, columns)
        dialog = self.query_one(Dialog)
        dialog.styles.width = width
        lines = len(sheet(self.all, width - 4, ascii_only=self.ascii_only).lines)
        dialog.styles.height = min(rows, lines + 5)

    def sheet_for(self, width: int) -> Sheet:
        """The columns at this width."""
        return sheet(self.found, width, chosen=self.chosen, ascii_only=self.ascii_only)

    def _redraw(self) -> None:
        for line in self.query(Lines):
            line.redraw()

    def on_key(self, event: Key) -> None:
        """Letters narrow the list; ``q`` closes it where nothing was typed yet."""
        if event.character is None or not event.is_printable:
            return
        event.stop()
        if event.character == "q" and not self.typed:
            self.dismiss(None)
            return
        self._type(self.typed + event.character)

    def _type(self, text: str) -> None:
        self.typed = text.lstrip()[:40]
        self.found = matching(self.all, self.typed)
        order = self.sheet_for(self.query_one(Sheets).size.width).order
        self.chosen = order[0] if self.typed and order else None
        self._redraw()

    def action_erase(self) -> None:
        """Take the last letter back."""
        self._type(self.typed[:-1])

    def action_close(self) -> None:
        """All keys again, or away."""
        if self.typed:
            self._type("")
        else:
            self.dismiss(None)

    def action_run(self) -> None:
        """Do what is chosen."""
        if self.chosen is not None:
            self.dismiss(self.chosen.number)

    def action_move(self, by: int) -> None:
        """The next line or the one before."""
        order = self.sheet_for(self.query_one(Sheets).size.width).order
        if order:
            at = order.index(self.chosen) + by if self.chosen in order else 0
            self.chosen = order[at % len(order)]
            self._redraw()

    def action_across(self, by: int) -> None:
        """The column beside, at the same height."""
        made = self.sheet_for(self.query_one(Sheets).size.width)
        if self.chosen is None or self.chosen not in made.order:
            self.action_move(1)
            return
        y, x = made.places[made.order.index(self.chosen)]
        columns = sorted({column for _, column in made.places})
        wanted = columns[(columns.index(x) + by) % len(columns)]
        near = min((place for place in made.places if place[1] == wanted), key=lambda place: abs(place[0] - y))
        self.chosen = made.order[made.places.index(near)]
        self._redraw()


def open_help(console: Console) -> None:
    """Show the keys of the screen on top and of what has its focus; run the one that is chosen."""
    screen: Screen[object] = console.screen
    if screen.is_modal:
        return
    bound: list[Bound] = []
    actions: list[tuple[str, DOMNode]] = []
    for active in screen.active_bindings.values():
        binding = active.binding
        named = binding.id or ("console.palette" if binding.action == "command_palette" else "")
        word = binding.description or binding.tooltip
        if named and word and named not in NOT_TOLD and active.enabled:
            bound.append(Bound(binding.key, word.lower() if named == "console.palette" else word, named, len(actions)))
            actions.append((binding.action, active.node))

    async def chosen(number: int | None) -> None:
        if number is not None:
            action, node = actions[number]
            await console.run_action(action, default_namespace=node)

    console.push_screen(HelpScreen(bound, ascii_only=console.ascii), chosen)
