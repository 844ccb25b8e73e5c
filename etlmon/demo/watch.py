"""Watching the demo: the server's live stream → what is known of each job, its last lines, and how it ended."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from etlmon.client.live import Link, Live, Reset
from etlmon.client.polling import Message
from etlmon.core.protocol import Wanted
from etlmon.demo.stage import JOBS
from etlmon.host.endpoint import Endpoint

FINAL = frozenset({"completed", "failed", "cancelled"})
LAST_LINES = 8


class Line(msgspec.Struct, frozen=True):
    """One log line as it is shown."""

    name: str
    level: str
    message: str


class Scene:
    """All that a display needs. ``on_change`` is told what changed: a line, or a job's new state."""

    def __init__(self, on_change: Callable[[Line | dict[str, Any]], None]) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.lines: deque[Line] = deque(maxlen=LAST_LINES)
        self.n_lines = 0
        self.link = "connecting"
        self._on_change = on_change

    @property
    def is_over(self) -> bool:
        """Whether each of the demo's jobs has reached a final status."""
        over = {job["name"] for job in self.jobs.values() if job["status"] in FINAL}
        return over >= set(JOBS)

    def take(self, item: Link | Reset | Message) -> None:
        """Apply one item of the live stream."""
        if isinstance(item, Link):
            self.link = item.state.value
        elif isinstance(item, Reset):
            self.jobs.clear()
        elif item.type == "snapshot":
            for job in item.data.get("jobs", []):
                self._take_job(job | {"jobId": job["id"]})
        elif item.type in {"job_status_update", "job_progress"}:
            self._take_job(item.data)
        elif item.type == "log_message":
            line = Line(item.data["name"], item.data["level"], item.data["message"])
            self.lines.append(line)
            self.n_lines += 1
            self._on_change(line)

    def _take_job(self, job: dict[str, Any]) -> None:
        self.jobs[job["jobId"]] = job
        self._on_change(job)


async def watch(endpoint: Endpoint, scene: Scene, *, started: Callable[[], None], deadline_s: float | None) -> None:
    """Follow the server until every job is over; ``started`` is called once the stream is live. Else TimeoutError."""
    live = Live(endpoint, Wanted(topics="jobs,logs"))
    begun = False
    async with asyncio.timeout(deadline_s):
        stream = live.__aiter__()
        try:
            async for item in stream:
                scene.take(item)
                if not begun and scene.link in {"live", "polling"}:
                    begun = True
                    started()
                if scene.is_over:
                    return
        finally:
            await stream.aclose()
