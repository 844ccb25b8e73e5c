"""Jobs: the live table, its filter, marks, and what is done to jobs from it."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.events import Key

from etlmon.core.errors import Invalid
from etlmon.core.text import shown
from etlmon.tui import chrome
from etlmon.tui.drawing.spans import Line, Span
from etlmon.tui.jobs.row import SORTABLE
from etlmon.tui.jobs.state import JobsState
from etlmon.tui.screens.frame import FrameScreen
from etlmon.tui.widgets.frame_lines import FrameLine, ThirdLine
from etlmon.tui.widgets.jobs_table import JobsTable
from etlmon.tui.widgets.side_pane import SidePane

WIDE_ENOUGH = 160
"""From this width on the side pane is open by itself."""
SIDE_BY_SIDE = 110
BELOW_FROM = 30
"""Below SIDE_BY_SIDE cells the pane goes under the table, if there are this many lines."""


class Fault(FrameLine):
    """What is wrong with the filter being typed."""

    DEFAULT_CSS = "Fault { display: none; }"
    sentence = ""

    def drawn(self, width: int, height: int) -> list[Line]:
        """One sentence under the input."""
        return [[Span(f"   ^ {self.sentence}", "warn")]]

    def say(self, sentence: str) -> None:
        """Show the sentence, or nothing."""
        self.sentence = sentence
        self.display = bool(sentence)
        self.redraw()


class Empty(FrameLine):
    """What the body says when there is no row to show."""

    DEFAULT_CSS = "Empty { display: none; height: 1fr; }"
    sentences: tuple[str, ...] = ()

    def drawn(self, width: int, height: int) -> list[Line]:
        """The sentences, a third down."""
        return chrome.middle(self.sentences, width, height)


class JobsScreen(FrameScreen):
    """Tab 1."""

    TAB: ClassVar[int] = 1
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", id="jobs.filter"),
        Binding("exclamation_mark", "failed_only", "failed only", id="jobs.failed"),
        Binding("l", "logs", "logs", id="jobs.logs"),
        Binding("space", "mark", "mark", id="jobs.mark"),
        Binding("v", "range", "mark a range", id="jobs.range"),
        Binding("a", "mark_all", "mark all shown", id="jobs.mark_all"),
        Binding("ctrl+backslash", "unmark", "clear marks", id="jobs.unmark"),
        Binding("p", "control('pause')", "pause", id="jobs.pause"),
        Binding("u", "control('resume')", "resume", id="jobs.resume"),
        Binding("x", "control('cancel')", "cancel", id="jobs.cancel"),
        Binding("R", "control('retry')", "retry", id="jobs.retry"),
        Binding("plus", "priority(1)", "sooner: priority up", id="jobs.sooner"),
        Binding("minus", "priority(-1)", "later: priority down", id="jobs.later"),
        Binding("d", "side", "side pane", id="jobs.side"),
        Binding("o", "sort", "sort", id="jobs.sort"),
        Binding("O", "reverse", "reverse", id="jobs.reverse"),
        Binding("less_than_sign", "sort_column(-1)", "column left", id="jobs.sort_left"),
        Binding("greater_than_sign", "sort_column(1)", "column right", id="jobs.sort_right"),
        Binding("w", "wide", "wide", id="jobs.wide"),
        Binding("f", "freeze", "freeze", id="jobs.freeze"),
        Binding("y", "copy('id')", "copy id", id="jobs.copy_id"),
        Binding("Y", "copy('json')", "copy JSON", id="jobs.copy_json"),
        Binding("escape", "back", "back", id="jobs.back", show=False),
    ]
    DEFAULT_CSS = """
    JobsScreen #body { height: 1fr; }
    JobsScreen #body.below { layout: vertical; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._side_wanted: bool | None = None
        self._good_filter = ""

    @property
    def state(self) -> JobsState:
        """The table as a value."""
        return self.console.jobs

    @property
    def table(self) -> JobsTable:
        """The table as a widget."""
        return self.query_one(JobsTable)

    def compose_body(self) -> ComposeResult:
        """What is wrong with the filter, table, side pane."""
        yield Fault()
        with Horizontal(id="body"):
            yield JobsTable(self.state)
            yield Empty()
            yield SidePane()

    def on_mount(self) -> None:
        """The table has the keys."""
        self.table.focus()
        self._place_side()

    def on_resize(self) -> None:
        """Another size: the side pane opens, closes or goes below."""
        self._place_side()

    # -- the flush

    def flush(self, now: int) -> None:
        """Paint the rows that changed; tell of failures is the app's."""
        if self.is_filtering:
            self.state.touch(now)
        flush = self.state.flush(now)
        table = self.table
        away = self.console.link.is_away
        if table.dimmed != away:
            table.dimmed = away
            table.repaint_all()
        table.show_changes(flush.changed, reordered=flush.reordered, now=now)
        if table.cursor is None and self.state.order:
            table.point_at(self.state.order[0])
        self._show_empty()
        pane = self.query_one(SidePane)
        if pane.display and (table.cursor in flush.changed or flush.reordered):
            pane.redraw()
        self.query_one(ThirdLine).redraw()

    def tick(self, now: int) -> None:
        """Times and ages move on."""
        if not self.console.link.is_away:
            self.table.tick(pulse=False)
        if self.query_one(SidePane).display:
            self.query_one(SidePane).redraw()

    def pulse(self) -> None:
        """Twice a second: bars of unknown totals step."""
        if not self.console.link.is_away and self.console.animation_level != "none":
            self.table.tick(pulse=True)

    def _show_empty(self) -> None:
        sentences = self._why_empty()
        empty = self.query_one(Empty)
        if sentences != empty.sentences or empty.display != bool(sentences):
            empty.sentences = sentences
            empty.display, self.table.display = bool(sentences), not sentences
            empty.redraw()
            if not sentences and not self.is_filtering:
                self.table.focus()

    def _why_empty(self) -> tuple[str, ...]:
        if self.state.order:
            return ()
        console = self.console
        if not console.feed.has_list:
            return tuple(console.link.connecting_lines(console.local_now()))
        if self.state.total == 0:
            return "No jobs yet.", "Try: etlmon run -- python load.py"
        asked = " ".join(filter(None, ("failed jobs" if self.state.failed_only else "", self.state.filter_text)))
        return (
            f"No job matches {asked}",
            *self._owner_hint(),
            f"esc shows all {self.state.total:,}   / changes the filter",
        )

    def _owner_hint(self) -> tuple[str, ...]:
        text = self.state.filter_text
        if "owner:" not in text:
            return ()
        asked = text.split("owner:", 1)[1].split()[0]
        owners = self.state.owners()
        if asked in owners:
            return ()
        return (f"owner:{asked} is unknown. Owners here: {', '.join(owners[:12])}.",)

    def repaint(self) -> None:
        """The theme changed."""
        super().repaint()
        self.table.repaint_all()

    # -- row 3 and the hints

    def third_line(self) -> tuple[str, str, str]:
        """The filter and what it leaves."""
        state = self.state
        left = " ".join(filter(None, ("failed only" if state.failed_only else "", state.filter_text))) or "all jobs"
        n = len(state.order)
        right = [f"{n:,} job{'' if n == 1 else 's'}" + (f" of {state.total:,}" if n < state.total else ""), "last 24h"]
        if above := self.table.n_above:
            right.insert(0, f"{above:,} above")
        if state.marks:
            hidden = f" ({state.hidden_marks} hidden)" if state.hidden_marks else ""
            right.insert(0, f"{len(state.marks)} marked{hidden}")
        if self.table.range_from is not None:
            right.insert(0, "RANGE")
        if state.frozen:
            right.insert(0, f"FROZEN +{state.held_back}")
        elif state.held_back:
            right.insert(0, f"+{state.held_back} new · order held")
        return left, " · ".join(right), "text" if left == "all jobs" else "accent"

    def hints(self) -> list[tuple[str, str]]:
        """Keys of the table; what changes things is left out for those who may not."""
        acts = [] if self.console.is_read_only else [("p", "pause"), ("x", "cancel"), ("R", "retry")]
        head = [("enter", "open"), ("l", "logs"), ("/", "filter"), ("!", "failed"), ("space", "mark")]
        tail = [("d", "side pane"), (":", "command"), ("o", "sort"), ("w", "wide"), ("f", "freeze"), ("y", "copy")]
        return head + acts + tail

    # -- filter

    @property
    def is_filtering(self) -> bool:
        """Whether a filter is being typed."""
        return bool(self.query("#filter"))

    def action_filter(self) -> None:
        """Type a filter; the table follows while it makes sense."""
        from etlmon.tui.widgets.filter_field import FilterField

        if self.is_filtering:
            return
        self._good_filter = self.state.filter_text
        self.query_one(ThirdLine).display = False
        hint = "status:failed owner:ana orders_*"
        field = FilterField(self.state.filter_text, typed=self._typed, done=self._submitted, hint=hint)
        self.mount(field, before=self.query_one(Fault))
        field.focus()

    def _typed(self, text: str) -> None:
        try:
            self.state.filter(text, self.console.now())
        except Invalid as fault:
            self.query_one(Fault).say(shown(fault.errors[0].message if fault.errors else fault.detail))
            self.state.filter(self._good_filter, self.console.now())
            self._reordered()
            return
        self.query_one(Fault).say("")
        self._reordered()

    def _submitted(self) -> None:
        if not self.query_one(Fault).sentence:
            self._close_filter()

    def _close_filter(self) -> None:
        self.query("#filter").remove()
        self.query_one(Fault).say("")
        self.query_one(ThirdLine).display = True
        self.table.focus()

    def on_key(self, event: Key) -> None:
        """Every key holds the order for a while."""
        self.state.touch(self.console.now())

    def action_back(self) -> None:
        """Leave the filter, the range, the marks, the filter in force: the innermost first."""
        if self.is_filtering:
            self.state.filter(self._good_filter, self.console.now())
            self._close_filter()
        elif self.table.range_from is not None:
            self.table.range_from = None
        elif self.state.filter_text or self.state.failed_only:
            self.state.filter("", self.console.now(), failed_only=False)
        elif self.state.marks:
            self.state.marks.clear()
        self._reordered()

    def action_failed_only(self) -> None:
        """Only failed jobs, or all again."""
        self.show_failed(not self.state.failed_only)

    def show_failed(self, only: bool) -> None:
        """Only failed jobs, or all."""
        self.state.filter(self.state.filter_text, self.console.now(), failed_only=only)
        self._reordered()

    def _reordered(self) -> None:
        self.table.show_order()
        self._show_empty()
        self.redraw_frame()

    # -- order

    def action_sort(self) -> None:
        """Sort by the next column."""
        self.action_sort_column(1)

    def action_sort_column(self, by: int) -> None:
        """Sort by the next shown column to the right or left."""
        shown_keys = [column.key for column in self.table.columns() if column.key in SORTABLE]
        at = shown_keys.index(self.state.sort_key) if self.state.sort_key in shown_keys else 0
        self._sort(shown_keys[(at + by) % len(shown_keys)], descending=False)

    def action_reverse(self) -> None:
        """The other way round."""
        self._sort(self.state.sort_key, descending=not self.state.descending)

    def _sort(self, key: str, *, descending: bool) -> None:
        self.state.sort(key, descending=descending, now=self.console.now())
        self._reordered()

    @on(JobsTable.Sorted)
    def _title_clicked(self, event: JobsTable.Sorted) -> None:
        if event.key in SORTABLE:
            same = event.key == self.state.sort_key
            self._sort(event.key, descending=same and not self.state.descending)

    def action_freeze(self) -> None:
        """Hold the rows' places until asked again; their numbers go on."""
        self.state.frozen = not self.state.frozen
        self.redraw_frame()

    def action_wide(self) -> None:
        """Every column, scrolling sideways behind STATUS and NAME."""
        self.table.wide, self.table.slid = not self.table.wide, 0
        self.table.repaint_all()

    # -- marks

    def action_mark(self) -> None:
        """Mark the job under the cursor and go on to the next."""
        if self.table.cursor is not None:
            self.state.mark(self.table.cursor)
            self.table.action_move(1)
            self.redraw_frame()

    def action_mark_all(self) -> None:
        """Mark all that are shown."""
        self.state.marks.update(self.state.order)
        self._reordered()

    def action_unmark(self) -> None:
        """Clear every mark."""
        self.state.marks.clear()
        self._reordered()

    def action_range(self) -> None:
        """Begin or end a range of marks."""
        table = self.table
        table.range_from = table.cursor if table.range_from is None else None
        if table.range_from is not None:
            self.state.marks.add(table.range_from)
        self._reordered()

    # -- what is done with jobs

    def chosen_ids(self) -> list[str]:
        """The marked jobs, or the one under the cursor."""
        return [live.id for live in self.state.chosen(self.table.cursor)]

    def action_control(self, action: str) -> None:
        """Pause, resume, cancel or retry what is chosen."""
        self.console.control(action, self.state.chosen(self.table.cursor))

    def action_priority(self, by: int) -> None:
        """Put what is chosen and waits in the queue before or behind others."""
        self.console.move_priority(self.state.chosen(self.table.cursor), by)

    async def action_logs(self) -> None:
        """The logs of what is chosen."""
        await self.console.show_logs(self.state.chosen(self.table.cursor))

    def action_copy(self, what: str) -> None:
        """Copy the ids, or the whole jobs as JSON."""
        self.console.copy_jobs(self.chosen_ids(), what)

    @on(JobsTable.Opened)
    def _opened(self, event: JobsTable.Opened) -> None:
        self.console.open_job(event.job_id)

    # -- the side pane

    @on(JobsTable.Moved)
    def _moved(self, event: JobsTable.Moved) -> None:
        self.query_one(SidePane).look_at(event.job_id)

    def action_side(self) -> None:
        """Open or close the side pane."""
        self._side_wanted = not self.query_one(SidePane).display
        self._place_side()

    def _place_side(self) -> None:
        width, height = self.app.size
        pane, body = self.query_one(SidePane), self.query_one("#body")
        below = width < SIDE_BY_SIDE
        wanted = self._side_wanted if self._side_wanted is not None else width >= WIDE_ENOUGH
        pane.display = wanted and (not below or height >= BELOW_FROM)
        body.set_class(below, "below")
        pane.set_class(below, "below")
        pane.set_class(width >= WIDE_ENOUGH, "roomy")
        if pane.display:
            pane.look_at(self.table.cursor)
