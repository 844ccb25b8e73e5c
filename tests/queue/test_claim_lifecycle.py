"""The lifecycle of claims, over everything that may happen to a managed job in any order."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from etlmon.core import control, lifecycle, queue
from etlmon.core import reports as r
from etlmon.core.events import EventKind
from etlmon.core.job import FINAL, Failure, FailureKind, Job, Status
from etlmon.core.verdicts import Accepted, Context, Rejected

T0 = 1_763_865_407_000
CONTEXT = Context(producer="p-1", reporter="tok", by="ana")


class ClaimLifecycle(RuleBasedStateMachine):
    """One job, many workers: only the newest claim counts, tries are counted, an end is an end."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.tokens, self.failed_tries, self.end = T0, 0, 0, None
        given = queue.Submission(id="j1", name="orders_nightly", type="csv_processing", retries=2)
        self.job: Job = queue.queued(given, {}, "ana", T0).job

    def take(self, verdict: Any) -> None:
        self.now += 1000
        if isinstance(verdict, Accepted):
            assert verdict.job.attempt in (self.job.attempt, self.job.attempt + 1)
            self.job = verdict.job

    def report(self, report: r.AnyReport) -> Any:
        verdict = lifecycle.apply(self.job, report, self.now, CONTEXT)
        self.take(verdict)
        return verdict

    @property
    def works(self) -> bool:
        return self.job.status in (Status.RUNNING, Status.PAUSED)

    @precondition(lambda self: self.job.status is Status.PENDING)
    @rule()
    def is_claimed(self) -> None:
        self.tokens += 1
        claim = queue.Claim(worker=f"w{self.tokens}", host="etl-3", reporter="tok", token=self.tokens)
        self.take(queue.claimed(self.job, claim, None, self.now))
        assert (self.job.status, self.job.fencing_token) == (Status.RUNNING, self.tokens)

    @precondition(lambda self: self.works)
    @rule(kind=st.sampled_from(["progress", "paused", "resumed", "completed"]))
    def its_worker_reports(self, kind: str) -> None:
        assert not isinstance(self.report(report_of(kind, self.tokens)), Rejected)

    @precondition(lambda self: self.works)
    @rule(kind=st.sampled_from(list(FailureKind)))
    def its_attempt_fails(self, kind: FailureKind) -> None:
        before = self.job
        cancel = before.control_pending is not None and before.control_pending.action == "cancel"
        self.report(r.Failed(job_id="j1", fencing_token=self.tokens, failure=Failure(kind=kind, message="no")))
        if cancel:
            assert self.job.status is Status.CANCELLED
        elif kind is FailureKind.REJECTED or self.failed_tries == before.retries:
            assert self.job.status is Status.FAILED
        else:
            self.failed_tries += 1
            assert (self.job.status, self.job.attempt) == (Status.PENDING, before.attempt + 1)
            assert (self.job.run_at is None) == (kind is FailureKind.KILLED)

    @rule(
        age=st.integers(1, 3),
        kind=st.sampled_from(["progress", "log", "completed", "failed", "cancelled", "heartbeat"]),
    )
    def an_old_worker_reports(self, age: int, kind: str) -> None:
        token = self.tokens - age if self.works else self.tokens
        if token < 1 or (self.job.is_final and token == self.job.fencing_token):
            return
        before = self.job
        verdict = self.report(report_of(kind, token))
        assert isinstance(verdict, Rejected)
        assert verdict.event is not None
        assert verdict.event.kind is EventKind.REPORT_REFUSED
        assert self.job is before

    @precondition(lambda self: self.works)
    @rule()
    def it_is_released(self) -> None:
        self.take(queue.released(self.job, "drains", "w", self.now))

    @precondition(lambda self: self.works)
    @rule()
    def its_worker_vanishes(self) -> None:
        rescues = self.job.rescues
        self.take(queue.rescued(self.job, self.now))
        assert self.job.rescues == rescues + 1 or self.job.is_final

    @rule(action=st.sampled_from(["pause", "resume", "cancel"]), n=st.integers(0, 10**6))
    def somebody_asks(self, action: str, n: int) -> None:
        nobody = control.has_nobody(self.job)
        verdict = control.request_control(
            self.job, action, by="ana", reason=None, command_id=f"c{n}", now=self.now, obeyed_by_nobody=nobody
        )
        was = self.job.status
        self.take(verdict)
        if was is Status.PENDING and action == "cancel":
            assert self.job.status is Status.CANCELLED

    @invariant()
    def what_waits_belongs_to_nobody(self) -> None:
        if self.job.status is Status.PENDING:
            assert (self.job.worker, self.job.fencing_token, self.job.started_at) == (None, None, None)
            asked = self.job.control_pending
            assert asked is None or asked.action == "pause"

    @invariant()
    def tries_are_bounded(self) -> None:
        assert self.job.failures == self.failed_tries <= self.job.retries
        assert self.job.rescues <= queue.MAX_RESCUES

    @invariant()
    def an_end_is_an_end(self) -> None:
        if self.end is not None:
            assert self.job.status is self.end
        elif self.job.status in FINAL:
            self.end = self.job.status


