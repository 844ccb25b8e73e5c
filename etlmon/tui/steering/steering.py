"""How a control goes: the server's dry run, the question, the control itself, what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from etlmon.core import errors
from etlmon.core.text import shown
from etlmon.tui.jobs.live import LiveJob, from_view
from etlmon.tui.screens.confirm import Answer, ConfirmScreen
from etlmon.tui.screens.jobs import JobsScreen
from etlmon.tui.steering import control
from etlmon.tui.steering.control import LeftAlone, Plan, Told
from etlmon.tui.steering.lines import question_of

if TYPE_CHECKING:
    from etlmon.client.rest import Client
    from etlmon.tui.app import Console

MOST_AT_ONCE = 1000
"""How many ids the server takes in one request."""
OBEYED_WITHIN_S = 1.5
"""How long the result waits for the jobs to obey, so that it can say so."""
LOOK_EVERY_S = 0.05


class Steering:
    """One control at a time: a second key press while one is under way does nothing."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.busy = False

    def begin(self, action: str, jobs: Sequence[LiveJob]) -> None:
        """Pause, resume, cancel or retry these jobs."""
        if self.busy or not jobs:
            return
        if self.console.link.read_only:  # a viewer may control what is its own: the server judges
            self._tell(control.no_rights(action, read_only=True))
            return
        self.busy = True
        marked = any(live.id in self.console.jobs.marks for live in jobs)
        self.console.run_worker(self._steer(action, list(jobs), marked), name="control", exit_on_error=False)

    async def _steer(self, action: str, jobs: list[LiveJob], marked: bool) -> None:
        try:
            if len(jobs) == 1 and action != "cancel":
                await self._one(action, jobs[0])
            else:
                await self._several(action, jobs, marked)
        except errors.EtlmonError as fault:
            subject = jobs[0].job.name if len(jobs) == 1 else f"{len(jobs):,} jobs"
            self._tell(_fault(action, subject, fault))
        finally:
            self.busy = False

    async def _one(self, action: str, live: LiveJob) -> None:
        """One pause, resume or retry: no question."""
        now, zone = self.console.now(), self.console.zone

        def ask(client: Client) -> Told | None:
            try:
                client.post(f"/api/jobs/{live.id}/{action}")
            except errors.Conflict as fault:
                known = from_view(client.get(f"/api/jobs/{live.id}"), now)
                return control.refused_one(action, known, fault.detail, now=now, zone=zone)
            except errors.Forbidden as fault:
                return control.refused_one(action, live, fault.detail, now=now, zone=zone)
            return None

        refused = await self.console.rest.ask(ask)
        if refused is not None:
            self._tell(refused)
            return
        obeyed = await self._obeyed(action, [live.id])
        self._tell(control.one_result(action, live.job.name, obeyed=bool(obeyed)))

    async def _several(self, action: str, jobs: list[LiveJob], marked: bool) -> None:
        answers = await self._bulk(action, [live.id for live in jobs], None, dry_run=True)
        now, zone = self.console.now(), self.console.zone
        fresh = [self.console.jobs.jobs.get(live.id, live) for live in jobs]
        plan = control.plan_from(action, fresh, answers, now=now, zone=zone)
        plan = replace(plan, marked=marked, prod=control.is_prod(self.console.link.server) and action == "cancel")
        if not plan.eligible:
            self._tell(control.none_eligible(plan))
            return
        asked = question_of(plan, ascii_only=self.console.ascii)
        answer: Answer | None = await self.console.push_screen_wait(ConfirmScreen(asked))
        if answer is not None:
            await self._act(plan, answer)

    async def _act(self, plan: Plan, answer: Answer) -> None:
        wanted = [live.id for live in plan.eligible]
        answers = await self._bulk(plan.action, wanted, answer.reason, dry_run=False)
        done = [job_id for each in answers for job_id in each.get("ids") or ()]
        fresh = [self.console.jobs.jobs.get(live.id, live) for live in plan.eligible]
        late = control.plan_from(plan.action, fresh, answers, now=self.console.now(), zone=self.console.zone).left
        obeyed = await self._obeyed(plan.action, done)
        left: list[LeftAlone] = [*plan.left, *late]
        for title, line in control.who_was_left(left):
            self.console.toasts.note(title, line, now=self.console.local_now())
        self._tell(control.result(replace(plan, now=self.console.now()), obeyed, left))
        if plan.marked and done:
            self._unmark()

    async def _bulk(self, action: str, ids: list[str], reason: str | None, *, dry_run: bool) -> list[Mapping[str, Any]]:
        def ask(client: Client) -> list[Mapping[str, Any]]:
            body = {"action": action, "reason": reason, "dryRun": dry_run}
            return [
                client.post("/api/jobs/bulk", body={**body, "ids": ids[at : at + MOST_AT_ONCE]})
                for at in range(0, len(ids), MOST_AT_ONCE)
            ]

        return await self.console.rest.ask(ask)

    async def _obeyed(self, action: str, ids: Sequence[str]) -> int:
        """How many of the jobs have done what was asked, as soon as all have or the wait is over."""
        loop = asyncio.get_running_loop()
        end = loop.time() + OBEYED_WITHIN_S
        while True:
            n = sum(control.has_obeyed(action, self.console.jobs.jobs.get(job_id)) for job_id in ids)
            if n == len(ids) or loop.time() >= end:
                return n
            await asyncio.sleep(LOOK_EVERY_S)

    def _unmark(self) -> None:
        self.console.jobs.marks.clear()
        for screen in self.console.screen_stack:
            if isinstance(screen, JobsScreen):
                screen.action_unmark()

    def _tell(self, told: Told) -> None:
        self.console.toast(*told)


def _fault(action: str, subject: str, fault: errors.EtlmonError) -> Told:
    """A fault of the server or of the way to it."""
    if isinstance(fault, errors.Forbidden):
        return Told(f"You may read here, not {action}:", shown(fault.detail), "warn")
    verb = "were" if subject.endswith(" jobs") else "was"
    return Told(f"{subject} {verb} not {control.PAST[action]}", shown(fault.detail), "fail")
