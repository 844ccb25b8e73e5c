"""Dispatch: gives queued jobs to workers, holds their leases, takes jobs back. What is allowed is ``core.queue``'s to
judge; what is true stands in the store. In memory it keeps only who waits for a job, and who was heard of last.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from etlmon.core import control, endings, queue
from etlmon.core import reports as r
from etlmon.core.access import Identity
from etlmon.core.errors import Conflict, NotFound
from etlmon.core.events import Item, JobChange, Notice
from etlmon.core.job import ACTIVE, Job, Status
from etlmon.core.protocol import MessageType
from etlmon.core.verdicts import Accepted, Context, Verdict
from etlmon.host.clock import monotonic_s, new_id
from etlmon.server.store.commands import Command
from etlmon.server.store.queue import QueuePause, Spec, WorkerRow
from etlmon.server.taking import commit_verdict

if TYPE_CHECKING:
    from etlmon.server.store.store import Store
    from etlmon.server.store.transaction import Transaction

RESCUED_AT_ONCE = 200
"""Jobs taken back in one transaction at most."""
OTHERS_CLAIM = "The fencing token is not the one of the present attempt: the job was given to another worker."


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What dispatch needs of the configuration (durations in ms)."""

    lease_ms: int = 30_000
    command_deadline_ms: int = 60_000


class Claimed(msgspec.Struct, frozen=True):
    """A job given to a worker, and what there is to do."""

    job: Job
    spec: Spec


class Held(msgspec.Struct, frozen=True):
    """A claim as its worker names it."""

    job_id: str
    fencing_token: int


class Renewed(msgspec.Struct, frozen=True):
    """What became of a worker's claims: those that no longer hold, and what is asked of the others."""

    lost: list[str]
    commands: list[Command]


class _Waiter:
    """Somebody who waits for a job of some queues, or for news of some jobs."""

    def __init__(self, queues: frozenset[str] = frozenset(), jobs: frozenset[str] = frozenset()) -> None:
        self.queues = queues
        self.jobs = jobs
        self.bell = asyncio.Event()


