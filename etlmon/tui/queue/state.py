"""The queue as a value: the jobs that wait, in the order in which they will go; pauses, depths and workers. Pure.

The jobs come live with the stream's; how the queue stands and the workers are read over REST.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from etlmon.core.job import Status
from etlmon.core.text import shown
from etlmon.tui.jobs.live import LiveJob, instant

Data = dict[str, Any]

ORDER_EVERY_MS = 2000
"""Rows change place at most this often …"""
ORDER_AFTER_KEY_MS = 3000
"""… and never sooner than this after a key, but for a key that is meant to move them."""
EVERY_QUEUE = "*"


class Pause(msgspec.Struct, frozen=True):
    """A queue (``*``: all) that gives out nothing: by whom, since when, why."""

    queue: str
    by: str
    at: int | None
    reason: str


class Held(msgspec.Struct, frozen=True):
    """A job that a worker holds, and until when."""

    job_id: str
    until: int | None


class Worker(msgspec.Struct, frozen=True):
    """A worker process; ``slots`` is None where it does not say how many it has."""

    id: str
    host: str
    pid: int | None
    status: str
    slots: int | None
    queues: tuple[str, ...]
    held: tuple[Held, ...]
    seen_at: int | None


class Standing(msgspec.Struct, frozen=True):
    """What REST told of the queue at the instant ``at``."""

    at: int
    depth: int = 0
    ready: int = 0
    scheduled: int = 0
    blocked: int = 0
    running: int = 0
    oldest_at: int | None = None
    names: tuple[str, ...] = ()
    priorities: tuple[tuple[int, int], ...] = ()
    pauses: tuple[Pause, ...] = ()
    workers: tuple[Worker, ...] = ()


class Definition(msgspec.Struct, frozen=True):
    """A name that the server knows; ``startable``: submitting it starts it."""

    name: str
    startable: bool
    type: str = ""
    owner: str = ""
    schedule: str = ""


def definitions_of(items: list[Data]) -> tuple[Definition, ...]:
    """``GET /api/definitions`` → what may be submitted or is expected."""
    return tuple(
        Definition(
            shown(str(each.get("name") or "")),
            bool(each.get("startable")),
            shown(str(each.get("type") or "")),
            shown(str(each.get("owner") or "")),
            shown(str(each.get("schedule") or "")),
        )
        for each in items
    )


def standing_of(overview: Data, workers: list[Data], at: int) -> Standing:
    """``GET /api/queue`` and ``GET /api/workers`` → what the screen shows."""
    queues: list[Data] = overview.get("items") or []
    sums = {key: sum(int(each.get(key) or 0) for each in queues) for key in ("ready", "scheduled", "blocked")}
    return Standing(
        at=at,
        depth=int(overview.get("depth") or 0),
        running=int(overview.get("running") or 0),
        oldest_at=instant(overview.get("oldestAt")),
        names=tuple(shown(str(each.get("name") or "")) for each in queues),
        priorities=tuple((int(each["priority"]), int(each["depth"])) for each in overview.get("priorities") or ()),
        pauses=tuple(_pause(each) for each in overview.get("paused") or ()),
        workers=tuple(_worker(each) for each in workers),
        **sums,
    )


def _pause(data: Data) -> Pause:
    by, reason = shown(str(data.get("by") or "somebody")), shown(str(data.get("reason") or ""))
    return Pause(shown(str(data.get("queue") or EVERY_QUEUE)), by, instant(data.get("at")), reason)


def _worker(data: Data) -> Worker:
    return Worker(
        id=shown(str(data.get("id") or "")),
        host=shown(str(data.get("host") or "")),
        pid=data.get("pid"),
        status=shown(str(data.get("status") or "")),
        slots=data.get("concurrency"),
        queues=tuple(shown(str(each)) for each in data.get("queues") or ()),
        held=tuple(Held(str(each.get("jobId")), instant(each.get("leaseUntil"))) for each in data.get("running") or ()),
        seen_at=instant(data.get("lastSeenAt")),
    )


# -- the jobs that wait

READY, SCHEDULED, BLOCKED = 0, 1, 2


def waits(live: LiveJob) -> bool:
    """Whether a worker is to be given the job: what only reports itself is not queued here."""
    return live.job.status is Status.PENDING and live.job.source == "worker"


def kind_of(live: LiveJob, jobs: Mapping[str, LiveJob], now: int) -> int:
    """Ready, waiting for its time, or for other jobs. A job that is no longer known has ended long ago."""
    if any(each in jobs and jobs[each].job.status is not Status.COMPLETED for each in live.job.after):
        return BLOCKED
    return SCHEDULED if live.job.run_at is not None and live.job.run_at > now else READY


def order_of(jobs: Mapping[str, LiveJob], now: int) -> list[str]:
    """The queued jobs as they will go: the ready by priority and age, those that wait for their time, those held up."""

    def key(live: LiveJob) -> tuple[int, int, int]:
        kind, due = kind_of(live, jobs, now), live.job.run_at or live.job.created_at
        return (kind, due, -live.job.priority) if kind == SCHEDULED else (kind, -live.job.priority, due)

    return [live.id for live in sorted(filter(waits, jobs.values()), key=key)]


class QueueState:
    """What the screen shows, and what is under its cursor; it outlives the screen's absence."""

    def __init__(self) -> None:
        self.standing: Standing | None = None
        self.definitions: tuple[Definition, ...] = ()
        self.order: list[str] = []
        self.cursor: str | None = None
        self._ordered_at = 0
        self._touched_at = -ORDER_AFTER_KEY_MS

    def touch(self, now: int) -> None:
        """A key: rows keep their places for a while."""
        self._touched_at = now

    def settle(self, jobs: Mapping[str, LiveJob], now: int, *, at_once: bool = False) -> bool:
        """Put the rows into their places, if they may move now; whether any did. The cursor goes with its job."""
        may = now - self._ordered_at >= ORDER_EVERY_MS and now - self._touched_at >= ORDER_AFTER_KEY_MS
        if not (may or at_once or not self.order):
            return False
        after = order_of(jobs, now)
        if after == self.order:
            return False
        before, self.order, self._ordered_at = self.order, after, now
        if self.cursor not in after:
            at = before.index(self.cursor) if self.cursor in before else 0
            self.cursor = after[min(at, len(after) - 1)] if after else None
        return True

    def move(self, by: int) -> None:
        """The cursor some rows down or up."""
        if self.order:
            at = self.order.index(self.cursor) if self.cursor in self.order else 0
            self.cursor = self.order[max(0, min(at + by, len(self.order) - 1))]

    def nth(self, jobs: Mapping[str, LiveJob], now: int) -> dict[str, int]:
        """Which place each ready job has, from 1."""
        ready = (
            each for each in self.order if each in jobs and waits(jobs[each]) and not kind_of(jobs[each], jobs, now)
        )
        return {job_id: n for n, job_id in enumerate(ready, 1)}
