"""Queue: what waits, in which order and why; who works; pause and resume of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from etlmon.core.errors import EtlmonError
from etlmon.tui.drawing.spans import Line
from etlmon.tui.jobs.live import LiveJob
from etlmon.tui.queue import lines as queue_lines
from etlmon.tui.queue.state import ORDER_AFTER_KEY_MS, QueueState, Standing, standing_of
from etlmon.tui.screens.frame import FrameScreen
from etlmon.tui.widgets.frame_lines import FrameLine
from etlmon.tui.widgets.queue_list import QueueList

if TYPE_CHECKING:
    from etlmon.client.rest import Client

READ_EVERY_MS = 5000
"""How often the queue is read without news …"""
READ_AFTER_NEWS_MS = 500
"""… and how soon after some, at the earliest."""
ROOMY_FROM = 14
"""Below this many lines the workers are left out and the head has one line."""
MOST_WORKERS = 8
"""Lines for workers, at most a third of the screen."""


class QueueHead(FrameLine):
    """How the queue stands: two lines and a blank one."""

    DEFAULT_CSS = "QueueHead { height: 3; }"

    def drawn(self, width: int, height: int) -> Sequence[Line]:
        """Depth, the oldest, per priority."""
        screen: QueueScreen = self.screen  # type: ignore[assignment]
        standing = screen.state.standing
        return [] if standing is None else queue_lines.head(standing, width, self.console.scene)


class WorkersPane(FrameLine):
    """The workers, under the jobs."""

    DEFAULT_CSS = "WorkersPane { height: 3; }"

    def drawn(self, width: int, height: int) -> Sequence[Line]:
        """A title and a line for each."""
        screen: QueueScreen = self.screen  # type: ignore[assignment]
        standing, console = screen.state.standing, self.console
        if standing is None:
            return []
        return queue_lines.workers(standing, console.jobs.jobs, width, height, console.scene)

    def fit(self, n_workers: int, screen_height: int) -> None:
        """As high as the workers need, within bounds; away where there is hardly room for jobs."""
        self.display = screen_height >= ROOMY_FROM
        height = 1 + max(1, min(n_workers, MOST_WORKERS, screen_height // 3))
        if self.styles.height is None or self.styles.height.value != height:
            self.styles.height = height


class QueueScreen(FrameScreen):
    """Tab 3."""

    TAB: ClassVar[int] = 3
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("P", "pause_queue", "pause or resume the queue", id="queue.pause_queue"),
        Binding("plus", "priority(1)", "sooner: priority up", id="queue.sooner"),
        Binding("minus", "priority(-1)", "later: priority down", id="queue.later"),
        Binding("x", "cancel", "cancel", id="queue.cancel"),
        Binding("y", "copy", "copy id", id="queue.copy_id"),
        Binding("escape", "app.leave", "back", id="queue.back", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._read_at = -READ_EVERY_MS
        self._news_read = -1
        self._reading = False
        self._moved_at = -ORDER_AFTER_KEY_MS

    @property
    def state(self) -> QueueState:
        """The queue as a value."""
        return self.console.queue

    def compose_body(self) -> ComposeResult:
        """How it stands, the jobs, the workers."""
        yield QueueHead()
        yield QueueList(self.state)
        yield WorkersPane()

    def on_mount(self) -> None:
        """The list has the keys."""
        self.query_one(QueueList).focus()

    def on_resize(self) -> None:
        """Jobs come first where there is little room."""
        self._place()

    def _place(self) -> None:
        height, standing = self.app.size.height, self.state.standing
        self.query_one(QueueHead).styles.height = 3 if height >= ROOMY_FROM else 1
        self.query_one(WorkersPane).fit(len(standing.workers) if standing is not None else 0, height)

    # -- the flush

    def flush(self, now: int) -> None:
        """Rows follow the stream; how the queue stands is read again after news, and now and then."""
        self.state.settle(self.console.jobs.jobs, now, at_once=now - self._moved_at < ORDER_AFTER_KEY_MS)
        self.query_one(QueueList).redraw()
        self._read_when_due()

    def tick(self, now: int) -> None:
        """Ages and leases move on with the frame's lines."""

    def _read_when_due(self) -> None:
        since, news = self.console.local_now() - self._read_at, self.console.feed.queue_news
        due = since >= READ_EVERY_MS or (news != self._news_read and since >= READ_AFTER_NEWS_MS)
        if due and not self._reading and not self.console.link.is_away and self.console.feed.has_list:
            self._reading = True
            self.run_worker(self._read(news), name="queue", exit_on_error=False)

    async def _read(self, news: int) -> None:
        now = self.console.now()

        def read(client: Client) -> Standing:
            return standing_of(client.get("/api/queue"), client.listed("/api/workers"), now)

        try:
            self.show(await self.console.rest.ask(read))
            self._news_read = news
        except EtlmonError:  # the frame tells that the server is away; what is known stays
            pass
        finally:
            self._read_at, self._reading = self.console.local_now(), False

    def show(self, standing: Standing) -> None:
        """How the queue stands by now."""
        self.state.standing = standing
        self._place()
        self.redraw_frame()

    # -- row 3 and the hints

    def third_line(self) -> tuple[str, str, str]:
        """Loud while the queue is paused."""
        standing, n = self.state.standing, len(self.state.order)
        right = f"{n:,} job{'' if n == 1 else 's'}"
        told = "" if standing is None else queue_lines.banner(standing, self.console.scene)
        if not told:
            return "what waits, in the order in which it goes", right, "muted"
        return told, right if self.console.is_read_only else "P resumes", "warn bold reverse"

    def hints(self) -> list[tuple[str, str]]:
        """Keys of the queue; what changes it is left out for those who may not."""
        standing = self.state.standing
        word = "resume" if standing is not None and standing.pauses else "pause"
        acts = [("+ -", "priority"), ("x", "cancel"), ("P", f"{word} the queue"), (":submit", "a job")]
        return [("enter", "open"), *([] if self.console.is_read_only else acts), ("y", "copy id"), ("esc", "back")]

    # -- what is done

    def _chosen(self) -> list[LiveJob]:
        live = self.console.jobs.jobs.get(self.state.cursor or "")
        return [] if live is None else [live]

    def action_priority(self, by: int) -> None:
        """Put the job under the cursor before or behind others."""
        self._moved_at = self.console.now()
        self.console.move_priority(self._chosen(), by)

    def action_cancel(self) -> None:
        """Cancel the job under the cursor; asks first."""
        self.console.control("cancel", self._chosen())

    def action_copy(self) -> None:
        """Copy the id of the job under the cursor."""
        self.console.copy_jobs([live.id for live in self._chosen()], "id")

    def action_pause_queue(self) -> None:
        """Pause the queue, or resume it; asks first."""
        from etlmon.tui.steering.queue import toggle

        toggle(self.console, self)

    @on(QueueList.Opened)
    def _opened(self, event: QueueList.Opened) -> None:
        self.console.open_job(event.job_id)
