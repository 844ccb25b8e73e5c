"""The recorder: the one door for change. Each thing that happens has a small function of the transaction; what comes
back has been committed. It also keeps, in memory, when each agent was last heard of."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from etlmon.core import control, endings, queue
from etlmon.core import reports as r
from etlmon.core.access import Identity, Role
from etlmon.core.errors import Conflict, Forbidden, Invalid, NotFound, StoreUnavailable
from etlmon.core.events import Item, JobChange
from etlmon.core.job import ACTIVE, Job, Status
from etlmon.core.text import clean_name
from etlmon.core.verdicts import Accepted, Duplicate, Rejected
from etlmon.host.clock import new_id
from etlmon.server import auth
from etlmon.server.intake import Batch, parse_batch, parse_report
from etlmon.server.store.commands import Command
from etlmon.server.store.tokens import Token
from etlmon.server.taking import Taking, commit_verdict

if TYPE_CHECKING:
    from etlmon.server.store.store import Store
    from etlmon.server.store.transaction import Transaction
    from etlmon.server.stream.hub import Hub

T = TypeVar("T")
PRODUCER_MEMORY_MS = 3_600_000
"""How long a silent producer is remembered: far longer than any ``lost_after`` in use."""
DAY_MS = 86_400_000
SLICES_A_ROUND = 200
"""Retention removes this many slices of rows at once, then lets a minute of other work pass."""
OVERDUE_MS = 30_000
"""An agent enforces its own timeout; the server steps in this much later."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the recorder needs of the configuration (instants and durations in ms)."""

    lost_after_ms: int = 90_000
    max_line_bytes: int = 16_000
    command_deadline_ms: int = 60_000
    history_ms: int = 30 * DAY_MS


