"""Taking: what one batch does inside the writer's transaction. Runs in the writer thread; touches nothing but ``tx``.

Log lines take a short way of their own (they come 100,000 a second); every other report goes through the lifecycle.
"""

from __future__ import annotations

import random
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from etlmon.core import lifecycle, queue
from etlmon.core import reports as r
from etlmon.core.access import Identity, Role
from etlmon.core.errors import Conflict, Forbidden
from etlmon.core.events import Event, JobChange, LogRun
from etlmon.core.job import LEVEL_NUMBER, Job, Status
from etlmon.core.text import clean_name
from etlmon.core.verdicts import Accepted, Context, Duplicate, Rejected, is_lost
from etlmon.server.intake import Batch
from etlmon.server.lines import Batching, LineOwner, columns_of
from etlmon.server.store.producers import ProducerMark

if TYPE_CHECKING:
    from etlmon.server.store.logs.columns import Columns
    from etlmon.server.store.transaction import Transaction

WARNING = LEVEL_NUMBER["warning"]
OTHERS_JOB = "the job was reported with another token, which alone may report on it"

_job_id = attrgetter("job_id")


class Taking:
    """One batch on its way into one transaction."""

    def __init__(
        self, tx: Transaction, batch: Batch, identity: Identity, *, now: int, received_at: int, max_line_bytes: int
    ) -> None:
        self.tx = tx
        self.batch = batch
        self.identity = identity
        self.now = now
        self.received_at = received_at
        self.max_line_bytes = max_line_bytes
        self.accepted = 0
        self.duplicates = 0
        self.refused = list(batch.refused)
        self._owners: dict[str, LineOwner] = {}
        self._warnings: dict[str, int] = {}

    def take(self) -> r.Receipt:
        """Take the whole batch; the receipt is for after the commit. Conflict on a hole or other content."""
        batch = self.batch
        if batch.producer is not None:
            repeat = self._repeat(batch.producer)
            if repeat is not None:
                return repeat
        place = 0
        for kind, group in groupby(batch.reports, type):
            run = list(group)
            if kind is r.Log:
                self._take_lines(place, cast("list[r.Log]", run))
            else:
                for index, report in enumerate(run, place):
                    self._take_report(batch.index(index), report)
            place += len(run)
        for job_id in list(self._warnings):
            self._count_warnings(job_id)
        if batch.producer is not None:
            mark = ProducerMark(
                id=batch.producer, token_id=self.identity.token_id, seq=batch.seq, hash=batch.hash, at=self.now
            )
            self.tx.put_producer(mark)
        return self._receipt(None if batch.producer is None else batch.seq)

    def _repeat(self, producer: str) -> r.Receipt | None:
        """The receipt of a batch that was taken before; None when it is the one that comes next."""
        mark, seq = self.tx.producer(producer), self.batch.seq
        held = 0 if mark is None else mark.seq
        if mark is not None and mark.token_id != self.identity.token_id:
            raise Forbidden("This producer id was first used with another token: begin as a new producer.")
        if seq == held + 1:
            return None
        if seq > held:
            detail = f"Batch {seq} was sent, but {held + 1} is the next that can be taken: send from there."
            raise Conflict(detail, extra={"ack": held})
        if mark is not None and seq == held and mark.hash != self.batch.hash:
            detail = f"Batch {seq} was taken before with other content: begin as a new producer."
            raise Conflict(detail, extra={"ack": held})
        self.duplicates = self.batch.size
        self.refused = []
        return self._receipt(held)

    def _receipt(self, ack: int | None) -> r.Receipt:
        producer = self.batch.producer
        commands = [] if producer is None else self.tx.open_commands(producer=producer)
        return r.Receipt(
            ack=ack,
            accepted=self.accepted,
            duplicates=self.duplicates,
            rejected=sorted(self.refused, key=lambda refusal: refusal.index),
            commands=[
                r.CommandItem(id=c.id, job_id=c.job_id, action=c.action, reason=c.reason, by=c.by) for c in commands
            ],
        )

    # Log lines.

    def _take_lines(self, place: int, run: list[r.Log]) -> None:
        """Take a run of lines, the first of which stands at ``place``."""
        start = 0
        missing = self.batch.job_ids if len(self.batch.job_ids) == 1 else set(map(_job_id, run))
        missing = missing - self._owners.keys()
        for index, report in enumerate(run):
            if not missing:
                break
            if report.job_id not in missing:
                continue
            job = self.tx.job(report.job_id)
            if self._goes_first(job):  # what it changes has its number before the line and after the lines before
                self._put_lines(place + start, run[start:index])
                start = index
                job, why = self._judge(job, report)
                if why is not None:
                    self.refused.append(r.Refusal(self.batch.index(place + index), why))
                    start = index + 1
                    continue
            self._owners[report.job_id] = self._owner(job)
            missing.discard(report.job_id)
        self._put_lines(place + start, run[start:] if start else run)

    def _goes_first(self, job: Job | None) -> bool:
        """Whether the first line must go through the lifecycle before the job's lines are taken."""
        if job is not None and not self.identity.may_report(job):
            return False
        return job is None or job.status is Status.PENDING or job.fencing_token is not None or is_lost(job)

    def _judge(self, job: Job | None, report: r.Log) -> tuple[Job | None, str | None]:
        """The job after the line that brings it to life, or why it is not taken."""
        verdict = lifecycle.apply(job, report, self.now, self._context(job, report))
        if isinstance(verdict, Rejected):
            self._journal_refusal(verdict, job)
            return job, verdict.why
        if isinstance(verdict, Accepted):
            self._commit(job, verdict)
            return verdict.job, None
        return job, None

    def _owner(self, job: Job | None) -> LineOwner:
        """What lines of this job carry."""
        if job is None:
            return LineOwner("", None, 1)
        if not self.identity.may_report(job):
            return LineOwner("", None, 1, OTHERS_JOB)
        return LineOwner(job.name, job.current_step, job.attempt)

    def _put_lines(self, place: int, run: list[r.Log]) -> None:
        """Give the transaction a run of lines whose owners are known, with the numbers after its head."""
        if not run:
            return
        batching = Batching(self._owners, self.now, self.batch.skew_ms, self.max_line_bytes)
        columns, refused = columns_of(run, self.tx.head + 1, batching)
        self.refused += [r.Refusal(self.batch.index(place + each), why) for each, why in refused]
        if not columns.seqs:
            return
        first = self.tx.next_seq(len(columns.seqs))
        self.tx.append_columns(columns)
        job_ids = [context[0] for context in columns.contexts]
        jobs = {job_id: job for job_id in job_ids if (job := self.tx.job(job_id)) is not None}
        self.tx.publish(LogRun(seq=first, at=self.now, lines=columns.lines(), jobs=jobs))
        self.accepted += len(columns.seqs)
        if max(columns.levels) >= WARNING:
            self._note_warnings(columns)

    def _note_warnings(self, columns: Columns) -> None:
        for number, level in zip(columns.which, columns.levels, strict=True):
            if level >= WARNING:
                job_id = columns.contexts[number][0]
                self._warnings[job_id] = self._warnings.get(job_id, 0) + 1

    def _count_warnings(self, job_id: str) -> None:
        """Add the warnings of the batch so far to their job: before each other report, which may be its end."""
        n = self._warnings.pop(job_id, 0)
        job = self.tx.job(job_id) if n else None
        if job is not None and not job.is_final:
            self.tx.put_job(replace(job, warnings=job.warnings + n))

    # Everything else.

    def _context(self, job: Job | None, report: r.AnyReport) -> Context:
        name = report.name if isinstance(report, r.JobStarted) else None
        past = self.tx.past(clean_name(name)) if name is not None and (job is None or job.past is None) else None
        owner = self.identity.owner if job is None and self.identity.role is Role.REPORTER else None
        return Context(
            producer=self.batch.producer,
            reporter=self.identity.token_id,
            by=self.identity.actor,
            owner=owner,
            skew_ms=self.batch.skew_ms,
            past=past,
            dice=random.random(),  # noqa: S311 - it spreads retries, it keeps no secret
        )

    def _take_report(self, index: int, report: r.AnyReport) -> None:
        self._count_warnings(report.job_id)
        job = self.tx.job(report.job_id)
        if job is not None and not self.identity.may_report(job):
            self.refused.append(r.Refusal(index, OTHERS_JOB))
            return
        verdict = lifecycle.apply(job, report, self.now, self._context(job, report))
        match verdict:
            case Duplicate():
                self.duplicates += 1
                if report.command_id is not None:
                    self.tx.settle_command(report.command_id, "obeyed", self.now)
            case Rejected():
                self.refused.append(r.Refusal(index, verdict.why))
                self._journal_refusal(verdict, job)
            case Accepted():
                self.accepted += 1
                self._commit(job, verdict)
                self._owners.pop(report.job_id, None)

    def _journal_refusal(self, verdict: Rejected, job: Job | None) -> None:
        if verdict.event is not None and job is not None:
            refused = Accepted(job=job, events=(verdict.event,))
            commit_verdict(self.tx, job, refused, now=self.now, received_at=self.received_at)

    def _commit(self, before: Job | None, verdict: Accepted) -> None:
        after = commit_verdict(self.tx, before, verdict, now=self.now, received_at=self.received_at)
        if after.is_managed:
            self._attach(after)

    def _attach(self, job: Job) -> None:
        """Whoever reports on a managed job works on it: it is to obey as well as the worker that started it."""
        producer = self.batch.producer
        if producer is None or job.is_final or job.status is Status.PENDING or producer == job.producer:
            return
        self.tx.put_job(replace(job, producer=producer))
        self.tx.address_commands(job.id, producer)


