"""The input for a filter in row 3. Imported when somebody first types: the first paint does without it."""

from __future__ import annotations

from collections.abc import Callable

from textual.widgets import Input


class FilterField(Input):
    """Tells ``typed`` after every change, and ``done`` on enter."""

    DEFAULT_CSS = """
    FilterField { height: 1; border: none; padding: 0 1; background: $background; }
    FilterField:focus { border: none; background: $background; }
    """

    def __init__(self, value: str, *, typed: Callable[[str], None], done: Callable[[], None], hint: str = "") -> None:
        super().__init__(value, placeholder=hint, compact=True, id="filter")
        self.cursor_blink = False
        self._typed = typed
        self._done = done

    def on_input_changed(self, event: Input.Changed) -> None:
        """Pass on what is typed."""
        event.stop()
        self._typed(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter."""
        event.stop()
        self._done()
