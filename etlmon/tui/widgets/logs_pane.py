"""The log room: the lines of some jobs or of all, followed, searched, filtered. The same in a tab and in a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace
from textual.app import ComposeResult
from textual.containers import Container
from textual.widget import Widget

from etlmon.client.live import LinkState
from etlmon.core.errors import EtlmonError
from etlmon.core.text import shown
from etlmon.tui.drawing.spans import Line, Span
from etlmon.tui.logs.detail import detail_lines
from etlmon.tui.logs.entry import Lanes
from etlmon.tui.logs.feed import LogFeed
from etlmon.tui.logs.filter import words_of
from etlmon.tui.logs.heads import Settings, Standing, filters_line, lanes_line, status_line
from etlmon.tui.logs.state import LogLines
from etlmon.tui.widgets.line_scroll import LineScroll
from etlmon.tui.widgets.lines import Lines
from etlmon.tui.widgets.log_keys import LogKeys
from etlmon.tui.widgets.log_prompt import LogPrompt
from etlmon.tui.widgets.log_view import LogView

if TYPE_CHECKING:
    from etlmon.tui.app import Console

FLUSH_S = 0.1
UNSEEN = 5_000
"""How many lines wait before a pane that is not shown takes them over without drawing."""
BUDGET = 20_000
"""How many older lines one wish may read."""
CLOSE = 100
"""Under so many columns the panel stands below the lines."""


class _Head(Lines):
    """A line that its pane says."""

    def __init__(self, which: str) -> None:
        super().__init__(id=which)

    def drawn(self, width: int, height: int) -> list[Line]:
        """The pane's word."""
        pane = self.query_ancestor(LogsPane)
        return [pane.head(self.id or "", width)]


