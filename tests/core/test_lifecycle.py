"""The lifecycle is total and pure, and keeps its promises in any order of reports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from etlmon.core import control, endings, lifecycle
from etlmon.core import reports as r
from etlmon.core.events import EventKind
from etlmon.core.job import ACTIVE, FINAL, Failure, FailureKind, Job, Outcome, Status
from etlmon.core.lifecycle import apply
from etlmon.core.verdicts import Accepted, Context, Duplicate, Rejected, is_lost

T0 = 1_760_000_000_000
NOON = datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC)
BY_ANA = Context(producer="p-1", reporter="tok", by="ana")

texts = st.text(max_size=20)
counts = st.integers(0, 2**63 - 1)
numbers = st.dictionaries(
    st.sampled_from(["recordsFailed", "recordsProcessed", "custom"]), st.integers(0, 10**6), max_size=3
)
instants = st.none() | st.timedeltas(timedelta(-2), timedelta(2)).map(lambda d: NOON + d)
base = {"job_id": st.just("j1"), "at": instants, "command_id": st.none() | st.just("c1")}
REPORTS: dict[type[r.Report], st.SearchStrategy[r.Report]] = {
    r.JobStarted: st.builds(
        r.JobStarted, **base, name=st.none() | texts, type=st.none() | texts, owner=st.none() | texts,
        tags=st.none() | st.dictionaries(texts, texts | st.booleans() | st.integers(), max_size=3),
        steps=st.none() | st.lists(texts, max_size=3).map(tuple), timeout_ms=st.none() | st.integers(0, 10**6),
        records_total=st.none() | counts,
    ),
    r.Progress: st.builds(
        r.Progress, **base, progress_percent=st.none() | st.floats(), records_processed=st.none() | counts,
        records_total=st.none() | counts, current_step=st.none() | texts, metrics=st.none() | numbers,
    ),
    r.StepStarted: st.builds(r.StepStarted, **base, step=texts),
    r.StepFinished: st.builds(r.StepFinished, **base, step=texts, metrics=st.none() | numbers),
    r.MetricsReport: st.builds(r.MetricsReport, **base, metrics=numbers),
    r.Log: st.builds(r.Log, **base, message=texts),
    r.Gap: st.builds(r.Gap, **base, dropped=counts),
    r.Heartbeat: st.builds(r.Heartbeat, **base),
    r.Paused: st.builds(r.Paused, **base),
    r.Resumed: st.builds(r.Resumed, **base),
    r.ControlRefused: st.builds(r.ControlRefused, **base, reason=st.none() | texts),
    r.Completed: st.builds(r.Completed, **base, summary=st.none() | numbers),
    r.Failed: st.builds(r.Failed, **base, failure=st.builds(Failure, message=texts)),
    r.Cancelled: st.builds(r.Cancelled, **base, reason=st.none() | texts),
}  # fmt: skip
any_report = st.one_of(*REPORTS.values())
STATE = st.one_of(
    *(s for cls, s in REPORTS.items() if cls not in {r.Progress, r.MetricsReport, r.Heartbeat, r.Log, r.Gap})
)


def run(reports: list[r.Report], job: Job | None = None) -> tuple[Job | None, list[object]]:
    verdicts = []
    for n, report in enumerate(reports):
        verdict = apply(job, report, T0 + n * 1000, BY_ANA)
        verdicts.append(verdict)
        if isinstance(verdict, Accepted):
            job = verdict.job
    return job, verdicts


def started(**changes: object) -> Job:
    job, _ = run([r.JobStarted(job_id="j1", name="orders_nightly", type="csv_processing")])
    assert job is not None
    return replace(job, **changes)


def test_the_table_answers_every_status_and_every_kind() -> None:
    kinds = {str(cls.__struct_config__.tag) for cls in get_args(r.AnyReport)}
    assert set(lifecycle.TABLE) == set(Status)
    for row in lifecycle.TABLE.values():
        assert set(row) == kinds


@given(st.lists(any_report, max_size=12))
def test_any_reports_in_any_order_get_a_verdict_and_a_sane_job(reports: list[r.Report]) -> None:
    job, verdicts = run(reports)
    assert all(isinstance(v, Accepted | Duplicate | Rejected) for v in verdicts)
    if job is not None:
        assert job.progress_percent is None or 0 <= job.progress_percent <= 100
        assert (job.finished_at is not None) == (job.status in FINAL)
        assert (job.summary is not None) == (job.status in FINAL)
        assert job.paused_at is None or job.status is Status.PAUSED
        assert job.started_at is None or job.finished_at is None or job.started_at <= job.finished_at
        assert job.paused_ms >= 0


@given(st.lists(any_report, max_size=8), any_report)
def test_apply_is_pure(reports: list[r.Report], last: r.Report) -> None:
    job, _ = run(reports)
    assert apply(job, last, T0, BY_ANA) == apply(job, last, T0, BY_ANA)


@given(st.lists(any_report, max_size=8), any_report)
def test_final_statuses_absorb_all_but_a_lost_job(reports: list[r.Report], last: r.Report) -> None:
    job, _ = run(reports)
    if job is None or job.status in ACTIVE or is_lost(job):
        return
    verdict = apply(job, last, T0 + 99_000, BY_ANA)
    if isinstance(verdict, Accepted):
        assert replace(verdict.job, updated_at=0) == replace(job, updated_at=0)
        assert not verdict.sample


@given(st.lists(any_report, max_size=6), STATE)
def test_a_state_report_twice_is_that_report_once(reports: list[r.Report], report: r.Report) -> None:
    job, _ = run(reports)
    first = apply(job, report, T0 + 50_000, BY_ANA)
    if not isinstance(first, Accepted) or any(e.kind is EventKind.LATE_REPORT for e in first.events):
        return
    again = apply(first.job, report, T0 + 50_000, BY_ANA)
    assert isinstance(again, Duplicate), again


@given(st.lists(any_report, max_size=8), any_report)
def test_a_status_never_changes_without_a_journaled_event(reports: list[r.Report], report: r.Report) -> None:
    job, _ = run(reports)
    verdict = apply(job, report, T0 + 50_000, BY_ANA)
    if isinstance(verdict, Accepted) and (job is None or verdict.job.status is not job.status):
        assert verdict.events


def test_percent_comes_from_records_and_is_clamped() -> None:
    job, _ = run([
        r.JobStarted(job_id="j1", records_total=10_000),
        r.Progress(job_id="j1", records_processed=4_500, current_step="load"),
    ])  # fmt: skip
    assert job is not None
    assert (job.progress_percent, job.current_step) == (45.0, "load")
    job, _ = run([r.Progress(job_id="j1", records_processed=20_000)], job)
    assert job is not None
    assert job.progress_percent == 100.0
    assert isinstance(apply(job, r.Progress(job_id="j1", progress_percent=float("nan")), T0, BY_ANA), Rejected)


def test_a_total_that_becomes_unknown_keeps_the_percent_and_forgets_the_total() -> None:
    job, _ = run([
        r.Progress(job_id="j1", records_processed=5, records_total=10),
        r.Progress(job_id="j1", records_processed=6, records_total=None),
    ])  # fmt: skip
    assert job is not None
    assert job.metrics["recordsTotal"] is None
    assert job.progress_percent == 50.0


def test_paused_time_counts_neither_as_work_nor_toward_the_deadline() -> None:
    job = started(timeout_ms=60_000, deadline_at=T0 + 60_000)
    paused = apply(job, r.Paused(job_id="j1"), T0 + 10_000, BY_ANA)
    assert isinstance(paused, Accepted)
    assert paused.job.execution_ms(T0 + 40_000) == 10_000
    resumed = apply(paused.job, r.Resumed(job_id="j1"), T0 + 40_000, BY_ANA)
    assert isinstance(resumed, Accepted)
    assert (resumed.job.deadline_at, resumed.job.execution_ms(T0 + 45_000)) == (T0 + 90_000, 15_000)


def test_a_pause_is_not_held_against_the_rate() -> None:
    reports = [(r.Progress(job_id="j1", records_processed=n * 10), T0 + n * 1000) for n in range(1, 31)]
    job = started()
    for report, at in [
        *reports, (r.Paused(job_id="j1"), T0 + 30_000), (r.Resumed(job_id="j1"), T0 + 90_000),
        (r.Progress(job_id="j1", records_processed=310), T0 + 91_000),
    ]:  # fmt: skip
        verdict = apply(job, report, at, BY_ANA)
        assert isinstance(verdict, Accepted)
        assert verdict.job is not None
        job = verdict.job
    assert job.metrics["processingRate"] == pytest.approx(10, rel=0.01)


def test_a_paused_job_says_who_paused_it_and_why_until_it_goes_on() -> None:
    asked = control.request_control(
        started(), "pause", by="ana", reason="disk", command_id="c1", now=T0 + 1, obeyed_by_nobody=False
    )
    assert isinstance(asked, Accepted)
    paused = apply(asked.job, r.Paused(job_id="j1", command_id="c1"), T0 + 2, BY_ANA)
    assert isinstance(paused, Accepted)
    held = paused.job.paused_by
    assert held is not None
    assert (held.by, held.reason, held.at) == ("ana", "disk", T0 + 1)
    for report in (r.Resumed(job_id="j1"), r.Completed(job_id="j1")):
        after = apply(paused.job, report, T0 + 3, BY_ANA)
        assert isinstance(after, Accepted)
        assert after.job.paused_by is None


def test_completed_with_rejected_records_is_a_warning() -> None:
    job, _ = run([
        r.Progress(job_id="j1", records_processed=100),
        r.MetricsReport(job_id="j1", metrics={"recordsFailed": 3}),
        r.Completed(job_id="j1", summary={"rows": 97}),
    ])  # fmt: skip
    assert job is not None
    assert (job.status, job.outcome, job.progress_percent) == (Status.COMPLETED, Outcome.WARNING, 100.0)
    assert job.summary is not None
    assert (job.summary["recordsOut"], job.summary["recordsRejected"], job.summary["rows"]) == (97, 3, 97)


def test_a_late_state_report_is_journaled_and_a_late_sample_dropped() -> None:
    job, _ = run([r.Failed(job_id="j1", failure=Failure(message="boom"))])
    late = apply(job, r.Completed(job_id="j1"), T0, BY_ANA)
    assert isinstance(late, Accepted)
    assert [e.kind for e in late.events] == [EventKind.LATE_REPORT]
    sample = apply(job, r.Progress(job_id="j1", progress_percent=5.0), T0, BY_ANA)
    assert isinstance(sample, Accepted)
    assert (sample.events, sample.sample) == ((), False)


@pytest.mark.parametrize("report", [r.Heartbeat(job_id="j1"), r.Log(job_id="j1", message="x"), r.Progress(job_id="j1")])
def test_a_lost_job_that_is_heard_of_again_runs_on(report: r.Report) -> None:
    lost = endings.mark_lost(started(), 91_000, T0 + 91_000).job
    assert lost.failure is not None
    assert lost.failure.kind is FailureKind.LOST
    verdict = apply(lost, report, T0 + 100_000, BY_ANA)
    assert isinstance(verdict, Accepted)
    assert (verdict.job.status, verdict.job.failure, verdict.job.finished_at) == (Status.RUNNING, None, None)
    assert verdict.events[0].kind is EventKind.JOB_RECOVERED


def test_a_lost_job_whose_end_arrives_late_ends_as_its_agent_says() -> None:
    lost = endings.mark_lost(started(), 91_000, T0 + 91_000).job
    verdict = apply(lost, r.Completed(job_id="j1"), T0 + 100_000, BY_ANA)
    assert isinstance(verdict, Accepted)
    assert verdict.job.status is Status.COMPLETED
    assert [e.kind for e in verdict.events] == [EventKind.JOB_RECOVERED, EventKind.COMPLETED]


def test_the_report_of_an_old_attempt_is_refused_and_journaled() -> None:
    verdict = apply(started(fencing_token=7), r.Completed(job_id="j1", fencing_token=6), T0, BY_ANA)
    assert isinstance(verdict, Rejected)
    assert verdict.event is not None
    assert verdict.event.kind is EventKind.REPORT_REFUSED


def ask(job: Job, action: str, command_id: str = "c1", *, nobody: bool = False) -> object:
    return control.request_control(
        job, action, by="bo", reason="maintenance", command_id=command_id, now=T0 + 5_000, obeyed_by_nobody=nobody
    )


def test_a_control_is_pending_until_a_report_obeys_it() -> None:
    asked = ask(started(), "pause")
    assert isinstance(asked, Accepted)
    assert asked.job.control_pending is not None
    assert asked.job.status is Status.RUNNING
    assert isinstance(ask(asked.job, "pause", "c2"), Duplicate)
    obeyed = apply(asked.job, r.Paused(job_id="j1", command_id="c1"), T0 + 6_000, BY_ANA)
    assert isinstance(obeyed, Accepted)
    assert (obeyed.job.status, obeyed.job.control_pending, obeyed.settles) == (Status.PAUSED, None, ("c1", "obeyed"))
    assert obeyed.events[0].by == "bo"


def test_a_cancel_names_who_and_why_in_the_end() -> None:
    asked = ask(started(), "cancel")
    assert isinstance(asked, Accepted)
    ended = apply(asked.job, r.Cancelled(job_id="j1", command_id="c1"), T0 + 6_000, BY_ANA)
    assert isinstance(ended, Accepted)
    assert ended.job.summary is not None
    assert (ended.job.status, ended.events[0].by, ended.job.summary["cancelReason"]) == (
        Status.CANCELLED,
        "bo",
        "maintenance",
    )


def test_a_job_without_an_agent_is_cancelled_at_once_and_cannot_be_paused() -> None:
    cancelled = ask(started(), "cancel", nobody=True)
    assert isinstance(cancelled, Accepted)
    assert cancelled.job.status is Status.CANCELLED
    paused = ask(started(), "pause", nobody=True)
    assert isinstance(paused, Rejected)
    assert "Nobody would obey" in paused.why


@given(st.lists(any_report, max_size=8), st.sampled_from(["pause", "resume", "cancel"]), st.booleans())
def test_control_of_any_job_is_answered(reports: list[r.Report], action: str, nobody: bool) -> None:
    job, _ = run(reports)
    if job is not None:
        verdict = ask(job, action, nobody=nobody)
        assert isinstance(verdict, Accepted | Duplicate | Rejected)
        if job.status in FINAL:
            assert isinstance(verdict, Rejected)


def test_an_agents_clock_that_is_off_is_corrected_and_the_future_is_not_believed() -> None:
    an_hour_ahead = r.JobStarted(job_id="j1", at=datetime.fromtimestamp(T0 / 1000 + 3600, UTC))
    corrected = apply(None, an_hour_ahead, T0, Context(skew_ms=-3_600_000))
    assert isinstance(corrected, Accepted)
    assert corrected.job.started_at == T0
    believed = apply(None, an_hour_ahead, T0, Context())
    assert isinstance(believed, Accepted)
    assert believed.job.started_at == T0


def test_a_first_report_of_no_records_does_not_drag_the_rate_down() -> None:
    job, _ = run([r.Progress(job_id="j1", records_processed=n * 100) for n in range(3)])
    assert job is not None
    assert job.metrics["processingRate"] == 100.0