def commit_verdict(
    tx: Transaction, before: Job | None, verdict: Accepted, *, now: int, received_at: int | None = None
) -> Job:
    """Number an accepted change, write its job and journal rows, settle its command, hand it on for after the commit.

    Every change of a job, whoever asked for it, goes through here; those that wait for a job that is over have one wait
    less, or fail with it. Returns the job with its newest ``seq``.
    """
    after = _commit(tx, before, verdict, now, received_at)
    over = [after] if after.is_final else []
    while over:
        upstream = over.pop()
        for job_id in tx.queue.take_waiting(upstream.id):
            waiting = tx.job(job_id)
            if waiting is not None and upstream.id in waiting.waiting_for:
                told = queue.upstream_ended(waiting, upstream.id, upstream.status, now)
                waiting = _commit(tx, waiting, told, now, None)
                over += [waiting] if waiting.is_final else []
    return after


def _commit(tx: Transaction, before: Job | None, verdict: Accepted, now: int, received_at: int | None) -> Job:
    if verdict.settles is not None:
        tx.settle_command(verdict.settles[0], verdict.settles[1], now)
    if not verdict.events and not verdict.sample:
        return verdict.job
    events: tuple[Event | None, ...] = (*verdict.events, None) if verdict.sample else verdict.events
    after = verdict.job
    for event in events:
        seq = tx.next_seq()
        after = replace(after, seq=seq)
        if event is not None:
            tx.append_event(seq, event, before, after)
        tx.publish(
            JobChange(
                seq=seq,
                at=now,
                before=before,
                after=after,
                event=event,
                metrics_only=event is None and verdict.metrics_only,
                received_at=received_at,
            )
        )
        before = after
    tx.put_job(after)
    return after