class Recorder:
    """See the module. ``now`` gives wall milliseconds."""

    def __init__(self, store: Store, hub: Hub, *, now: Callable[[], int], settings: Settings) -> None:
        self._store = store
        self._hub = hub
        self._now = now
        self.settings = settings
        self._started_at = now()
        self._heard: dict[str, int] = {}
        self._watched: dict[str, Job] = {}
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._is_stopping = False

    async def start(self) -> None:
        """Learn which jobs are under way, so that silence can be noticed."""
        for job in await self._store.active_jobs():
            self._watch(job)

    def observe(self, items: Iterable[Item]) -> None:
        """Called with all that was committed, before viewers are told."""
        for item in items:
            if isinstance(item, JobChange):
                self._watch(item.after)

    def _watch(self, job: Job) -> None:
        if job.status in ACTIVE:
            self._watched[job.id] = job
        else:
            self._watched.pop(job.id, None)
            self._heard.pop(job.id, None)

    # Reports.

    async def record(self, body: bytes, identity: Identity, received_at: int) -> r.Receipt:
        """Take the body of ``POST /api/reports``; the receipt comes after the durable commit.

        Malformed, Invalid, Conflict (hole or other content, with ``ack``), Forbidden, StoreUnavailable.
        """
        if identity.role is Role.VIEWER:
            raise Forbidden("A viewer token cannot report: use a reporter token.")
        batch = parse_batch(body, received_at)
        return await self.take(batch, identity, received_at)

    async def take(self, batch: Batch, identity: Identity, received_at: int) -> r.Receipt:
        """Take a parsed batch."""
        now = self._now()

        def op(tx: Transaction) -> r.Receipt:
            taking = Taking(
                tx, batch, identity, now=now, received_at=received_at, max_line_bytes=self.settings.max_line_bytes
            )
            return taking.take()

        try:
            receipt = await self._store.write(op, reserve=not batch.has_lines, n_bytes=batch.n_bytes)
        except StoreUnavailable:
            self._hear(batch, now)
            await self._show_volatile(batch, identity)
            raise
        self._hear(batch, now)
        return receipt

    def _hear(self, batch: Batch, now: int) -> None:
        if batch.producer is not None:
            self._heard[batch.producer] = now
        for job_id in batch.job_ids & self._watched.keys():
            self._heard[job_id] = now

    async def _show_volatile(self, batch: Batch, identity: Identity) -> None:
        """Viewers go on seeing what cannot be committed now, marked as such (design.md, law 8)."""
        jobs = []
        for state in batch.now[:1000]:
            job_id = state.get("id")
            if not isinstance(job_id, str):
                continue
            known = self._watched.get(job_id) or await self._store.job(job_id)
            if known is not None and not identity.may_report(known):
                continue
            shown = _volatile(known, state, self._now(), identity)
            if shown is not None:
                jobs.append(shown)
        self._hub.publish_volatile(jobs)

    async def progress(self, job_id: str, body: bytes, identity: Identity) -> Job:
        """Take one progress report (``PUT /api/jobs/{id}/progress``); the job after it."""
        try:
            given = msgspec.json.decode(body or b"{}", type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, RecursionError) as fault:
            raise Invalid(f"The body must be a JSON object with what a progress report sets: {fault}.") from None
        report = parse_report(msgspec.json.encode({**given, "kind": "progress", "jobId": job_id}))
        if isinstance(report, str):
            raise Invalid(f"The progress report cannot be taken: {report}.")
        now = self._now()
        batch = Batch(
            reports=[report],
            refused=[],
            job_ids={job_id},
            n_bytes=len(body),
            size=1,
            producer=None,
            seq=0,
            hash=b"",
            skew_ms=0,
            now=[],
            has_lines=False,
        )
        receipt = await self.take(batch, identity, now)
        if receipt.rejected:
            raise Invalid(f"The progress report cannot be taken: {receipt.rejected[0].why}.")
        return await self._job(job_id)

    # Control.

    async def control(self, job_id: str, action: str, reason: str | None, identity: Identity) -> Job:
        """Ask for ``pause``, ``resume`` or ``cancel``; the job with what is pending. NotFound, Forbidden, Conflict."""
        now, command_id = self._now(), new_id()

        def op(tx: Transaction) -> Job:
            job = _visible(tx, job_id, identity)
            if not identity.may_control(job):
                raise Forbidden(f"Only an operator or the job's owner ({job.owner or 'nobody'}) may {action} it.")
            verdict = control.request_control(
                job,
                action,
                by=identity.actor,
                reason=reason,
                command_id=command_id,
                now=now,
                obeyed_by_nobody=control.has_nobody(job),
            )
            if isinstance(verdict, Rejected):
                raise Conflict(verdict.why)
            if isinstance(verdict, Duplicate):
                return job
            after = commit_verdict(tx, job, verdict, now=now)
            if after.control_pending is not None:
                tx.add_command(self._command(after, command_id, now))
            tx.audit(at=now, actor=identity.actor, action=f"job.{action}", subject=job_id, detail={"reason": reason})
            return after

        job: Job = await self._store.write(op, reserve=True)
        self._wake(job.producer)
        return job

    def _command(self, job: Job, command_id: str, now: int) -> Command:
        asked = job.control_pending
        assert asked is not None  # noqa: S101 - the caller has just seen it
        return Command(
            id=command_id,
            job_id=job.id,
            producer=job.producer,
            action=asked.action,
            reason=asked.reason,
            by=asked.by,
            at=now,
            deadline_at=now + self.settings.command_deadline_ms,
        )

    def _wake(self, producer: str | None) -> None:
        for event in self._waiting.get(producer or "", ()):
            event.set()

    async def commands(self, producer: str, wait_s: float, identity: Identity) -> list[r.CommandItem]:
        """The open commands of a producer, after up to ``wait_s`` for one; they repeat until a report names them."""
        await self._check_producer(producer, identity)
        woken = asyncio.Event()
        waiting = self._waiting.setdefault(producer, set())
        waiting.add(woken)
        try:
            async with asyncio.timeout(wait_s) as limit:
                while not (items := await self._open_commands(producer)) and not self._is_stopping:
                    self._heard[producer] = self._now()
                    await woken.wait()
                    woken.clear()
                limit.reschedule(None)
                return items
        except TimeoutError:
            return []
        finally:
            waiting.discard(woken)
            if not waiting:
                self._waiting.pop(producer, None)

    async def _check_producer(self, producer: str, identity: Identity) -> None:
        mark = await self._store.producer(producer)
        if mark is not None and mark.token_id != identity.token_id:
            raise Forbidden("This producer id was first used with another token.")

    async def _open_commands(self, producer: str) -> list[r.CommandItem]:
        commands = await self._store.open_commands(producer=producer)
        return [r.CommandItem(id=c.id, job_id=c.job_id, action=c.action, reason=c.reason, by=c.by) for c in commands]

    def stop_waiting(self) -> None:
        """Let every long poll answer now: the server is about to stop."""
        self._is_stopping = True
        for events in list(self._waiting.values()):
            for event in events:
                event.set()

    async def annotate(self, job_id: str, priority: int | None, tags: dict[str, str] | None, identity: Identity) -> Job:
        """Set the priority or replace the tags of a job."""
        now = self._now()

        def op(tx: Transaction) -> Job:
            job = _visible(tx, job_id, identity)
            if not identity.may_control(job):
                raise Forbidden(f"Only an operator or the job's owner ({job.owner or 'nobody'}) may change it.")
            verdict = control.annotate(job, priority=priority, tags=tags, by=identity.actor, now=now)
            if not isinstance(verdict, Accepted):
                return job
            detail = {"priority": priority, "tags": tags}
            tx.audit(at=now, actor=identity.actor, action="job.annotate", subject=job_id, detail=detail)
            return commit_verdict(tx, job, verdict, now=now)

        return await self._store.write(op)

    # What time brings.

    async def sweep(self, now: int) -> int:
        """Fail what was silent for ``lost_after`` or ran past its deadline; how many jobs that were."""
        silent = [(job, quiet) for job in self._watched.values() if (quiet := self._silence(job, now)) is not None]
        overdue = [job for job in self._watched.values() if _overdue(job, now)]
        for job, quiet in silent:
            await self._judge(job.id, partial(endings.mark_lost, silent_ms=quiet, now=now), now)
        for job in overdue:
            dice = random.random()  # noqa: S311 - it spreads retries, it keeps no secret
            await self._judge(job.id, partial(queue.timed_out, now=now, dice=dice), now)
        self._forget_producers(now)
        return len(silent) + len(overdue)

    def _silence(self, job: Job, now: int) -> int | None:
        """How long the job's agent has been silent, when that is too long. A draining backlog is life."""
        if job.producer is None or job.status is Status.PENDING or job.is_managed:  # a managed job has its lease
            return None
        heard = max(self._heard.get(job.id, 0), self._heard.get(job.producer, 0), self._started_at)
        quiet = now - heard
        return quiet if quiet > self.settings.lost_after_ms else None

    async def _judge(self, job_id: str, judge: Callable[[Job], Accepted], now: int) -> None:
        def op(tx: Transaction) -> None:
            job = tx.job(job_id)
            if job is not None and job.status in ACTIVE:
                commit_verdict(tx, job, judge(job), now=now)

        await self._store.write(op, reserve=True)

    def _forget_producers(self, now: int) -> None:
        horizon = now - max(PRODUCER_MEMORY_MS, 2 * self.settings.lost_after_ms)
        for key in [key for key, at in self._heard.items() if at < horizon and key not in self._watched]:
            del self._heard[key]

    async def prune(self, now: int) -> int:
        """Remove what is older than the configuration keeps, a slice at a time; how many rows and files went."""
        before, removed = now - self.settings.history_ms, 0
        for verb in ("prune_jobs", "prune_journal", "prune_rest"):
            for _ in range(SLICES_A_ROUND):
                n: int = await self._store.write(methodcaller(verb, before), reserve=True)
                removed += n
                if n == 0:
                    break
        return removed + await asyncio.to_thread(self._store.logs.prune, now)

    def clock_jumped(self, by_ms: int) -> None:
        """The wall clock moved against the monotonic one: silence is counted as if it had not."""
        self._started_at += by_ms
        self._heard = {key: at + by_ms for key, at in self._heard.items()}

    # Tokens.

    async def create_token(
        self, *, name: str, role: Role, owner: str | None, expires_at: int | None, identity: Identity
    ) -> tuple[Token, str]:
        """A new token and its plain text, which is shown this once."""
        now, plain = self._now(), auth.mint_token(role)
        token = Token(
            id=new_id(),
            name=clean_name(name),
            owner=None if owner is None else clean_name(owner),
            role=role,
            hash=auth.hash_token(plain),
            created_at=now,
            created_by=identity.actor,
            expires_at=expires_at,
        )

        def op(tx: Transaction) -> None:
            tx.put_token(token)
            detail = {"name": token.name, "role": role.value, "owner": token.owner}
            tx.audit(at=now, actor=identity.actor, action="token.create", subject=token.id, detail=detail)

        await self._store.write(op)
        return token, plain

    async def revoke_token(self, token_id: str, identity: Identity) -> None:
        """End a token for good. NotFound when there is none."""
        now = self._now()

        def op(tx: Transaction) -> None:
            if not tx.revoke_token(token_id, now):
                raise NotFound("There is no such token, or it was revoked before.")
            tx.audit(at=now, actor=identity.actor, action="token.revoke", subject=token_id, detail={})

        await self._store.write(op, reserve=True)

    async def _job(self, job_id: str) -> Job:
        job = await self._store.job(job_id)
        if job is None:
            raise NotFound(f"There is no job {job_id}.")
        return job


