"""Pause, resume, cancel, retry: which jobs it fits, which are left alone and why, and every word said about it. Pure.

Rights and states are the server's word: a plan is made from its dry run; here its reasons become short ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any, Final, NamedTuple

import msgspec

from etlmon.core.job import FINAL, Status
from etlmon.core.text import shown
from etlmon.tui.drawing import figures
from etlmon.tui.jobs.live import LiveJob

TYPED_OVER = 20
"""More jobs than this are only cancelled after their number was typed."""
RIGHTS = "Only an operator or "
"""How the server's refusal for want of rights begins."""
PAST: Final = {"pause": "paused", "resume": "resumed", "cancel": "cancelled", "retry": "retried"}


class LeftAlone(msgspec.Struct, frozen=True):
    """A job that the action does not fit, and why in a few words."""

    job: LiveJob
    why: str
    for_rights: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an action would do to the chosen jobs."""

    action: str
    eligible: tuple[LiveJob, ...]
    left: tuple[LeftAlone, ...] = ()
    marked: bool = False
    """Whether the jobs were chosen by marks, not by the cursor."""
    prod: bool = False
    """Whether the server is one where a slip costs most."""
    now: int = 0
    zone: tzinfo | None = None

    @property
    def n(self) -> int:
        """How many jobs it would act on."""
        return len(self.eligible)

    @property
    def must_type(self) -> str:
        """What has to be typed before it can be done; empty when nothing."""
        return str(self.n) if self.n > TYPED_OVER or self.prod else ""


class Words(NamedTuple):
    """What the dialog says."""

    title: str
    question: str
    safe: str
    act: str
    hint: str
    typed: str


def plan_from(
    action: str,
    chosen: Sequence[LiveJob],
    answers: Sequence[Mapping[str, Any]],
    *,
    now: int,
    zone: tzinfo | None = None,
) -> Plan:
    """The plan that the server's dry run (``POST /api/jobs/bulk``, one answer for each thousand ids) makes."""
    ids = {job_id for answer in answers for job_id in answer.get("ids") or ()}
    skipped = {each.get("id"): str(each.get("why") or "") for answer in answers for each in answer.get("skipped") or ()}
    left = tuple(_left(live, action, skipped.get(live.id, ""), now, zone) for live in chosen if live.id not in ids)
    eligible = tuple(live for live in chosen if live.id in ids)
    return Plan(action=action, eligible=eligible, left=left, now=now, zone=zone)


def _left(live: LiveJob, action: str, sentence: str, now: int, zone: tzinfo | None) -> LeftAlone:
    return LeftAlone(live, why_left(live, action, sentence, now, zone), sentence.startswith(RIGHTS))


def why_left(live: LiveJob, action: str, sentence: str, now: int, zone: tzinfo | None = None) -> str:
    """The server's reason in a few words: ``ended 02:51``, ``is lena's; you may read it``."""
    job = live.job
    if sentence.startswith(RIGHTS):
        return f"is {job.owner}'s; you may read it" if job.owner else "has no owner; you may read it"
    if sentence.startswith("There is no such job"):
        return "is gone"
    if sentence.startswith("Nobody would obey"):
        return f"has no agent that could {action} it"
    if action == "retry":
        return _not_retried(live, sentence)
    if "counts as lost" in sentence:
        return "is lost: nobody would obey"
    if job.status in FINAL:
        ended = live.job.finished_at
        return f"ended {figures.day_clock(ended, now, zone)}" if ended is not None else "has ended"
    if sentence.startswith("The job is already "):
        return "has just ended"
    if sentence.startswith("The job is "):
        return _standing(live, action)
    return shown(sentence).rstrip(".") or "could not be asked"


def _not_retried(live: LiveJob, sentence: str) -> str:
    """Why there is nothing to start again; of a watched job with the command that started it, where it is known."""
    if "only watched" in sentence:
        _, _, how = sentence.partition("start again: ")
        return "was only watched: " + (shown(how).rstrip(".") if how else "it cannot start from here")
    if sentence.startswith("The job is "):
        return f"is {live.job.status.value} still"
    return shown(sentence).rstrip(".") or "could not be asked"


def _standing(live: LiveJob, action: str) -> str:
    match live.job.status:
        case Status.PENDING:
            return "has not started"
        case Status.PAUSED:
            return "is paused already"
        case _:
            return "runs already" if action == "resume" else "is not running"


# -- the dialog


def words(plan: Plan) -> Words:
    """Title, question, buttons and hint of the dialog."""
    n, one = plan.n, plan.n == 1
    jobs = f"{n:,} job{'' if one else 's'}"
    them = "it" if one else "them"
    typed = f"Type {plan.must_type} to {plan.action} {jobs}" if plan.must_type else ""
    match plan.action:
        case "retry":
            return _retry_words(plan, jobs, them, typed)
        case "cancel":
            runs = any(live.job.status is Status.RUNNING for live in plan.eligible)
            safe = f"Keep {them} running" if runs else f"Keep {them}"
            return Words(
                f"Cancel job{'' if one else 's'}",
                f"{_subject(plan)} will be cancelled. This is final.",
                safe,
                f"Cancel {jobs}",
                f"esc keeps {them}",
                typed,
            )
        case "pause":
            safe, hint = (f"Let {them} run", f"esc lets {them} run")
        case _:
            safe, hint = (f"Leave {them} paused", f"esc leaves {them} paused")
    verb = plan.action.capitalize()
    question = f"{verb} {jobs}?" if not plan.left else f"{verb} {jobs} of {n + len(plan.left):,}?"
    return Words(f"{verb} job{'' if one else 's'}", question, safe, f"{verb} {jobs}", hint, typed)


