"""Taking: what one batch does inside the writer's transaction. Runs in the writer thread; touches nothing but ``tx``.

Log lines take a short way of their own (they come 100,000 a second); every other report goes through the lifecycle.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from etlmon.core import lifecycle
from etlmon.core import reports as r
from etlmon.core.access import Identity, Role
from etlmon.core.errors import Conflict, Forbidden
from etlmon.core.events import Event, JobChange, LogRun
from etlmon.core.instants import from_datetime
from etlmon.core.job import LEVEL_NUMBER, Job, LogLine, Status, parse_level
from etlmon.core.text import clean_json, clean_line, clean_name
from etlmon.core.verdicts import Accepted, Context, Duplicate, Rejected, is_lost
from etlmon.server.intake import Batch
from etlmon.server.store.producers import ProducerMark

if TYPE_CHECKING:
    from etlmon.server.store.transaction import Transaction

MAX_FIELDS_BYTES = 16_384
WARNING = LEVEL_NUMBER["warning"]
OTHERS_JOB = "the job was reported with another token, which alone may report on it"

_clean_logger = lru_cache(maxsize=1024)(clean_name)


class LineOwner(NamedTuple):
    """What a line takes from its job; ``refused`` says why the job takes none."""

    name: str
    step: str | None
    attempt: int
    refused: str | None = None


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
        place, size = 0, len(batch.reports)
        while place < size:
            report = batch.reports[place]
            if type(report) is r.Log:
                place = self._take_lines(place)
            else:
                self._take_report(batch.index(place), report)
                place += 1
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

    def _take_lines(self, place: int) -> int:
        """Take the run of lines that begins at ``place``; the place after it. What the hot loop touches is local."""
        reports, now, skew_ms, max_bytes = self.batch.reports, self.now, self.batch.skew_ms, self.max_line_bytes
        lines: list[LogLine] = []
        seq, last_at, last_ms = self.tx.head, None, now
        while place < len(reports) and type(report := reports[place]) is r.Log:
            owner = self._owners.get(report.job_id)
            if owner is None:
                self._flush(lines)
                lines, owner = [], self._line_owner(report)
                seq = self.tx.head
            level, fields = LEVEL_NUMBER.get(report.level), report.fields
            if level is None or fields is not UNSET or owner.refused is not None:
                level, fields = self._check_line(place, report, owner)
            place += 1
            if level is None:
                continue
            if level >= WARNING:
                self._warnings[report.job_id] = self._warnings.get(report.job_id, 0) + 1
            if report.at != last_at:
                last_at = report.at
                last_ms = now if last_at is None else min(now, from_datetime(last_at) + skew_ms)
            seq += 1
            line = LogLine(
                seq,
                report.job_id,
                owner.name,
                last_ms,
                level,
                clean_line(report.message, max_bytes),
                None if report.logger is None else _clean_logger(report.logger),
                owner.step if report.step is None else clean_name(report.step),
                None if fields is UNSET else fields,
                owner.attempt,
            )
            lines.append(line)
        self._flush(lines)
        return place

    def _check_line(
        self, place: int, report: r.Log, owner: LineOwner
    ) -> tuple[int | None, msgspec.Raw | msgspec.UnsetType]:
        """The level and fields of a line that is out of the ordinary; without a level it is refused."""
        why, level, fields = owner.refused, None, report.fields
        if why is None:
            try:
                level = parse_level(report.level)
            except ValueError as fault:
                why = str(fault)
        if why is None and not isinstance(fields, msgspec.UnsetType):
            fields = msgspec.Raw(clean_json(bytes(fields)))
            why = _fields_fault(bytes(fields))
        if why is not None:
            self.refused.append(r.Refusal(self.batch.index(place), why))
            return None, UNSET
        return level, fields

    def _line_owner(self, report: r.Log) -> LineOwner:
        """What lines of this job carry; a job that the first line brings to life goes through the lifecycle once."""
        job = self.tx.job(report.job_id)
        if job is not None and not self.identity.may_report(job):
            owner = LineOwner("", None, 1, OTHERS_JOB)
        else:
            if job is None or job.status is Status.PENDING or job.fencing_token is not None or is_lost(job):
                verdict = lifecycle.apply(job, report, self.now, self._context(job, report))
                if isinstance(verdict, Rejected):
                    self._journal_refusal(verdict, job)
                    return LineOwner("", None, 1, verdict.why)
                if isinstance(verdict, Accepted):
                    self._commit(job, verdict)
                    job = verdict.job
            owner = LineOwner(job.name, job.current_step, job.attempt) if job is not None else LineOwner("", None, 1)
        self._owners[report.job_id] = owner
        return owner

    def _flush(self, lines: list[LogLine]) -> None:
        """Give the transaction a run of lines, whose consecutive numbers begin after its head."""
        if not lines:
            return
        first = self.tx.next_seq(len(lines))
        self.tx.append_lines(lines)
        jobs = {job_id: job for job_id in self._owners if (job := self.tx.job(job_id)) is not None}
        self.tx.publish(LogRun(seq=first, at=self.now, lines=lines, jobs=jobs))
        self.accepted += len(lines)

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
        commit_verdict(self.tx, before, verdict, now=self.now, received_at=self.received_at)


def commit_verdict(
    tx: Transaction, before: Job | None, verdict: Accepted, *, now: int, received_at: int | None = None
) -> Job:
    """Number an accepted change, write its job and journal rows, settle its command, hand it on for after the commit.

    Every change of a job, whoever asked for it, goes through here. Returns the job with its newest ``seq``.
    """
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


def _fields_fault(fields: bytes) -> str | None:
    if len(fields) > MAX_FIELDS_BYTES:
        return f"fields is {len(fields)} bytes of JSON: at most {MAX_FIELDS_BYTES}"
    text = fields.strip()
    if text == b"null":
        return None
    if not text.startswith(b"{"):
        return "fields must be an object"
    try:
        msgspec.json.decode(fields)
    except (msgspec.DecodeError, RecursionError):
        return "fields must be an object of JSON"
    return None
