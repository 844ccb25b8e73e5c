"""The live table: draws only rows that are seen and changed; the cursor is on a job, not on a line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from etlmon.tui.drawing.palette import Palette
from etlmon.tui.drawing.spans import Line, Span, fitted, width_of
from etlmon.tui.jobs.cells import Scene
from etlmon.tui.jobs.columns import Placed, layout
from etlmon.tui.jobs.row import header, row
from etlmon.tui.jobs.state import JobsState
from etlmon.tui.widgets.lines import strip_of

ROW_EVERY_MS = 250
"""A row's bar and numbers change at most four times a second."""
STEP_X = 10


class JobsTable(ScrollView, can_focus=True):
    """Rows of ``state.order``; the first line is the header and never scrolls away."""

    DEFAULT_CSS = """
    JobsTable { height: 1fr; width: 1fr; scrollbar-size: 0 0; overflow-x: hidden; overflow-y: scroll; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "down", id="jobs.down", show=False),
        Binding("up,k", "move(-1)", "up", id="jobs.up", show=False),
        Binding("pagedown", "page(1)", "page down", id="jobs.page_down", show=False),
        Binding("pageup", "page(-1)", "page up", id="jobs.page_up", show=False),
        Binding("home,g", "edge(0)", "first", id="jobs.first", show=False),
        Binding("end,G", "edge(1)", "last", id="jobs.last", show=False),
        Binding("right", "slide(1)", "columns right", id="jobs.right", show=False),
        Binding("left", "slide(-1)", "columns left", id="jobs.left", show=False),
        Binding("enter", "open", "open", id="jobs.open"),
    ]

    class Opened(Message):
        """A job was chosen."""

        def __init__(self, job_id: str) -> None:
            self.job_id = job_id
            super().__init__()

    class Moved(Message):
        """The cursor is on another job, or on none."""

        def __init__(self, job_id: str | None) -> None:
            self.job_id = job_id
            super().__init__()

        def can_replace(self, message: Message) -> bool:
            """Only the newest place matters."""
            return isinstance(message, JobsTable.Moved)

    class Sorted(Message):
        """A title was clicked."""

        def __init__(self, key: str) -> None:
            self.key = key
            super().__init__()

    def __init__(self, state: JobsState) -> None:
        super().__init__()
        self.state = state
        self.cursor: str | None = None
        self.wide = False
        self.dimmed = False
        self.slid = 0
        self.range_from: str | None = None
        self._pulse = 0
        self._strips: dict[str, Strip] = {}
        self._painted_at: dict[str, int] = {}
        self._late: set[str] = set()
        self._shape: tuple[object, ...] = ()

    # -- drawing

    @property
    def palette(self) -> Palette:
        """The colours of the app."""
        palette: Palette = self.app.palette  # type: ignore[attr-defined]
        return palette

    @property
    def scene(self) -> Scene:
        """What all rows share at this instant."""
        scene: Scene = self.app.scene  # type: ignore[attr-defined]
        return scene

    def columns(self) -> tuple[Placed, ...]:
        """The columns at the present width."""
        return layout(max(20, self.size.width), wide=self.wide)

    def render_line(self, y: int) -> Strip:
        """The header, or the job that stands on line ``y``."""
        width = self.size.width
        if y == 0:
            line = header(
                self.columns(), self.state.sort_key, descending=self.state.descending, ascii_only=self.scene.ascii
            )
            return strip_of(self._slid(line), width, self.palette)
        at = self.scroll_offset.y + y - 1
        if at >= len(self.state.order):
            return Strip.blank(width, self.palette.style("text"))
        job_id = self.state.order[at]
        found = self._strips.get(job_id)
        if found is None:
            found = self._strips[job_id] = self._draw(job_id, width)
        return found

    def _draw(self, job_id: str, width: int) -> Strip:
        state, scene, palette = self.state, self.scene, self.palette
        live = state.jobs.get(job_id)
        if live is None:
            return Strip.blank(width, palette.style("text"))
        here = job_id == self.cursor
        line = row(
            live,
            self.columns(),
            scene,
            here=here,
            marked=job_id in state.marks,
            fresh=state.is_fresh(job_id, scene.now),
            dotted=not palette.has_track,
            gone=self.dimmed or not state.matches(live, scene.now),
            pulse=self._pulse,
        )
        if self.dimmed:
            line = [span if span.look == "accent" else Span(span.text, _grey(span.look)) for span in line]
        return strip_of(self._slid(line), width, palette, "cursor" if here else None)

    def _slid(self, line: Line) -> Line:
        """The line with what is right of NAME moved left by ``slid`` cells."""
        if not self.slid:
            return line
        name = next(column for column in self.columns() if column.key == "NAME")
        fixed = name.left + name.width + 1
        head = fitted(line, fixed)
        rest, skip = [], fixed + self.slid
        for text, look in line:
            size = width_of(text)
            if skip >= size:
                skip -= size
                continue
            rest.append(Span(text[skip:], look))
            skip = 0
        return [*head, *rest]

    # -- what changed

    def show_changes(self, changed: Iterable[str], *, reordered: bool, now: int) -> None:
        """Repaint what the flush says; the cursor's job keeps its line on the screen."""
        if reordered:
            self._take_order()
            return
        self._late.update(changed)
        for job_id in list(self._late):
            if now - self._painted_at.get(job_id, 0) >= ROW_EVERY_MS:
                self._late.discard(job_id)
                self._repaint(job_id, now)

    def tick(self, *, pulse: bool) -> None:
        """A second has gone by: times and ages, and the bars of unknown totals, move on."""
        if pulse:
            self._pulse += 1
        for job_id in self.seen():
            live = self.state.jobs.get(job_id)
            unknown = live is not None and live.is_active and live.job.progress_percent is None
            if not pulse or unknown:
                self._strips.pop(job_id, None)
                self._refresh_row(job_id)

    def seen(self) -> list[str]:
        """The jobs on the screen."""
        top = self.scroll_offset.y
        return self.state.order[top : top + self.body_height]

    @property
    def body_height(self) -> int:
        """Lines for jobs."""
        return max(0, self.size.height - 1)

    def _repaint(self, job_id: str, now: int) -> None:
        self._strips.pop(job_id, None)
        if self._refresh_row(job_id):
            self._painted_at[job_id] = now

    def _refresh_row(self, job_id: str) -> bool:
        at = self.state.place.get(job_id)
        if at is None:
            return False
        y = at - self.scroll_offset.y
        if not 0 <= y < self.body_height:
            return False
        self.refresh(Region(0, y + 1, self.size.width, 1))
        return True

    def _take_order(self) -> None:
        """Another order: scroll so that the cursor's job stays on its line; where it is gone, its neighbour follows."""
        order = self.state.order
        line = self._cursor_line
        self.virtual_size = Size(self.size.width, len(order) + 1)
        if self.cursor is None or self.cursor not in self.state.place:
            at = min(max(0, self.scroll_offset.y + line), len(order) - 1)
            self._set_cursor(order[at] if order else None)
        elif line >= 0:
            self.scroll_to(y=max(0, self.state.place[self.cursor] - line), animate=False, immediate=True)
        self._cursor_line = self._line_of_cursor()
        self.repaint_all()

    _cursor_line = 0

    def show_order(self) -> None:
        """The order that a person asked for: from its top, as far as the cursor's job stays in sight."""
        at, height = self.state.place.get(self.cursor or "", 0), self.body_height
        self._cursor_line = at if at < height else height // 2
        self._take_order()

    @property
    def n_above(self) -> int:
        """Rows above the first one that is seen."""
        return min(self.scroll_offset.y, len(self.state.order))

    def _line_of_cursor(self) -> int:
        at = self.state.place.get(self.cursor or "")
        return 0 if at is None else at - self.scroll_offset.y

    def repaint_all(self) -> None:
        """Draw every row anew."""
        self._strips.clear()
        self._painted_at.clear()
        self._late.clear()
        self.refresh()

    def on_resize(self) -> None:
        """Another width, other columns."""
        self.virtual_size = Size(self.size.width, len(self.state.order) + 1)
        self.repaint_all()
        self._keep_in_sight()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Rows came into sight."""
        super().watch_scroll_y(old_value, new_value)
        self._cursor_line = self._line_of_cursor()

    # -- the cursor

    def point_at(self, job_id: str | None) -> None:
        """Put the cursor on a job."""
        if job_id is not None and job_id in self.state.place:
            self._set_cursor(job_id)
            self._keep_in_sight()

    def _set_cursor(self, job_id: str | None) -> None:
        before, self.cursor = self.cursor, job_id
        for each in (before, job_id):
            if each is not None:
                self._strips.pop(each, None)
                self._refresh_row(each)
        if before != job_id:
            self.post_message(self.Moved(job_id))

    def _keep_in_sight(self) -> None:
        at = self.state.place.get(self.cursor or "")
        if at is None:
            return
        top, height = self.scroll_offset.y, self.body_height
        if at < top:
            self.scroll_to(y=at, animate=False, immediate=True)
        elif height and at >= top + height:
            self.scroll_to(y=at - height + 1, animate=False, immediate=True)
        self._cursor_line = self._line_of_cursor()

    def _go(self, at: int) -> None:
        order = self.state.order
        if not order:
            return
        self.state.touch(self.scene.now)
        self._set_cursor(order[max(0, min(at, len(order) - 1))])
        self._keep_in_sight()
        if self.range_from is not None:
            self._mark_range()

    def _mark_range(self) -> None:
        place = self.state.place
        first, last = sorted((place.get(self.range_from or "", 0), place.get(self.cursor or "", 0)))
        self.state.marks.update(self.state.order[first : last + 1])
        self.repaint_all()

    def action_move(self, by: int) -> None:
        """Up or down."""
        self._go(self.state.place.get(self.cursor or "", -1 if by > 0 else 0) + by)

    def action_page(self, by: int) -> None:
        """A screen up or down."""
        self._go(self.state.place.get(self.cursor or "", 0) + by * max(1, self.body_height - 1))

    def action_edge(self, end: int) -> None:
        """The first or the last job."""
        self._go(len(self.state.order) - 1 if end else 0)

    def action_slide(self, by: int) -> None:
        """Move the columns right of NAME sideways (in the wide view)."""
        if self.wide:
            columns = self.columns()
            most = max(0, columns[-1].left + columns[-1].width - self.size.width)
            self.slid = max(0, min(self.slid + by * STEP_X, most))
            self.repaint_all()

    def action_open(self) -> None:
        """Open the job under the cursor."""
        if self.cursor is not None:
            self.post_message(self.Opened(self.cursor))

    # -- the mouse

    def on_click(self, event: Click) -> None:
        """A click chooses a row, a second one opens it; a click on a title sorts."""
        if event.y == 0:
            left = event.x - 1
            for column in self.columns():
                if column.left <= left + 1 < column.left + column.width + 1:
                    self.post_message(self.Sorted(column.key))
            return
        self.state.touch(self.scene.now)
        at = self.scroll_offset.y + event.y - 1
        if at < len(self.state.order):
            job_id = self.state.order[at]
            if job_id == self.cursor and event.chain > 1:
                self.post_message(self.Opened(job_id))
            self._set_cursor(job_id)

    def _on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self.state.touch(self.scene.now)
        self.scroll_to(y=self.scroll_offset.y + 3, animate=False, immediate=True)

    def _on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self.state.touch(self.scene.now)
        self.scroll_to(y=max(0, self.scroll_offset.y - 3), animate=False, immediate=True)


def _grey(look: str) -> str:
    """A look while the server is away: its colour gone."""
    if look.startswith("fill-"):
        return "fill-muted"
    return "muted track" if "track" in look else "muted"