class LogsPane(LogKeys):
    """``job_ids`` empty: every job's lines. ``single``: one job alone, without lanes."""

    DEFAULT_CSS = """
    LogsPane { height: 1fr; width: 1fr; layout: vertical; }
    LogsPane > Container { height: 1fr; layout: horizontal; }
    LogsPane > Container.-below { layout: vertical; }
    LogsPane #log-panel { display: none; width: 50%; border-left: solid $foreground-muted; }
    LogsPane .-below #log-panel { width: 100%; height: 50%; border-left: none; border-top: solid $foreground-muted; }
    """

    def __init__(
        self,
        *,
        job_ids: tuple[str, ...] = (),
        names: Mapping[str, str] | None = None,
        single: bool = False,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self.settings = Settings()
        self._always_single = single
        self._feed: LogFeed | None = None
        self._reading = False
        self._budget = BUDGET
        self._opened: tuple[int, int] | None = None
        self._set_log(job_ids, names or {})
        self.view = LogView(self.lines, self.lanes, single=self.settings.single)
        self.panel = LineScroll(id="log-panel")
        """The line in full."""
        self.prompt = LogPrompt()

    def _set_log(self, job_ids: tuple[str, ...], names: Mapping[str, str]) -> None:
        self.job_ids = job_ids
        self.lanes = Lanes({job_id: names[job_id] for job_id in job_ids if job_id in names})
        self.lines = LogLines()
        single = self._always_single or len(job_ids) == 1
        self.settings = replace(self.settings, single=single)

    def compose(self) -> ComposeResult:
        """Two lines of heads (or the prompt), the lines and the panel, the status."""
        yield _Head("log-lanes")
        yield _Head("log-filters")
        yield self.prompt
        with Container():
            yield self.view
            yield self.panel
        yield _Head("log-status")

    @property
    def console(self) -> Console:
        """The app."""
        return self.app  # type: ignore[return-value]

    def follow_jobs(self, job_ids: tuple[str, ...], names: Mapping[str, str]) -> None:
        """Other jobs' lines, none hidden: what was filtered in one log would make another look empty."""
        if job_ids == self.job_ids:
            return
        self.workers.cancel_group(self, "log-feed")
        self._feed = None
        self._set_log(job_ids, names)
        if self.is_attached:
            self.view.show_log(self.lines, self.lanes, single=self.settings.single)
            self.tick()

    # Life

    def on_mount(self) -> None:
        """Begin when shown."""
        self.settings = replace(self.settings, ascii=bool(self.console.ascii))
        self.app.theme_changed_signal.subscribe(self, lambda _: self.call_after_refresh(self.repaint))
        self.set_interval(FLUSH_S, self.tick)

    @property
    def is_seen(self) -> bool:
        """Whether the pane is on the screen, be it under a dialog."""
        if not self.size.height or self.screen not in self.app.screen_stack:
            return False
        return all(node.display for node in self.ancestors_with_self if isinstance(node, Widget))

    def tick(self) -> None:
        """Ten times a second: take what came and draw it, if it is seen."""
        if not self.is_attached:
            return
        if not self.is_seen:
            if self._feed is not None and self._feed.n_waiting > UNSEEN:
                self.lines.append(self._feed.take())
            return
        feed = self._feed or self._start()
        self.lines.append(feed.take())
        if self.window_ms is not None:
            self.lines.pass_time(self.console.now() - self.window_ms)
        if self._wants_older(feed):
            self._reading = True
            self.run_worker(self._read_older(feed), group="log-older", exit_on_error=False)
        self.redraw()

    def _start(self) -> LogFeed:
        console = self.console
        feed = LogFeed(console.rest, console.find_endpoint, self.job_ids, self.lanes, now=console.now)
        self._feed = feed
        self.run_worker(feed.run(), name="log-feed", group="log-feed", exit_on_error=False)
        return feed

    # Older lines

    def wish(self) -> None:
        """The reader went somewhere: older lines may be read for it again."""
        self._budget = BUDGET

    def _wants_older(self, feed: LogFeed) -> bool:
        lines, view = self.lines, self.view
        if self._reading or not feed.has_older or self._budget <= 0 or lines.end - lines.first >= lines.cap:
            return False
        since = lines.filter.since
        if since is not None and lines.n_lines and lines.entry(lines.first).at < since:
            return False
        if self.seeks is not None or since is not None or lines.n_shown < view.size.height:
            return True
        return not view.window.following and lines.place(view.window.top[0]) < view.size.height

    async def _read_older(self, feed: LogFeed) -> None:
        try:
            page = await feed.older()
        except EtlmonError as fault:
            self._budget = 0
            self.console.toast("Older lines cannot be read", shown(fault.detail), "warn")
        else:
            if feed is self._feed:
                taken = self.lines.prepend(page)
                self._budget = self._budget - max(1, len(page)) if taken == len(page) else 0
        finally:
            self._reading = False
        self.sought(is_over=not feed.has_older or self._budget <= 0)

    # Drawing

    def redraw(self) -> None:
        """Draw what changed."""
        view = self.view
        view.empty = self._nothing() if not self.lines.n_shown else []
        view.flush()
        for head in self.query(_Head):
            head.redraw()
        self._show_panel()

    def repaint(self) -> None:
        """The colours changed."""
        self._opened = None
        self.view.repaint()
        for head in self.query(_Head):
            head.repaint()
        self.redraw()

    def head(self, which: str, width: int) -> Line:
        """One of the pane's own lines."""
        window = self.view.window
        settings = replace(self.settings, has_older=self._feed is not None and self._feed.has_older)
        match which:
            case "log-lanes":
                return lanes_line(self.lanes, self.lines.filter, settings, width)
            case "log-filters":
                return filters_line(self.lines, window.cursor, settings, width)
        standing = Standing(
            number=window.cursor,
            following=window.following,
            n_waiting=window.n_waiting,
            trouble=self._trouble(),
            older="reading older lines" if self._reading else "",
        )
        return status_line(self.lines, standing, settings, width)

    def _trouble(self) -> str | None:
        feed = self._feed
        if feed is None or not self.lines.n_lines:
            return None
        if feed.fault is not None:
            return feed.fault
        link = feed.link
        return f"No new lines: {link.detail}" if link is not None and link.state is LinkState.WAITING else None

    def _nothing(self) -> list[Line]:
        """What is said where no line is."""
        feed, lines = self._feed, self.lines
        if feed is not None and feed.fault is not None:
            return [[], [Span(f"  {shown(feed.fault)}", "fail")]]
        if lines.n_lines:
            n = lines.n_lines
            told = f"  No line matches; {n:,} {'is' if n == 1 else 'are'} hidden. "
            key = "ctrl+f" if lines.filter.on and lines.filter.chooses else "0"
            shows = " shows it." if n == 1 else " shows them."
            return [[], [Span(told, "muted"), Span(key, "accent"), Span(shows, "muted")]]
        if feed is None or not feed.is_read:
            link = feed.link if feed is not None else None
            waits = link is not None and link.state is LinkState.WAITING
            told = (link.detail if waits and link is not None else None) or "Reading the newest lines …"
            return [[], [Span(f"  {shown(told)}", "warn" if waits else "muted")]]
        return [[], [Span("  No lines yet.", "muted")]]

    def _show_panel(self) -> None:
        """The panel tells the line under the cursor."""
        panel, window, lines = self.panel, self.view.window, self.lines
        if not panel.display or not lines.n_shown or not lines.holds(window.cursor) or not panel.size.width:
            return
        opened = (window.cursor, panel.size.width)
        if opened == self._opened:
            return
        self._opened = opened
        entry = lines.entry(window.cursor)
        job_id = self.lanes.ids[entry.lane] if 0 <= entry.lane < len(self.lanes) else ""
        name, zone = self.lanes.name(entry.lane), self.console.zone
        panel.show(detail_lines(entry, name, job_id, panel.size.width, term=lines.term, zone=zone))
        panel.scroll_to(y=0, animate=False)

    def open_panel(self, *, is_open: bool) -> None:
        """Show or hide the panel."""
        self._opened = None
        self.query_one(Container).set_class(self.size.width < CLOSE, "-below")
        self.panel.display = is_open
        if is_open:
            self.call_after_refresh(self.redraw)

    def on_resize(self) -> None:
        """The panel stands beside or below."""
        self.query_one(Container).set_class(self.size.width < CLOSE, "-below")

    # Words from the parts

    def on_log_view_moved(self) -> None:
        """The reader went elsewhere."""
        self.wish()
        self.redraw()

    def on_log_prompt_typed(self, event: LogPrompt.Typed) -> None:
        """Something was typed."""
        event.stop()
        lines = self.lines
        match event.kind:
            case "&":
                self.choose(words=words_of(event.text), on=True)
            case "|":
                self.choose(without=words_of(event.text), on=True)
            case "/":
                lines.search(event.text)
                self.view.reshape(term=event.text)
                if event.done:
                    self.to_hit()
            case _:
                self.save_to(event.text)
        self.redraw()

    def on_log_prompt_left(self) -> None:
        """The keys go back to the lines."""
        self.query_one("#log-filters").display = True
        self.view.focus()

    def ask(self, kind: str, text: str) -> None:
        """Open the prompt."""
        self.query_one("#log-filters").display = False
        self.prompt.ask(kind, text)
