"""A job's own screen: Overview, Steps, Log, Metrics, Config, Events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Click

from etlmon.core.errors import EtlmonError, NotFound
from etlmon.core.text import shown
from etlmon.tui.drawing.spans import Line, plain
from etlmon.tui.jobs import detail as job_detail
from etlmon.tui.jobs.detail import ROOMY_FROM, TABS, Detail
from etlmon.tui.jobs.live import LiveJob, from_view
from etlmon.tui.jobs.panel import StepTime, parse_steps
from etlmon.tui.link_state import Standing
from etlmon.tui.screens.frame import FrameScreen, TooSmall
from etlmon.tui.screens.logs import HINTS
from etlmon.tui.widgets.frame_lines import FrameLine, HintLine
from etlmon.tui.widgets.line_scroll import LineScroll
from etlmon.tui.widgets.logs_pane import LogsPane

if TYPE_CHECKING:
    from etlmon.client.rest import Client

READ_EVERY_MS = 2000
"""How often the whole job is read again while it changes."""
MOST_EVENTS = 1000
LOG = TABS.index("Log")


class CrumbLine(FrameLine):
    """Where we are, and when the job ran."""

    def drawn(self, width: int, height: int) -> Sequence[Line]:
        """Row 1."""
        screen: JobScreen = self.screen  # type: ignore[assignment]
        detail = screen.detail
        if detail is None:
            return []
        console = self.console
        away = console.link.standing is not Standing.LIVE
        pill = console.link.pill(console.local_now()) if away else None
        return [job_detail.crumb_line(detail, width, console.scene, pill)]


class TabsLine(FrameLine):
    """The job's tabs; a click chooses one."""

    def drawn(self, width: int, height: int) -> Sequence[Line]:
        """Row 2."""
        screen: JobScreen = self.screen  # type: ignore[assignment]
        return [job_detail.tabs_line(screen.tab, width)]

    def on_click(self, event: Click) -> None:
        """Go to the tab under the pointer."""
        screen: JobScreen = self.screen  # type: ignore[assignment]
        text = plain(self._lines[0]) if self._lines else ""
        for n, name in enumerate(TABS):
            at = text.find(f" {name} ")
            if at <= event.x < at + len(name) + 2:
                screen.go(n)


