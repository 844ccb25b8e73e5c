"""The side pane: the job under the cursor, its steps, its last five minutes, the end of its log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from textual.timer import Timer

from etlmon.core.errors import EtlmonError
from etlmon.core.ids import short_id
from etlmon.tui.drawing.spans import Line, Span, cut, line_width, spread
from etlmon.tui.jobs import panel as job_panel
from etlmon.tui.jobs.panel import StepTime, parse_steps
from etlmon.tui.widgets.frame_lines import FrameLine

if TYPE_CHECKING:
    from etlmon.client.rest import Client

REST_S = 0.25
"""How long the cursor rests on a job before its steps and lines are asked for."""
AGAIN_S = 3.0
"""How often they are asked for again while the job runs."""


class SidePane(FrameLine):
    """Shows one job; what is not in the table is asked for once the cursor rests."""

    DEFAULT_CSS = """
    SidePane { width: 41; height: 1fr; padding: 0 0 0 1; display: none; }
    SidePane.roomy { width: 62; }
    SidePane.below { width: 1fr; height: 10; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.job_id: str | None = None
        self._steps: list[StepTime] = []
        self._entries: list[dict[str, Any]] = []
        self._asked: Timer | None = None

    def look_at(self, job_id: str | None) -> None:
        """Show another job."""
        if job_id != self.job_id:
            self.job_id, self._steps, self._entries = job_id, [], []
        self.redraw()
        self._ask_in(REST_S)

    def _ask_in(self, seconds: float) -> None:
        if self._asked is not None:
            self._asked.stop()
        if self.display and self.job_id is not None:
            self._asked = self.set_timer(seconds, self._ask)

    async def _ask(self) -> None:
        job_id = self.job_id
        if job_id is None or self.console.link.is_away:
            return

        def read(client: Client) -> tuple[dict[str, Any], list[dict[str, Any]]]:
            return client.get(f"/api/jobs/{job_id}"), client.listed(f"/api/jobs/{job_id}/steps")

        try:
            job, steps = await self.console.rest.ask(read)
        except EtlmonError:  # the pane is an extra: the frame tells that the server is away
            return
        if job_id != self.job_id or not self.is_attached:
            return
        self._steps, self._entries = parse_steps(steps), job.get("recentLogs") or []
        self.redraw()
        live = self.console.jobs.jobs.get(job_id)
        if live is not None and live.is_active:
            self._ask_in(AGAIN_S)

    def drawn(self, width: int, height: int) -> Sequence[Line]:
        """The job's lines, the log's end filling what is left."""
        width -= 1
        live = self.console.jobs.jobs.get(self.job_id or "")
        if live is None:
            return [[Span(" No job here.", "muted")]]
        scene = self.console.scene
        end = [Span(" " + cut(short_id(live.id), width // 2), "muted")]
        title = spread([Span(cut(live.job.name, width - line_width(end)), "text bold")], end, width)
        lines: list[Line] = [title]
        lines += job_panel.head_lines(live, width, scene, dotted=not self.palette.has_track)
        if steps := job_panel.step_lines(self._steps, width, scene, ended=not live.is_active, most=max(2, height // 4)):
            lines += [[Span("STEPS", "muted")], *steps]
        if sparks := job_panel.spark_lines(self.console.jobs.histories.get(live.id), width):
            lines += [[Span("LAST 5 MINUTES", "muted")], *sparks]
        lines.append(spread([Span("LOG", "muted")], [Span("l", "accent"), Span(" whole log", "muted")], width))
        room = height - len(lines)
        lines += job_panel.log_lines(self._entries, width, scene, most=room) or [[Span("No lines yet.", "muted")]]
        return [[Span(" "), *line] for line in lines]
