"""The table of jobs as a value that moves: what is known, what matches, in which order, what is marked. Pure.

``apply`` takes the stream's messages and remembers what changed; ``flush`` settles order and says what to paint.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from etlmon.core.job import ACTIVE, Status
from etlmon.tui.drawing import figures
from etlmon.tui.jobs.cells import number
from etlmon.tui.jobs.live import LiveJob, from_view, moved

if TYPE_CHECKING:
    from etlmon.core.filters import Predicate

Data = dict[str, Any]

WINDOW_MS = 24 * figures.HOUR
"""Ended jobs older than this leave the table."""
ORDER_EVERY_MS = 2000
"""Rows change place at most this often …"""
ORDER_AFTER_KEY_MS = 3000
"""… and never sooner than this after a key or the mouse."""
FRESH_MS = 2000
"""How long the glyph of a changed status is reversed."""
SAMPLES = 60
"""How many rates of a running job are kept: five minutes at one each five seconds."""
MOST_JOBS = 20_000
"""Ended jobs beyond this many are let go, oldest first."""

_GROUP = {Status.FAILED: 0, Status.PAUSED: 1, Status.RUNNING: 2, Status.PENDING: 3}


class Flush(msgspec.Struct, frozen=True):
    """What to paint: the jobs that changed, and whether rows changed place."""

    changed: frozenset[str]
    reordered: bool


class Failure(msgspec.Struct, frozen=True):
    """A job that failed while we watched."""

    id: str
    name: str
    message: str
    worked_ms: int | None


class History(msgspec.Struct, frozen=True):
    """What a running job did in the last five minutes, newest last."""

    rates: deque[float | None]
    error_shares: deque[float | None]


class JobsState:
    """Jobs by id; ``order`` holds the ids that match, as they are shown."""

    def __init__(self) -> None:
        self.jobs: dict[str, LiveJob] = {}
        self.order: list[str] = []
        self.place: dict[str, int] = {}
        self.counts: Counter[str] = Counter()
        self.marks: set[str] = set()
        self.histories: dict[str, History] = {}
        self.filter_text = ""
        self.failed_only = False
        self.sort_key = "STATUS"
        self.descending = False
        self.frozen = False
        self.held_back = 0
        """New rows that wait for their place."""
        self.failures: list[Failure] = []
        """Jobs that failed since ``take_failures``."""
        self._predicate: Predicate | None = None
        self._dirty: set[str] = set()
        self._fresh: dict[str, int] = {}
        self._stale_order = False
        self._ordered_at = 0
        self._touched_at = -ORDER_AFTER_KEY_MS
        self._unplaced: set[str] = set()

    # -- what comes in

    def apply(self, kind: str, data: Data, seq: int | None, at: int) -> None:
        """One message of the stream, sent at the server's instant ``at``."""
        match kind:
            case "job_progress" | "job_status_update":
                job_id = data.get("jobId")
                before = self.jobs.get(job_id or "")
                after = moved(before, data, seq, at)
                if after is not None and after is not before:
                    self._put(before, after, at)
            case "snapshot":
                self.merge((from_view(view, at) for view in data.get("jobs") or ()), at)
            case "job_gone":
                self._drop(str(data.get("jobId")))

    def merge(self, found: Iterable[LiveJob], now: int) -> None:
        """Jobs read whole: each is taken where it is newer than what is known."""
        for after in found:
            before = self.jobs.get(after.id)
            if before is None or before.job.seq <= after.job.seq:
                self._put(before, after, now, told=False)

    def forget_active(self) -> None:
        """The stream starts anew: what was under way is only kept if the snapshot names it again."""
        for job_id in [job_id for job_id, live in self.jobs.items() if live.is_active]:
            self._drop(job_id)

    def _put(self, before: LiveJob | None, after: LiveJob, now: int, *, told: bool = True) -> None:
        self.jobs[after.id] = after
        self._dirty.add(after.id)
        if after.id not in self.place:
            self._unplaced.add(after.id)
        if before is None or before.word != after.word:
            if before is not None:
                self.counts[before.word] -= 1
            self.counts[after.word] += 1
            self._stale_order = True
            if told:
                self._fresh[after.id] = now + FRESH_MS
                self._tell(after, now)
        elif self.sort_key not in ("STATUS", "NAME", "TYPE", "OWNER", "HOST", "AGE") or after.id not in self.place:
            self._stale_order = True

    def _tell(self, after: LiveJob, now: int) -> None:
        job = after.job
        if job.status is Status.FAILED:
            message = job.failure.message.split("\n", 1)[0] if job.failure is not None else ""
            self.failures.append(Failure(job.id, job.name, message, job.execution_ms(now)))

    def _drop(self, job_id: str) -> None:
        gone = self.jobs.pop(job_id, None)
        if gone is not None:
            self.counts[gone.word] -= 1
            self._dirty.add(job_id)
            self._stale_order = True

    # -- what the person asks

    def touch(self, now: int) -> None:
        """A key or the mouse: rows keep their places for a while."""
        self._touched_at = now

    def filter(self, text: str, now: int, *, failed_only: bool | None = None) -> None:
        """Show what matches; core.errors.Invalid for a filter that says nothing, and then all stays as it is."""
        from etlmon.core.filters import compile, parse  # not before somebody filters: the first paint is early

        self._predicate = compile(parse(text, now)) if text.strip() else None
        self.filter_text = text.strip()
        if failed_only is not None:
            self.failed_only = failed_only
        self.reorder(now)

    def sort(self, key: str, *, descending: bool, now: int) -> None:
        """Order by a column."""
        self.sort_key, self.descending = key, descending
        self.reorder(now)

    def mark(self, job_id: str) -> None:
        """Mark or unmark a job."""
        self.marks ^= {job_id}
        self._dirty.add(job_id)

    @property
    def hidden_marks(self) -> int:
        """Marked jobs that do not match the filter."""
        return sum(job_id not in self.place for job_id in self.marks)

    def chosen(self, under_cursor: str | None) -> list[LiveJob]:
        """What an action is about: the marked jobs, or else the one under the cursor."""
        ids = [job_id for job_id in self.order if job_id in self.marks]
        ids += sorted(self.marks.difference(ids))
        if not ids and under_cursor is not None:
            ids = [under_cursor]
        return [self.jobs[job_id] for job_id in ids if job_id in self.jobs]

    # -- what is shown

    @property
    def total(self) -> int:
        """Jobs known."""
        return len(self.jobs)

    def is_fresh(self, job_id: str, now: int) -> bool:
        """Whether the job's status has just changed."""
        return self._fresh.get(job_id, 0) > now

    def matches(self, live: LiveJob, now: int) -> bool:
        """Whether the job passes the filter and is not too old for the table."""
        if self.failed_only and live.job.status is not Status.FAILED:
            return False
        if not live.is_active and now - live.since > WINDOW_MS:
            return False
        return self._predicate is None or self._predicate(live.job, now)

    def flush(self, now: int) -> Flush:
        """Settle what may be settled now. What changed is told once."""
        changed = self._dirty
        self._dirty = set()
        for job_id in [job_id for job_id, until in self._fresh.items() if until <= now]:
            del self._fresh[job_id]
            changed.add(job_id)
        reordered = False
        if self._stale_order and not self.frozen:
            may = now - self._ordered_at >= ORDER_EVERY_MS and now - self._touched_at >= ORDER_AFTER_KEY_MS
            if may or not self.order:
                reordered = self.reorder(now)
        if self._stale_order:
            waiting = (self.jobs[job_id] for job_id in self._unplaced if job_id in self.jobs)
            self.held_back = sum(self.matches(live, now) for live in waiting)
        return Flush(frozenset(changed), reordered)

    def reorder(self, now: int, *, keep: str | None = None) -> bool:
        """Put every row into its place; whether any moved. ``keep`` stays, even if it matches no longer."""
        self._trim(now)
        ids = [job_id for job_id, live in self.jobs.items() if self.matches(live, now)]
        if keep is not None and keep in self.jobs and not self.matches(self.jobs[keep], now):
            ids.append(keep)
        key = _SORTS[self.sort_key]
        ids.sort(key=lambda job_id: key(self.jobs[job_id], now), reverse=self.descending)
        if self.descending and self.sort_key in _NUMERIC:
            ids.sort(key=lambda job_id: key(self.jobs[job_id], now)[0])  # the unknown stay last
        self._stale_order, self._ordered_at, self.held_back = False, now, 0
        self._unplaced.clear()
        if ids == self.order:
            return False
        self.order = ids
        self.place = {job_id: at for at, job_id in enumerate(ids)}
        return True

    def _trim(self, now: int) -> None:
        over = [live for live in self.jobs.values() if not live.is_active and now - live.since > WINDOW_MS]
        if len(self.jobs) - len(over) > MOST_JOBS:
            kept = sorted((live for live in self.jobs.values() if not live.is_active), key=lambda live: live.since)
            over = kept[: len(self.jobs) - MOST_JOBS]
        for live in over:
            self._drop(live.id)
            self.marks.discard(live.id)

    def take_failures(self) -> list[Failure]:
        """The failures since the last call."""
        taken, self.failures = self.failures, []
        return taken

    def sample_rates(self) -> float:
        """Note every running job's rate and error share for its sparklines; records per second of all together."""
        total = 0.0
        histories, self.histories = self.histories, {}
        for job_id, live in self.jobs.items():
            if live.job.status is not Status.RUNNING:
                continue
            history = histories.get(job_id) or History(deque(maxlen=SAMPLES), deque(maxlen=SAMPLES))
            rate = number(live.job, "processingRate")
            history.rates.append(rate)
            history.error_shares.append(number(live.job, "errorRate"))
            self.histories[job_id] = history
            total += rate or 0.0
        return total

    def owners(self) -> list[str]:
        """Every owner there is, for the hint when none matches."""
        return sorted({live.job.owner for live in self.jobs.values() if live.job.owner})