def report_of(kind: str, token: int | None) -> Any:
    more: dict[str, Any] = {"log": {"message": "x"}, "failed": {"failure": Failure(message="no")}}.get(kind, {})
    return r.KINDS[kind](job_id="j1", fencing_token=token, **more)


TestClaimLifecycle = ClaimLifecycle.TestCase
TestClaimLifecycle.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_a_wait_doubles_from_a_second_to_a_minute_and_never_beyond() -> None:
    assert [queue.wait_ms(n, 0.5) for n in (1, 2, 3, 6, 7, 60)] == [1000, 2000, 4000, 32_000, 60_000, 60_000]
    assert (queue.wait_ms(1, 0.0), queue.wait_ms(1, 1.0), queue.wait_ms(9, 1.0)) == (800, 1200, 60_000)


def test_a_job_paused_when_its_attempt_ended_owes_the_pause_to_its_next_worker() -> None:
    given = queue.Submission(id="j1", name="orders_nightly", type="csv_processing")
    job = queue.queued(given, {}, "ana", T0).job
    claim = queue.Claim(worker="w1", host=None, reporter="tok", token=5)
    running = queue.claimed(job, claim, None, T0).job
    asked = control.request_control(
        running, "pause", by="ana", reason="load", command_id="c1", now=T0, obeyed_by_nobody=False
    )
    assert isinstance(asked, Accepted)
    paused = lifecycle.apply(asked.job, r.Paused(job_id="j1", fencing_token=5), T0 + 1, CONTEXT)
    assert isinstance(paused, Accepted)
    back = queue.rescued(paused.job, T0 + 2).job
    assert back.control_pending is not None
    assert (back.control_pending.action, back.control_pending.by, back.control_pending.command_id) == (
        "pause", "ana", None,
    )  # fmt: skip
    resumed = control.request_control(
        back, "resume", by="bo", reason=None, command_id="c2", now=T0 + 3, obeyed_by_nobody=True
    )
    assert isinstance(resumed, Accepted)
    assert (resumed.job.status, resumed.job.control_pending) == (Status.PENDING, None)


def test_a_timeout_of_a_managed_job_is_a_failed_try() -> None:
    given = queue.Submission(id="j1", name="orders_nightly", type="csv_processing", retries=1, timeout_ms=1000)
    job = queue.queued(given, {}, "ana", T0).job
    claim = queue.Claim(worker="w1", host=None, reporter="tok", token=5)
    again = queue.timed_out(queue.claimed(job, claim, None, T0).job, T0 + 40_000, 0.5).job
    assert (again.status, again.attempt, again.run_at) == (Status.PENDING, 2, T0 + 41_000)
    assert again.last_failure is not None
    assert again.last_failure.kind is FailureKind.TIMEOUT
    last = queue.timed_out(queue.claimed(replace(again, run_at=None), claim, None, T0).job, T0 + 90_000, 0.5).job
    assert (last.status, last.failure.kind if last.failure else None) == (Status.FAILED, FailureKind.TIMEOUT)