def _visible(tx: Transaction, job_id: str, identity: Identity) -> Job:
    job = tx.job(job_id)
    if job is None or not identity.sees(job):
        raise NotFound(f"There is no job {job_id}.")
    return job


def _overdue(job: Job, now: int) -> bool:
    grace = 0 if job.producer is None and not job.is_managed else OVERDUE_MS
    return job.status is Status.RUNNING and job.deadline_at is not None and now > job.deadline_at + grace


def _volatile(known: Job | None, state: dict[str, Any], now: int, identity: Identity) -> Job | None:
    """The job as its agent says it is now, for showing only; None when the state makes no sense."""
    base: dict[str, Any] = {} if known is None else msgspec.to_builtins(known)
    kept = {key: state[key] for key in _VOLATILE_KEYS if state.get(key) is not None}
    base |= kept
    base.setdefault("name", str(state.get("id")))
    base.setdefault("type", "unknown")
    base.setdefault("createdAt", now)
    base.setdefault("reporter", identity.token_id)
    base |= {"updatedAt": now}
    base["metrics"] = (known.metrics if known is not None else {}) | kept.get("metrics", {})
    try:
        return msgspec.convert(base, Job)
    except (msgspec.ValidationError, TypeError):
        return None


_VOLATILE_KEYS = ("id", "name", "type", "status", "owner", "progressPercent", "currentStep", "stepIndex", "metrics")
__all__ = ["Recorder", "Settings"]