class Dispatch:
    """See the module. ``now`` gives wall milliseconds."""

    def __init__(self, store: Store, *, now: Callable[[], int], settings: Settings) -> None:
        self._store = store
        self._now = now
        self.settings = settings
        self._waiters: dict[_Waiter, None] = {}
        self._heard: dict[str, tuple[WorkerRow, int]] = {}
        self.connected: Counter[str] = Counter()
        self._alarm: asyncio.TimerHandle | None = None
        self._is_stopping = False

    async def start(self) -> None:
        """After a restart every lease holds one period more: its worker could reach nobody."""
        await self.extend_leases(self._now())

    async def extend_leases(self, now: int) -> int:
        """Every lease holds for a whole period from ``now``; how many there are."""
        until = now + self.settings.lease_ms
        return await self._store.write(lambda tx: tx.queue.extend_leases(until), reserve=True)

    # Who waits.

    def observe(self, items: Iterable[Item]) -> None:
        """Called with all that was committed: one waiter is woken for each job that became ready."""
        if not self._waiters:
            return
        for item in items:
            if not isinstance(item, JobChange) or item.event is None or item.after.queue is None:
                continue
            job = item.after
            if job.status is Status.PENDING and not job.waiting_for:
                self._ring_one(job.queue or "")
            else:
                self._ring_of(job.id)

    def _ring_one(self, name: str) -> None:
        for waiter in self._waiters:
            if name in waiter.queues and not waiter.bell.is_set():
                waiter.bell.set()
                return

    def _ring_of(self, job_id: str) -> None:
        for waiter in self._waiters:
            if job_id in waiter.jobs:
                waiter.bell.set()

    def ring_all(self) -> None:
        """Let everybody who waits look again."""
        for waiter in self._waiters:
            waiter.bell.set()

    def stop_waiting(self) -> None:
        """Let every long poll answer now: the server is about to stop."""
        self._is_stopping = True
        self.ring_all()
        if self._alarm is not None:
            self._alarm.cancel()

    @contextmanager
    def _waiting(self, waiter: _Waiter) -> Iterator[asyncio.Event]:
        """Among the waiters; a ring that came too late for this one is passed on."""
        self._waiters[waiter] = None
        try:
            yield waiter.bell
        finally:
            del self._waiters[waiter]
            if waiter.bell.is_set():
                for name in waiter.queues:
                    self._ring_one(name)

    def _wake_at(self, due_at: int | None) -> None:
        """One alarm, for the next job whose time comes."""
        if due_at is None or self._is_stopping:
            return
        loop = asyncio.get_running_loop()
        at = loop.time() + max(0.001, (due_at - self._now()) / 1000)
        if self._alarm is not None:
            if not self._alarm.cancelled() and loop.time() < self._alarm.when() <= at:
                return
            self._alarm.cancel()
        self._alarm = loop.call_at(at, self.ring_all)

    # Claims.

    async def claim(
        self, worker: WorkerRow, most: int, wait_ms: int, identity: Identity, is_gone: Callable[[], bool]
    ) -> list[Claimed]:
        """Up to ``most`` jobs for a worker, after up to ``wait_ms`` for the first. Claims are committed.

        Nothing is given to a worker who ``is_gone``: what it was about to get goes back at once.
        """
        until = monotonic_s() + wait_ms / 1000
        waiter = _Waiter(frozenset(worker.queues))
        self.connected[worker.id] += 1
        try:
            with self._waiting(waiter) as bell:
                while not is_gone():
                    bell.clear()
                    found = await self._claim_now(worker, most, identity)
                    left = until - monotonic_s()
                    if found or left <= 0 or self._is_stopping:
                        return await self._unless_gone(found, identity, is_gone)
                    await _rung(bell, left)
                bell.set()
        finally:
            self.connected[worker.id] -= 1
            self.connected += Counter()
        return []

    async def _claim_now(self, worker: WorkerRow, most: int, identity: Identity) -> list[Claimed]:
        now, is_news = self._now(), self._is_news(worker)

        def op(tx: Transaction) -> tuple[list[Claimed], int | None]:
            if is_news:
                tx.queue.put_worker(worker, now)
            chosen = tx.queue.claimable(worker.queues, most, now)
            return [self._give(tx, job_id, worker, identity, now) for job_id in chosen], tx.queue.next_due()

        found, due_at = await self._store.write(op)
        if is_news:
            self._heard[worker.id] = (worker, now)
        self._wake_at(due_at)
        return found

    def _is_news(self, worker: WorkerRow) -> bool:
        """Whether it is worth a write that the worker was heard of."""
        known = self._heard.get(worker.id)
        return known is None or known[0] != worker or self._now() - known[1] > self.settings.lease_ms // 3

    def _give(self, tx: Transaction, job_id: str, worker: WorkerRow, identity: Identity, now: int) -> Claimed:
        job = tx.job(job_id)
        assert job is not None  # noqa: S101 - its row in the queue follows from it
        token = tx.head + 1  # the number of the claim itself: no other claim ever has it
        claim = queue.Claim(worker=worker.id, host=worker.host, reporter=identity.token_id, token=token)
        after = commit_verdict(tx, job, queue.claimed(job, claim, tx.past(job.name), now), now=now)
        tx.queue.lease(job_id, now + self.settings.lease_ms)
        if after.control_pending is not None:
            after = self._ask_again(tx, after, now)
        return Claimed(after, tx.queue.work(job_id) or Spec(type=job.type, work_key=job_id))

    def _ask_again(self, tx: Transaction, job: Job, now: int) -> Job:
        """The pause that the job owes from an attempt before: a command for its new worker."""
        asked = job.control_pending
        if asked is None or any(command.id == asked.command_id for command in tx.open_commands(job_id=job.id)):
            return job
        command = Command(
            id=new_id(),
            job_id=job.id,
            producer=None,
            action=asked.action,
            reason=asked.reason,
            by=asked.by,
            at=now,
            deadline_at=now + self.settings.command_deadline_ms,
        )
        tx.add_command(command)
        job = msgspec.structs.replace(job, control_pending=msgspec.structs.replace(asked, command_id=command.id))
        tx.put_job(job)
        return job

    async def _unless_gone(
        self, found: list[Claimed], identity: Identity, is_gone: Callable[[], bool]
    ) -> list[Claimed]:
        if not found or not is_gone():
            return found
        for one in found:
            held = Held(one.job.id, one.job.fencing_token or 0)
            await self.release(held, "its worker had left before it was told", identity)
        return []

    # Leases.

    async def renew(self, worker_id: str, held: list[Held], wait_ms: int, identity: Identity) -> Renewed:
        """Hold on to claims; which are lost, and what is asked of the rest, after up to ``wait_ms`` for either."""
        until = monotonic_s() + wait_ms / 1000
        with self._waiting(_Waiter(jobs=frozenset(one.job_id for one in held))) as bell:
            renewed = await self._renew_now(worker_id, held, identity)
            while not (renewed.lost or renewed.commands or self._is_stopping) and monotonic_s() < until:
                await _rung(bell, until - monotonic_s())
                bell.clear()
                renewed = await self._renew_now(worker_id, held, identity)
        return renewed

    async def _renew_now(self, worker_id: str, held: list[Held], identity: Identity) -> Renewed:
        now = self._now()
        until = now + self.settings.lease_ms

        def op(tx: Transaction) -> Renewed:
            tx.queue.touch_worker(worker_id, now)
            lost, commands = [], list[Command]()
            for one in held:
                job = tx.job(one.job_id)
                is_own = job is not None and identity.may_report(job)
                if is_own and tx.queue.renew(one.job_id, one.fencing_token, until):
                    commands += tx.open_commands(job_id=one.job_id)
                else:
                    lost.append(one.job_id)
            return Renewed(lost, commands)

        return await self._store.write(op, reserve=True)

    async def release(self, held: Held, reason: str | None, identity: Identity) -> Job:
        """A worker gives a job back: pending at once. Conflict when the claim does not hold."""
        now = self._now()

        def op(tx: Transaction) -> Job:
            job = tx.job(held.job_id)
            if job is None or not job.is_managed or not identity.may_report(job):
                raise NotFound(f"There is no job {held.job_id[:128]!r} here that this token has claimed.")
            if job.status not in ACTIVE or job.fencing_token != held.fencing_token:
                raise Conflict(OTHERS_CLAIM)
            return commit_verdict(tx, job, queue.released(job, reason, identity.actor, now), now=now)

        return await self._store.write(op, reserve=True)

    async def rescue(self, now: int) -> int:
        """Take back the jobs whose lease ran out; how many."""
        expiry = await self._store.queue.next_expiry()
        if expiry is None or expiry >= now:
            return 0

        def op(tx: Transaction) -> int:
            found = tx.queue.expired(now, RESCUED_AT_ONCE)
            for job_id in found:
                job = tx.job(job_id)
                assert job is not None  # noqa: S101 - its row in the queue follows from it
                commit_verdict(tx, job, queue.rescued(job, now), now=now)
            return len(found)

        return await self._store.write(op, reserve=True)

    async def settle_unobeyed(self, now: int) -> int:
        """End controls whose time is over: a managed job's cancel is carried out without its worker, which learns that
        its claim is lost; anything else is told as refused. How many."""
        late = [command for command in await self._store.open_commands() if self._is_over(command, now)]
        for command in late:
            await self._store.write(partial(_settle, command=command, now=now), reserve=True)
        return len(late)

    def _is_over(self, command: Command, now: int) -> bool:
        """Whoever obeys has until the deadline to use force, and a lease more to say so."""
        return command.deadline_at is not None and now > command.deadline_at + self.settings.lease_ms

    async def clock_jumped(self, by_ms: int) -> None:
        """The wall clock moved against the monotonic one: leases move with it."""
        await self._store.write(lambda tx: tx.queue.shift_leases(by_ms), reserve=True)

    # Pause of whole queues.

    async def pause(self, name: str, reason: str | None, identity: Identity) -> bool:
        """Let a queue (``*``: every one) give out nothing until it is resumed; False when it was paused before."""
        now = self._now()

        def op(tx: Transaction) -> bool:
            if any(pause.queue == name for pause in tx.queue.pauses()):
                return False
            tx.queue.pause(QueuePause(queue=name, by=identity.actor, reason=reason, at=now))
            _tell_pause(tx, name, is_paused=True, by=identity.actor, reason=reason, now=now)
            return True

        return await self._store.write(op, reserve=True)

    async def resume(self, name: str, reason: str | None, identity: Identity) -> bool:
        """Let a queue give out jobs again; False when it was not paused."""
        now = self._now()

        def op(tx: Transaction) -> bool:
            if not tx.queue.resume(name):
                return False
            _tell_pause(tx, name, is_paused=False, by=identity.actor, reason=reason, now=now)
            return True

        resumed = await self._store.write(op, reserve=True)
        self.ring_all()
        return resumed