class JobScreen(FrameScreen):
    """One job. It opens on what the table knows and reads the rest."""

    TAB: ClassVar[int] = 1
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "turn(1)", "next tab", id="job.next", priority=True),
        Binding("shift+tab", "turn(-1)", "tab before", id="job.before", priority=True, show=False),
        Binding("l", "log", "log", id="job.log"),
        Binding("p", "control('pause')", "pause", id="job.pause"),
        Binding("u", "control('resume')", "resume", id="job.resume"),
        Binding("x", "control('cancel')", "cancel", id="job.cancel"),
        Binding("R", "control('retry')", "retry", id="job.retry"),
        Binding("plus", "priority(1)", "sooner: priority up", id="job.sooner"),
        Binding("minus", "priority(-1)", "later: priority down", id="job.later"),
        Binding("y", "copy('id')", "copy id", id="job.copy_id"),
        Binding("Y", "copy('json')", "copy JSON", id="job.copy_json"),
        Binding("escape", "app.leave", "back", id="job.back"),
    ]

    def __init__(self, job_id: str, live: LiveJob | None = None, *, tab: int = 0) -> None:
        super().__init__()
        self.job_id = job_id
        self.tab = tab
        self._live = live
        self._view: dict[str, Any] = {}
        self._steps: list[StepTime] = []
        self._events: list[dict[str, Any]] = []
        self._read_at = 0
        self._read_seq = -1
        self._reading = False

    @property
    def detail(self) -> Detail | None:
        """All that is known of the job; None before anything is."""
        live = self.console.jobs.jobs.get(self.job_id) or self._live
        if live is None:
            return None
        return Detail(
            live=live,
            view=self._view,
            steps=self._steps,
            events=self._events,
            history=self.console.jobs.histories.get(self.job_id),
            away=self.console.link.is_away,
        )

    def compose(self) -> ComposeResult:
        """Crumb, tabs, the body of the tab, the keys."""
        yield CrumbLine()
        yield TabsLine()
        yield LineScroll(id="detail")
        yield LogsPane(job_ids=(self.job_id,), single=True)
        yield HintLine()
        yield TooSmall()

    def on_mount(self) -> None:
        """Show the tab and read what is missing."""
        self.go(self.tab)
        self._read()

    def hints(self) -> list[tuple[str, str]]:
        """The keys of this screen; in the log they are the lines'."""
        if self.tab == LOG:
            return [("tab", "next tab"), *HINTS]
        acts = []
        detail = self.detail
        if detail is not None and not self.console.is_read_only:
            acts = [("p", "pause"), ("x", "cancel")] if detail.live.is_active else [("R", "retry")]
        return [("tab", "next tab"), ("l", "log"), *acts, ("y", "copy id"), ("Y", "copy JSON"), ("esc", "back")]

    # -- tabs

    def go(self, tab: int) -> None:
        """Show a tab."""
        self.tab = tab % len(TABS)
        log = self.tab == LOG
        body, pane = self.query_one("#detail", LineScroll), self.query_one(LogsPane)
        body.display, pane.display = not log, log
        (pane if log else body).focus()
        if log:
            pane.query("LogView").first().focus()
        else:
            body.scroll_to(y=0, animate=False)
        self._draw()
        self.redraw_frame()

    def action_turn(self, by: int) -> None:
        """The next tab or the one before."""
        self.go(self.tab + by)

    def action_log(self) -> None:
        """The whole log."""
        self.go(LOG)

    # -- what is shown

    def _draw(self) -> None:
        body, detail = self.query_one("#detail", LineScroll), self.detail
        if detail is None or not body.size.width:
            return
        width, height, scene = body.size.width, body.size.height, self.console.scene
        match TABS[self.tab]:
            case "Overview":
                dotted, roomy = not self.console.palette.has_track, self.app.size.height >= ROOMY_FROM
                body.show(job_detail.overview(detail, width, height, scene, dotted=dotted, roomy=roomy))
            case "Steps":
                body.show(job_detail.steps(detail, width, scene))
            case "Metrics":
                body.show(job_detail.metrics(detail, width, scene))
            case "Config":
                body.show(job_detail.config(detail, width))
            case "Events":
                body.show(job_detail.events(detail, width, scene))

    def on_resize(self) -> None:
        """Another size, another drawing."""
        self.call_after_refresh(self._draw)

    def flush(self, now: int) -> None:
        """Paint what changed, and read the whole job again when it did."""
        live = self.console.jobs.jobs.get(self.job_id)
        changed = live is not None and live.job.seq != self._read_seq
        if changed and self.console.local_now() - self._read_at >= READ_EVERY_MS:
            self._read()
        self._draw()

    def tick(self, now: int) -> None:
        """Times move on."""
        self._draw()

    def repaint(self) -> None:
        """The theme changed."""
        super().repaint()
        self.query_one("#detail").refresh()

    # -- reading

    def _read(self) -> None:
        if not self._reading and not self.console.link.is_away:
            self._reading = True
            self.run_worker(self._read_whole(), exit_on_error=False)

    async def _read_whole(self) -> None:
        path = f"/api/jobs/{self.job_id}"

        def read(client: Client) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
            events = list(client.items(f"{path}/events", limit=MOST_EVENTS))
            return client.get(path), client.listed(f"{path}/steps"), events

        try:
            view, steps, self._events = await self.console.rest.ask(read)
        except NotFound as fault:
            self.console.toast("The job is gone", shown(fault.detail), "warn")
        except EtlmonError:  # the frame tells that the server is away; what is known stays
            pass
        else:
            self._view, self._steps = view, parse_steps(steps)
            self._live = from_view(view, self.console.now())
            self._read_seq = self._live.job.seq
        finally:
            self._read_at, self._reading = self.console.local_now(), False
        self._draw()
        self.redraw_frame()

    # -- what is done with the job

    def action_control(self, action: str) -> None:
        """Pause, resume, cancel or retry it."""
        detail = self.detail
        if detail is not None:
            self.console.control(action, [detail.live])

    def action_priority(self, by: int) -> None:
        """Put it before or behind others, while it waits in the queue."""
        detail = self.detail
        if detail is not None:
            self.console.move_priority([detail.live], by)

    def action_copy(self, what: str) -> None:
        """Copy its id, or the whole of it as JSON."""
        self.console.copy_jobs([self.job_id], what)
