"""What the keys of the log room do. A part of ``logs_pane.LogsPane``, apart for its length."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec.structs import replace
from textual.binding import Binding, BindingType
from textual.widget import Widget

from etlmon.core.instants import format_instant
from etlmon.core.text import shown
from etlmon.tui.logs.entry import DEBUG, ERROR, WARNING, Entry, Lanes
from etlmon.tui.logs.filter import typed
from etlmon.tui.logs.heads import Settings
from etlmon.tui.logs.rows import plain_line
from etlmon.tui.logs.saving import default_path, save
from etlmon.tui.logs.state import LogLines

if TYPE_CHECKING:
    from etlmon.tui.app import Console
    from etlmon.tui.widgets.line_scroll import LineScroll
    from etlmon.tui.widgets.log_prompt import LogPrompt
    from etlmon.tui.widgets.log_view import LogView

WINDOWS: tuple[tuple[str, int | None], ...] = (
    ("all", None),
    ("all", None),
    ("1m", 60_000),
    ("5m", 300_000),
    ("15m", 900_000),
    ("30m", 1_800_000),
    ("1h", 3_600_000),
)
"""What the digits choose: 0 the end of all, 1 its beginning, then the last minutes."""
AROUND = (0, 1, 2, 3, 5, 10, 20)
"""The steps of context."""
TIMES = ("clock", "date", "off")
LEVELS = (DEBUG, 20, WARNING, ERROR)
WORD = {WARNING: "warning", ERROR: "error"}


def _digit(digit: int) -> Binding:
    name, ms = WINDOWS[digit]
    told = f"the last {name}" if ms else "all, from the first" if digit else "all, following"
    return Binding(str(digit), f"window({digit})", told, id=f"logs.time_{digit}", show=False)


class LogKeys(Widget):
    """The bindings and their actions."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", "follow", id="logs.follow"),
        Binding("e", f"hop(1, {ERROR})", "next error", id="logs.error"),
        Binding("E", f"hop(-1, {ERROR})", "error before", id="logs.error_before"),
        Binding("w", f"hop(1, {WARNING})", "next warning", id="logs.warning"),
        Binding("W", f"hop(-1, {WARNING})", "warning before", id="logs.warning_before"),
        Binding("slash", "find", "find", id="logs.find"),
        Binding("n", "hit(1)", "next hit", id="logs.hit"),
        Binding("N", "hit(-1)", "hit before", id="logs.hit_before"),
        Binding("ampersand", "only", "only lines with", id="logs.only"),
        Binding("vertical_line", "without", "without lines with", id="logs.without"),
        Binding("ctrl+f", "filters", "filters on or off", id="logs.filters"),
        Binding("v", "level", "level", id="logs.level"),
        *(_digit(digit) for digit in range(len(WINDOWS))),
        Binding("t", "time", "time column", id="logs.time"),
        Binding("ctrl+w", "wrap", "wrap", id="logs.wrap"),
        Binding("enter", "open", "the line in full", id="logs.open"),
        Binding("escape", "close", "close", id="logs.close", show=False),
        Binding("shift+down", "panel(1)", "the panel down", id="logs.panel_down", show=False),
        Binding("shift+up", "panel(-1)", "the panel up", id="logs.panel_up", show=False),
        Binding("s", "save", "save", id="logs.save"),
        Binding("y", "copy", "copy the line", id="logs.copy"),
        Binding("z", "context(1)", "more context", id="logs.context"),
        Binding("Z", "context(-1)", "less context", id="logs.less_context"),
        Binding("m", "mark", "mark", id="logs.mark"),
        Binding("u", "next_mark", "next mark", id="logs.next_mark"),
    ]

    lines: LogLines
    lanes: Lanes
    settings: Settings
    view: LogView
    panel: LineScroll
    prompt: LogPrompt
    window_ms: int | None = None
    seeks: int | None = None
    """The level of an earlier line that is looked for in older pages."""

    if TYPE_CHECKING:

        @property
        def console(self) -> Console: ...
        def wish(self) -> None: ...
        def redraw(self) -> None: ...
        def ask(self, kind: str, text: str) -> None: ...
        def open_panel(self, *, is_open: bool) -> None: ...

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape is left to the screen when nothing here is open."""
        if action == "close":
            return self.is_attached and self.panel.display
        return True

    # Moving

    def action_follow(self) -> None:
        """Follow the end, or stand still."""
        window = self.view.window
        if window.following:
            window.hold()
        else:
            window.follow()
        self.view.moved()

    def action_hop(self, step: int, level: int) -> None:
        """To the next line of a level or the one before; further back than what was read, older lines are read."""
        found = self.lines.hop(self.view.window.cursor, step, level)
        if found is not None:
            self.view.go(found)
        elif step < 0:
            self.seeks = level
            self.wish()
            if not getattr(getattr(self, "_feed", None), "has_older", False):
                self.sought(is_over=True)
        else:
            self.console.toast(f"No {WORD[level]} after this line")

    def sought(self, *, is_over: bool) -> None:
        """Older lines have come: is what was looked for among them?"""
        if self.seeks is None:
            return
        found = self.lines.hop(self.view.window.cursor, -1, self.seeks)
        if found is not None:
            self.seeks = None
            self.view.go(found)
        elif is_over:
            word, self.seeks = WORD[self.seeks], None
            self.console.toast(f"No {word} before this line", f"in the {self.lines.n_lines:,} lines read")

    def action_find(self) -> None:
        """Search."""
        self.ask("/", self.lines.term)

    def action_hit(self, step: int) -> None:
        """The next hit or the one before, going round."""
        if not self.lines.term:
            self.action_find()
            return
        found = self.lines.next_hit(self.view.window.cursor, step)
        if found is None:
            self.console.toast("No hit", shown(self.lines.term))
        else:
            self.view.go(found)

    def to_hit(self) -> None:
        """To the hit that is nearest before the cursor, or the first after it."""
        if not self.lines.term:
            return
        cursor = self.view.window.cursor
        found = self.lines.next_hit(cursor + 1, -1) if self.lines.hit_rank(cursor) else self.lines.next_hit(cursor, 1)
        if found is not None:
            self.view.go(found)

    def action_mark(self) -> None:
        """Mark the line."""
        if self.lines.n_shown:
            self.view.window.hold()
            self.lines.mark(self.view.window.cursor)
            self.view.moved()

    def action_next_mark(self) -> None:
        """The next marked line."""
        found = self.lines.next_mark(self.view.window.cursor)
        if found is None:
            self.console.toast("No line is marked", "m marks the line under the cursor")
        else:
            self.view.go(found)

    # Choosing

    def choose(self, *, around: int | None = None, **changes: Any) -> None:
        """Change the filter; the cursor's line keeps its row."""
        self.lines.choose(replace(self.lines.filter, **changes), around)
        self.view.window.rechosen()
        self.wish()
        self.redraw()

    def action_only(self) -> None:
        """Only lines with some words."""
        self.ask("&", typed(self.lines.filter.words))

    def action_without(self) -> None:
        """No lines with some words."""
        self.ask("|", typed(self.lines.filter.without))

    def action_filters(self) -> None:
        """All filters aside, or in force again."""
        self.choose(on=not self.lines.filter.on)

    def action_level(self) -> None:
        """The next level."""
        level = self.lines.filter.level
        at = LEVELS.index(level) if level in LEVELS else 0
        self.choose(level=LEVELS[(at + 1) % len(LEVELS)], on=True)

    def action_context(self, step: int) -> None:
        """More or fewer lines around each match."""
        at = AROUND.index(self.lines.around) + step
        self.choose(around=AROUND[max(0, min(at, len(AROUND) - 1))])

    def action_window(self, digit: int) -> None:
        """The last minutes, or all."""
        name, self.window_ms = WINDOWS[digit]
        self.settings = replace(self.settings, window=name)
        self.choose(since=None if self.window_ms is None else self.console.now() - self.window_ms)
        if digit == 0:
            self.view.action_end()
        elif digit == 1:
            self.view.action_home()

    # Looking

    def action_time(self) -> None:
        """The time of day, the date too, or none."""
        at = TIMES.index(self.view.shape.time)
        self.view.reshape(time=TIMES[(at + 1) % len(TIMES)])

    def action_wrap(self) -> None:
        """Long lines over several rows, or cut."""
        self.settings = replace(self.settings, wrap=not self.settings.wrap)
        self.view.reshape(wrap=self.settings.wrap, offset=0)
        self.redraw()

    def action_open(self) -> None:
        """The line in full, or closed again; what is read does not move away."""
        if self.lines.n_shown:
            self.view.window.hold()
            self.open_panel(is_open=not self.panel.display)

    def action_close(self) -> None:
        """Close the panel."""
        self.open_panel(is_open=False)

    def action_panel(self, step: int) -> None:
        """Scroll the panel."""
        if self.panel.display:
            self.panel.action_by(step)

    # Taking away

    def action_copy(self) -> None:
        """Copy the line under the cursor."""
        if self.lines.n_shown:
            entry = self.lines.entry(self.view.window.cursor)
            self.console.copy_to_clipboard(plain_line(entry, self.lanes.name(entry.lane), format_instant))
            self.console.toast("The line is copied", shown(entry.message)[:120])

    def action_save(self) -> None:
        """Ask where the shown lines are to be written."""
        if not self.lines.n_shown:
            self.console.toast("There is no line to save")
            return
        name = self.lanes.name(0) if self.settings.single else "logs"
        self.ask("s", default_path(name, self.console.now(), self.console.zone))

    def save_to(self, path: str) -> None:
        """Write the shown lines."""
        lines = self.lines
        entries = [lines.entry(lines.number(place)) for place in range(lines.n_shown)]
        if path.strip():
            self.run_worker(self._save(path.strip(), entries), group="log-save", exit_on_error=False)

    async def _save(self, path: str, entries: list[Entry]) -> None:
        try:
            target = await asyncio.to_thread(save, path, entries, self.lanes.name)
        except FileExistsError:
            self.console.toast("There is such a file", f"{shown(path)}: give another name", "warn")
            return
        except (OSError, ValueError) as fault:
            told = getattr(fault, "strerror", None) or str(fault)
            self.console.toast("The lines are not saved", f"{shown(path)}: {told}", "fail")
            return
        self.prompt.close()
        n = len(entries)
        self.console.toast(f"{n:,} {'line' if n == 1 else 'lines'} saved", shown(str(target)), "ok")
