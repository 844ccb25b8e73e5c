"""The widget that draws lines of a log: rows on demand, each drawn once; keys and mouse move the reader's window.

It scrolls by itself rather than as a ScrollView: a line may take many rows, and nothing that comes at the end or is let
go at the front may move a row of the screen, so no virtual height is kept.
"""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec.structs import replace
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from etlmon.tui.drawing.palette import Palette
from etlmon.tui.drawing.spans import Line, Span, width_of
from etlmon.tui.logs.entry import HOLE, Lanes
from etlmon.tui.logs.rows import RowState, Shape, hole_row, line_row, n_rows, name_width, texts
from etlmon.tui.logs.state import LogLines
from etlmon.tui.logs.window import LogWindow, Row
from etlmon.tui.widgets.lines import strip_of

WHEEL = 3
"""Rows that one turn of the wheel moves."""
MOST_STRIPS = 2_000
PAN = 10
NAME_UNKNOWN = 16
"""The name's column where the jobs are not known before their lines are."""

_Key = tuple[int, int, bool, bool, bool]


class LogView(Widget, can_focus=True):
    """Shows ``lines`` through ``window``. ``flush`` draws what changed, and only that."""

    DEFAULT_CSS = """
    LogView { height: 1fr; width: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "next line", id="logs.down", show=False),
        Binding("k,up", "move(-1)", "line before", id="logs.up", show=False),
        Binding("pagedown,space", "page(1.0)", "page down", id="logs.page_down", show=False),
        Binding("pageup,b", "page(-1.0)", "page up", id="logs.page_up", show=False),
        Binding("ctrl+d", "page(0.5)", "half a page down", id="logs.half_down", show=False),
        Binding("ctrl+u", "page(-0.5)", "half a page up", id="logs.half_up", show=False),
        Binding("g,home", "home", "first line", id="logs.home", show=False),
        Binding("G,end", "end", "last line, following", id="logs.end", show=False),
        Binding("l", "pan_page(1)", "half a page right", id="logs.page_right", show=False),
        Binding("h", "pan_page(-1)", "half a page left", id="logs.page_left", show=False),
        Binding("L,right", "pan(1)", "10 columns right", id="logs.right", show=False),
        Binding("H,left", "pan(-1)", "10 columns left", id="logs.left", show=False),
    ]

    class Moved(Message):
        """The reader went elsewhere, or began or ceased to follow."""

    def __init__(self, lines: LogLines, lanes: Lanes, *, single: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self.shape = Shape(width=80)
        self.longest = NAME_UNKNOWN
        self._strips: dict[_Key, Strip] = {}
        self._counted: dict[int, int] = {}
        self._keys: list[_Key | None] = []
        self._version = -1
        self.empty: list[Line] = []
        """What is said where there is no line."""
        self._said: list[Line] = []
        self.show_log(lines, lanes, single=single)

    def show_log(self, lines: LogLines, lanes: Lanes, *, single: bool) -> None:
        """Another log."""
        self.lines, self.lanes, self.single = lines, lanes, single
        self.window = LogWindow(lines, self._n_rows)
        self.window.height = max(1, self.size.height)
        self.longest = max((len(name) for name in lanes.names), default=NAME_UNKNOWN)
        self._version = -1
        if self.is_attached:
            self._measure()
            self.flush()

    @property
    def palette(self) -> Palette:
        """The app's colours."""
        palette: Palette = self.app.palette  # type: ignore[attr-defined]
        return palette

    # Drawing

    def reshape(self, **changes: Any) -> None:
        """Draw lines otherwise: ``wrap``, ``time``, ``term``, ``offset``…"""
        if "wrap" in changes or "time" in changes:
            self.window.rows()
        self.shape = replace(self.shape, **changes)
        self._forget()
        self.window.rechosen()
        self.flush()

    def _measure(self) -> None:
        width = self.size.width
        names = 0 if self.single else name_width(self.longest, width)
        zone, ascii_only = getattr(self.app, "zone", None), bool(getattr(self.app, "ascii", False))
        self.shape = replace(self.shape, width=width, name_width=names, zone=zone, ascii=ascii_only)
        self._forget()

    def _forget(self) -> None:
        self._strips.clear()
        self._counted.clear()
        self._keys = []

    def _n_rows(self, number: int) -> int:
        found = self._counted.get(number)
        if found is None:
            if len(self._counted) > MOST_STRIPS:
                self._counted.clear()
            found = self._counted[number] = n_rows(self.lines.entry(number), self.shape)
        return found

    def flush(self) -> None:
        """Draw what changed since the last time."""
        if not self.size.height:
            return
        if self._version != self.lines.version:
            self._version = self.lines.version
            self._forget()
        keys = self._looks(self.window.rows())
        if self._said != self.empty:
            self._said = self.empty
            self.refresh()
        if keys == self._keys:
            return
        old, self._keys = self._keys, keys
        if len(old) != len(keys):
            self.refresh()
            return
        changed = [y for y, (was, now) in enumerate(zip(old, keys, strict=True)) if was != now]
        if len(changed) > 4:
            self.refresh()
        else:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def _looks(self, rows: list[Row | None]) -> list[_Key | None]:
        """What each row shows: line, row of it, with its job's name or not, under the cursor, marked."""
        keys: list[_Key | None] = []
        lane, cursor, marks = -1, self.window.cursor, set(self.lines.marks)
        for row in rows:
            if row is None:
                keys.append(None)
                continue
            number, sub = row
            entry = self.lines.entry(number)
            named = entry.level != HOLE and entry.lane != lane
            lane = entry.lane
            keys.append((number, sub, named, number == cursor, sub == 0 and number in marks))
        return keys

    def render_line(self, y: int) -> Strip:
        """One row of the screen."""
        width = self.size.width
        if not self._keys and y < len(self._said):
            return strip_of(self._said[y], width, self.palette)
        key = self._keys[y] if y < len(self._keys) else None
        if key is None or not self.lines.holds(key[0]):
            blanks = self.window.blanks
            if y == blanks - 1 and y < len(self._keys):
                told = f" {self.shape.glyphs['rule']} older lines were let go {self.shape.glyphs['rule']}"
                return strip_of([Span(told, "muted")], width, self.palette)
            return Strip.blank(width, self.palette.style("text"))
        found = self._strips.get(key)
        if found is None:
            if len(self._strips) > MOST_STRIPS:
                self._strips.clear()
            found = self._strips[key] = self._drawn(key, width)
        return found

    def _drawn(self, key: _Key, width: int) -> Strip:
        number, sub, named, cursor, is_marked = key
        lines = self.lines
        entry = lines.entry(number)
        ground = "cursor" if cursor else None
        if entry.level == HOLE:
            before, after = (lines.entry(n) if lines.holds(n) else None for n in (number - 1, number + 1))
            return strip_of(hole_row(entry, self.shape, before, after, cursor=cursor), width, self.palette, ground)
        state = RowState(
            name=self.lanes.name(entry.lane),
            lane=entry.lane,
            with_name=named,
            cursor=cursor,
            marked=is_marked,
            context=bool(lines.around) and not lines.matches(entry),
        )
        return strip_of(line_row(entry, sub, self.shape, state), width, self.palette, ground)

    def repaint(self) -> None:
        """The colours changed."""
        self._measure()
        self.flush()
        self.refresh()

    def on_resize(self) -> None:
        """Another size."""
        self.window.height = max(1, self.size.height)
        self._measure()
        self.window.rechosen()
        self.flush()

    # Moving

    def moved(self) -> None:
        """Draw where the reader went, and tell."""
        self.flush()
        self.post_message(self.Moved())

    def action_move(self, steps: int) -> None:
        """The cursor over lines."""
        self.window.move(steps)
        self.moved()

    def action_page(self, pages: float) -> None:
        """By pages."""
        self.window.page(pages)
        self.moved()

    def action_home(self) -> None:
        """The first line."""
        self.window.home()
        self.moved()

    def action_end(self) -> None:
        """The end, followed."""
        self.window.follow()
        self.moved()

    def action_pan(self, steps: int) -> None:
        """Sideways by ten columns."""
        self._pan(steps * PAN)

    def action_pan_page(self, steps: int) -> None:
        """Sideways by half of what the message has."""
        self._pan(steps * (self.shape.room // 2))

    def _pan(self, columns: int) -> None:
        """Sideways, but not beyond what the longest line on the screen has."""
        if self.shape.wrap:
            return
        numbers = {row[0] for row in self.window.rows() if row is not None}
        shown = (width_of(text) for number in numbers for text in texts(self.lines.entry(number), self.shape))
        beyond = max(0, max(shown, default=0) - self.shape.room)
        self.reshape(offset=max(0, min(self.shape.offset + columns, max(beyond, self.shape.offset))))

    def go(self, number: int) -> None:
        """The cursor to this line."""
        self.window.go(number, centre=True)
        self.moved()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel."""
        event.stop()
        self.window.scroll(WHEEL)
        self.moved()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel."""
        event.stop()
        self.window.scroll(-WHEEL)
        self.moved()

    def on_click(self, event: events.Click) -> None:
        """The cursor to the line that is clicked."""
        if self.window.click(event.y):
            self.moved()