def by_status(live: LiveJob, now: int) -> tuple[int, int]:
    """Failed, paused, running, pending, ended; in each the newest change first."""
    return _GROUP.get(live.job.status, 4), -live.since


def _last(value: float | None) -> tuple[bool, float]:
    """Unknown values come after known ones."""
    return value is None, value or 0.0


_NUMERIC = frozenset({"PROGRESS", "ETA", "TIME", "ROWS", "ERR", "RATE"})
_SORTS: dict[str, Callable[[LiveJob, int], Any]] = {
    "STATUS": by_status,
    "NAME": lambda live, now: (live.job.name, -live.since),
    "TYPE": lambda live, now: (live.job.type, live.job.name),
    "OWNER": lambda live, now: (live.job.owner is None, live.job.owner or "", live.job.name),
    "HOST": lambda live, now: (live.job.host is None, live.job.host or "", live.job.name),
    "PROGRESS": lambda live, now: _last(live.job.progress_percent if live.job.status in ACTIVE else None),
    "ETA": lambda live, now: _last(live.high_at if live.is_active else None),
    "TIME": lambda live, now: _last(live.job.execution_ms(now)),
    "ROWS": lambda live, now: _last(number(live.job, "recordsProcessed")),
    "ERR": lambda live, now: _last(number(live.job, "recordsFailed")),
    "RATE": lambda live, now: _last(number(live.job, "processingRate") if live.is_active else None),
    "AGE": lambda live, now: -live.since,
}
