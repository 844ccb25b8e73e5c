"""``+`` and ``-``: the priority of queued jobs, moved as fast as the key is pressed, sent in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from etlmon.core import errors
from etlmon.core.job import Status
from etlmon.core.text import shown
from etlmon.tui.jobs.live import LiveJob, from_view
from etlmon.tui.steering import control
from etlmon.tui.steering.control import Told

if TYPE_CHECKING:
    from etlmon.client.rest import Client
    from etlmon.tui.app import Console

LEAST, MOST = -1000, 1000


def wanted(live: LiveJob, known: int | None, by: int) -> int:
    """The priority after one more press; ``known`` is the one that earlier presses asked for."""
    return max(LEAST, min(MOST, (live.job.priority if known is None else known) + by))


def none_waits(jobs: Sequence[LiveJob]) -> Told:
    """Why there is nothing to put first."""
    if len(jobs) == 1:
        live = jobs[0]
        return Told(f"{live.job.name} keeps its priority", f"it is {live.word}: only queued jobs wait by it", "warn")
    return Told("No job here waits in the queue", "priority decides who is next", "warn")


class Priorities:
    """What presses asked for and was not sent yet."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._asked: dict[str, int] = {}
        self._sending = False

    def move(self, jobs: Sequence[LiveJob], by: int) -> None:
        """Raise or lower the priority of those that wait."""
        if self.console.link.read_only:
            self.console.toast(*control.no_rights("reorder", read_only=True))
            return
        waiting = [live for live in jobs if live.job.status is Status.PENDING]
        if not waiting:
            if jobs:
                self.console.toast(*none_waits(jobs))
            return
        for live in waiting:
            self._asked[live.id] = wanted(live, self._asked.get(live.id), by)
        if not self._sending:
            self._sending = True
            self.console.run_worker(self._send(), name="priority", exit_on_error=False)

    async def _send(self) -> None:
        """One request for each job's newest wish, until none is left."""
        try:
            while self._asked:
                job_id = next(iter(self._asked))
                await self._send_one(job_id, self._asked[job_id])
        finally:
            self._sending = False
            self._asked.clear()

    async def _send_one(self, job_id: str, priority: int) -> None:
        def ask(client: Client) -> dict[str, Any]:
            view: dict[str, Any] = client.patch(f"/api/jobs/{job_id}", body={"priority": priority})
            return view

        name = shown(self.console.name_of(job_id) or job_id)
        try:
            view = await self.console.rest.ask(ask)
        except errors.Forbidden as fault:
            self._asked.pop(job_id, None)
            self.console.toast(f"{name} keeps its priority", shown(fault.detail), "warn")
        except errors.EtlmonError as fault:
            self._asked.clear()
            self.console.toast(f"{name} keeps its priority", shown(fault.detail), "fail")
        else:
            self.console.jobs.merge([from_view(view, self.console.now())], self.console.now())
            if self._asked.get(job_id) == priority:
                del self._asked[job_id]