def _settle(tx: Transaction, command: Command, now: int) -> None:
    job = tx.job(command.job_id)
    asked = None if job is None else job.control_pending
    if job is None or asked is None or asked.command_id != command.id:
        tx.settle_command(command.id, "overtaken", now)
        return
    if job.is_managed and command.action == "cancel":
        forced = r.Cancelled(job_id=job.id, reason=asked.reason, command_id=command.id)
        verdict: Verdict = endings.cancelled(job, forced, now, asked.by, asked.reason)
    else:
        seconds = (now - asked.at) // 1000
        refusal = r.ControlRefused(
            job_id=job.id, command_id=command.id, reason=f"The job did not obey within {seconds} s."
        )
        verdict = control.refuse(job, refusal, now, Context())
    if isinstance(verdict, Accepted):
        commit_verdict(tx, job, msgspec.structs.replace(verdict, job=_touched(verdict.job, now)), now=now)


def _touched(job: Job, now: int) -> Job:
    return msgspec.structs.replace(job, updated_at=now)


def _tell_pause(tx: Transaction, name: str, *, is_paused: bool, by: str, reason: str | None, now: int) -> None:
    """Journal, audit and stream: a queue that gives out nothing must be noticed."""
    data = {"queue": name, "paused": is_paused, "by": by, "reason": reason}
    notice = Notice(seq=tx.next_seq(), at=now, topic="queue", type=MessageType.QUEUE_UPDATE, data=data)
    tx.append_notice(notice)
    tx.publish(notice)
    action = "queue.pause" if is_paused else "queue.resume"
    tx.audit(at=now, actor=by, action=action, subject=name, detail={"reason": reason})


async def _rung(bell: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await bell.wait()
    except TimeoutError:
        return False
    return True


__all__ = ["Claimed", "Dispatch", "Held", "Renewed", "Settings"]
