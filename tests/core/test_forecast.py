"""Forecasts and health: unknown stays unknown, and nothing a reporter sends makes them raise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from etlmon.core.forecast import Forecast, forecast, health, paced
from etlmon.core.job import Health, Job, Past, Status
from etlmon.core.views import view

T0 = 1_763_865_407_000


def make_job(**fields: Any) -> Job:
    known = {
        "id": "j",
        "name": "orders_nightly",
        "type": "csv",
        "status": Status.RUNNING,
        "created_at": T0,
        "updated_at": T0,
    }
    return Job(**{**known, "started_at": T0, **fields})


STEADY = Past(runs=20, p25_ms=50_000, p50_ms=60_000, p90_ms=80_000, rate=200.0)


def test_a_job_of_which_nothing_is_known_has_no_forecast() -> None:
    assert forecast(make_job(), T0 + 5000) == Forecast()
    assert forecast(make_job(progress_percent=40.0), T0 + 5000) == Forecast()


@pytest.mark.parametrize("status", [each for each in Status if each is not Status.RUNNING])
def test_only_a_running_job_has_a_forecast(status: Status) -> None:
    job = make_job(status=status, progress_percent=50.0, pace=1.0, progressed_at=T0, past=STEADY)
    assert forecast(job, T0 + 1000) == Forecast()


def test_pace_alone_gives_a_band_around_what_is_left() -> None:
    job = make_job(progress_percent=40.0, pace=2.0, progressed_at=T0 + 20_000)
    found = forecast(job, T0 + 20_000)
    assert (found.basis, found.remaining_ms, found.eta_at) == ("pace", 30_000, T0 + 50_000)
    assert (found.low_at, found.high_at) == (T0 + 20_000 + 27_000, T0 + 20_000 + 33_000)


def test_the_forecast_counts_down_between_reports_and_recedes_when_they_stop() -> None:
    job = make_job(progress_percent=40.0, pace=2.0, progressed_at=T0 + 20_000)
    assert forecast(job, T0 + 25_000).remaining_ms == 25_000
    stalled = [forecast(job, T0 + 20_000 + s * 1000).remaining_ms or 0 for s in (60, 120, 600)]
    assert stalled == sorted(stalled)
    assert stalled[-1] > 200_000


def test_history_alone_counts_down_and_falls_silent_once_it_is_outrun() -> None:
    job = make_job(past=STEADY)
    found = forecast(job, T0 + 10_000)
    assert (found.basis, found.remaining_ms) == ("history", 50_000)
    assert (found.low_at, found.high_at) == (T0 + 50_000, T0 + 80_000)
    late = forecast(job, T0 + 70_000)
    assert (late.remaining_ms, late.low_at, late.high_at) == (5000, T0 + 70_000, T0 + 80_000)
    assert forecast(job, T0 + 80_000) == Forecast()


def test_pace_shifts_the_history_more_the_further_the_job_is() -> None:
    slow = {"past": STEADY, "pace": 0.5, "progressed_at": T0 + 20_000}
    early = forecast(make_job(progress_percent=10.0, **slow), T0 + 20_000)
    later = forecast(make_job(progress_percent=50.0, **slow), T0 + 20_000)
    assert early.basis == later.basis == "history"
    assert early.remaining_ms == round(0.9 * 40_000 + 0.1 * 180_000)
    assert later.remaining_ms == round(0.5 * 40_000 + 0.5 * 100_000)
    assert early.high_at is not None
    assert early.high_at >= T0 + 20_000 + 180_000  # the band reaches what the pace says


def test_what_the_owner_expects_is_used_when_nothing_better_is_known() -> None:
    job = make_job(expected_duration_ms=64_000)
    assert forecast(job, T0 + 30_000) == Forecast(eta_at=T0 + 64_000, remaining_ms=34_000)
    assert forecast(job, T0 + 64_000) == Forecast()


def test_paused_time_is_not_elapsed_time() -> None:
    job = make_job(past=STEADY, paused_ms=30_000)
    assert forecast(job, T0 + 40_000).remaining_ms == 50_000


def test_a_forecast_beyond_the_calendar_is_a_fault_and_not_a_date() -> None:
    job = make_job(progress_percent=1.0, pace=1e-300, progressed_at=T0)
    assert forecast(job, T0 + 1000) == Forecast(fault=True)
    assert view(job, T0 + 1000).estimated_completion is None


FLOATS = st.floats() | st.integers(-(10**400), 10**400) | st.none() | st.text(max_size=3)
INSTANTS = st.integers(-(2**62), 2**62)


@given(
    FLOATS,
    FLOATS,
    INSTANTS,
    INSTANTS,
    st.none() | INSTANTS,
    st.none() | st.builds(Past, runs=INSTANTS, p25_ms=INSTANTS, p50_ms=INSTANTS, p90_ms=INSTANTS),
)
def test_no_number_makes_a_forecast_raise(
    percent: Any, pace: Any, start: int, now: int, at: int | None, past: Past | None
) -> None:
    job = make_job(progress_percent=percent, pace=pace, started_at=start, progressed_at=at, past=past)
    found = forecast(job, now)
    if found.eta_at is not None and found.low_at is not None and found.high_at is not None:
        assert found.low_at <= found.eta_at <= found.high_at
        assert (found.remaining_ms or 0) >= 0


def test_pace_needs_two_reports_and_starts_anew_when_the_percent_falls() -> None:
    assert paced(make_job(), 10.0, T0 + 1000) is None
    assert paced(make_job(progress_percent=10.0, progressed_at=T0), 20.0, T0 + 5000) == 2.0
    assert paced(make_job(progress_percent=10.0, progressed_at=T0), 10.0, T0 + 5000) is None
    assert paced(make_job(progress_percent=50.0, progressed_at=T0, pace=2.0), 5.0, T0 + 5000) is None
    assert paced(make_job(progress_percent=50.0, progressed_at=T0, pace=2.0), float("nan"), T0 + 5000) is None


def run_at(pace: float, step_s: float, until_s: float) -> float:
    job = make_job(progress_percent=0.0, progressed_at=T0, pace=8.0)
    for n in range(1, int(until_s / step_s) + 1):
        at = T0 + round(n * step_s * 1000)
        found = paced(job, n * step_s * pace, at)
        assert found is not None
        job = make_job(progress_percent=n * step_s * pace, progressed_at=at, pace=found)
    assert job.pace is not None
    return job.pace


def test_the_pace_forgets_within_minutes_whatever_the_rhythm_of_the_reports() -> None:
    assert run_at(0.25, 1.0, 360) == pytest.approx(0.25, rel=0.1)
    assert run_at(0.25, 30.0, 360) == pytest.approx(0.25, rel=0.1)


def test_reports_of_one_instant_are_not_lost_on_the_pace() -> None:
    job = make_job(progress_percent=10.0, progressed_at=T0, pace=1.0)
    assert paced(job, 16.0, T0) == pytest.approx(1.1)


@pytest.mark.parametrize(
    ("metrics", "past", "expected"),
    [
        ({}, None, None),
        ({"errorRate": 0.01}, None, Health.EXCELLENT),
        ({"errorRate": 0.05}, None, Health.GOOD),
        ({"errorRate": 0.1}, None, Health.FAIR),
        ({"errorRate": 0.11}, None, Health.POOR),
        ({"recordsFailed": 20, "recordsProcessed": 100}, None, Health.POOR),
        ({"recordsFailed": 20, "recordsProcessed": 0}, None, None),
        ({"processingRate": 100}, None, Health.EXCELLENT),
        ({"processingRate": 99.9}, None, Health.GOOD),
        ({"processingRate": 9.9}, None, Health.FAIR),
        ({"processingRate": 9.9, "recordsProcessed": 99}, None, None),
        ({"processingRate": 9.9, "recordsProcessed": 99, "errorRate": 0.0}, STEADY, Health.EXCELLENT),
        ({"processingRate": 9.9, "recordsProcessed": 100}, None, Health.FAIR),
        ({"processingRate": 180}, STEADY, Health.EXCELLENT),
        ({"processingRate": 150.5, "errorRate": 0.0033}, STEADY, Health.GOOD),
        ({"processingRate": 50}, STEADY, Health.FAIR),
        ({"processingRate": 10}, STEADY, Health.POOR),
        ({"processingRate": 500, "errorRate": 0.06}, STEADY, Health.FAIR),
        ({"processingRate": "fast", "errorRate": float("nan"), "recordsFailed": True}, STEADY, None),
        ({"errorRate": 10**400}, None, None),
    ],
)
def test_health_is_the_worse_of_errors_and_speed(
    metrics: dict[str, Any], past: Past | None, expected: Health | None
) -> None:
    assert health(make_job(metrics=metrics, past=past)) is expected


def test_a_job_that_hardly_moves_has_no_end_in_sight() -> None:
    slow = Job(
        id="j", name="n", type="t", status=Status.RUNNING, created_at=0, updated_at=0, started_at=0,
        progress_percent=50.0, pace=0.00001, progressed_at=1000,
    )  # fmt: skip
    assert forecast(slow, 1000).eta_at is None
    assert forecast(replace(slow, pace=0.01), 1000).eta_at is not None