def _retry_words(plan: Plan, jobs: str, them: str, typed: str) -> Words:
    """``Retry 12 failed jobs? 3 cannot start from here.``"""
    failed = all(live.job.status is Status.FAILED for live in plan.eligible)
    which = jobs.replace(" ", " failed ", 1) if failed else jobs
    rest = f" {len(plan.left):,} cannot start from here." if plan.left else ""
    title = "Retry job" if plan.n == 1 else "Retry jobs"
    return Words(title, f"Retry {which}?{rest}", f"Leave {them}", f"Retry {jobs}", f"esc leaves {them}", typed)


def _subject(plan: Plan) -> str:
    """``3 of 5 marked jobs``, ``3 marked jobs``, ``1 of 5 marked jobs``, ``orders_nightly``."""
    n, every = plan.n, plan.n + len(plan.left)
    if every == 1:
        return plan.eligible[0].job.name
    marked = "marked " if plan.marked else ""
    return f"{n:,} of {every:,} {marked}jobs" if plan.left else f"{n:,} {marked}jobs"


# -- what came of it


class Told(NamedTuple):
    """A toast: title, line, role."""

    title: str
    line: str = ""
    role: str = "text"


def no_rights(action: str, *, read_only: bool) -> Told:
    """Why this console may only look."""
    why = "this console is read-only." if read_only else "this token is a viewer's."
    return Told(f"You may read here, not {action}:", why, "warn")


def none_eligible(plan: Plan) -> Told:
    """No dialog: why there is nothing to do."""
    if plan.left and all(each.for_rights for each in plan.left):
        return no_rights(plan.action, read_only=False)
    if len(plan.left) == 1:
        name = plan.left[0].job.job.name
        return Told(f"{name} was not {PAST[plan.action]}", _it(plan.left[0], plan), "warn")
    return Told(f"No job can be {PAST[plan.action]}", _most_whys(plan.left), "warn")


def _it(left: LeftAlone, plan: Plan) -> str:
    """The reason as said of one job: ``it ended 3s ago``."""
    ended = left.job.job.finished_at
    if left.job.job.status in FINAL and ended is not None and left.why.startswith("ended"):
        return f"it ended {figures.age(plan.now - ended)} ago"
    return f"it {left.why}"


def _most_whys(left: Sequence[LeftAlone]) -> str:
    """``3 ended, 2 are not yours``: reasons by how often they come."""
    kinds: dict[str, int] = {}
    for each in left:
        kind = "not yours" if each.for_rights else each.why.split(" ", 1)[0] if each.why[:5] == "ended" else each.why
        kinds[kind] = kinds.get(kind, 0) + 1
    often = sorted(kinds.items(), key=lambda item: -item[1])
    return ", ".join(f"{n:,} {kind}" for kind, n in often)


def result(plan: Plan, settled: int, left: Sequence[LeftAlone]) -> Told:
    """What a control of several, or the one in a dialog, has done; ``settled`` jobs have obeyed by now.

    ``left`` are all that were not acted on: those of the plan and those that changed meanwhile.
    """
    asked = plan.n - (len(left) - len(plan.left))
    line = f"{len(left):,} left alone · n shows who" if left else ""
    if asked <= 0:
        return none_eligible(msgspec.structs.replace(plan, eligible=(), left=tuple(left)))
    if asked == 1 and plan.n == 1 and not plan.marked:
        return one_result(plan.action, plan.eligible[0].job.name, obeyed=settled >= 1)
    jobs = f"{asked:,} job{'' if asked == 1 else 's'}"
    if settled >= asked:
        return Told(f"{jobs} {PAST[plan.action]}", line, "ok")
    waiting = f"{settled:,} did so far" if settled else "they answer at their next step"
    return Told(f"{jobs} asked to {plan.action}", line or waiting, "ok")


def one_result(action: str, name: str, *, obeyed: bool) -> Told:
    """What the control of one job has done."""
    if action == "retry":
        return Told(f"{name} retried", "it waits in the queue as a new job", "ok")
    if obeyed:
        return Told(f"{name} {PAST[action]}", "", "ok")
    return Told(f"{name} asked to {action}", "it answers at its next step", "ok")


def refused_one(action: str, live: LiveJob, sentence: str, *, now: int, zone: tzinfo | None = None) -> Told:
    """Why one job was not paused or resumed; ``live`` is the job as the server has it now."""
    left = _left(live, action, sentence, now, zone)
    return none_eligible(Plan(action=action, eligible=(), left=(left,), now=now, zone=zone))


def who_was_left(left: Sequence[LeftAlone]) -> list[tuple[str, str]]:
    """A notice for each job left alone: name and why."""
    return [(f"{each.job.job.name} was left alone", f"it {each.why}") for each in left]


def has_obeyed(action: str, live: LiveJob | None) -> bool:
    """Whether the job is where the action wants it."""
    if live is None:
        return True
    status = live.job.status
    match action:
        case "pause":
            return status is Status.PAUSED
        case "resume":
            return status is Status.RUNNING and live.job.control_pending is None
        case _:
            return status in FINAL


def is_prod(profile: str) -> bool:
    """Whether a profile's name marks it as production: ``prod``, ``production``, ``eu-prod``, ``prod_2``."""
    return any(part in ("prod", "production") for part in profile.lower().replace("_", "-").split("-"))
