"""One name's history, and two runs side by side."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from etlmon.core.errors import NotFound
from etlmon.core.filters import Glob, Term, fold
from etlmon.core.instants import format_instant, format_optional
from etlmon.core.job import METRIC_KEYS, Job, Record, Status
from etlmon.core.views import JobView, shown_metrics, view
from etlmon.server.api.analytics import (
    Durations,
    ErrorGroup,
    Outcomes,
    TrendParams,
    TrendPoint,
    durations_of,
    error_view,
    flaky_view,
    outcomes_of,
    route,
    step_of,
    trend_of,
    whole,
    window_of,
)
from etlmon.server.api.jobs import step_views
from etlmon.server.api.routes import Call
from etlmon.server.store.pages import JobQuery

LAST_RUNS = 20
TOP_ERRORS = 5


class CompareParams(msgspec.Struct, frozen=True, kw_only=True):
    """Two job ids."""

    a: Annotated[str, msgspec.Meta(min_length=1)]
    b: Annotated[str, msgspec.Meta(min_length=1)]


class Run(Record, frozen=True):
    """One run of a name, in short."""

    id: str
    status: Status
    outcome: str | None
    started_at: str | None
    finished_at: str | None
    execution_time_ms: int | None
    records_processed: Any
    error_message: str | None


class NameView(Outcomes, frozen=True):
    """What is known of a recurring name."""

    name: str
    since: str
    until: str
    flake_rate: float | None
    expected_duration_ms: int | None
    durations: Durations
    trend: list[TrendPoint]
    errors: list[ErrorGroup]
    last_runs: list[Run]


class Pair(Record, frozen=True):
    """One figure of two jobs; ``ratio`` is b to a."""

    key: str
    a: Any
    b: Any
    delta: float | None
    ratio: float | None


class Comparison(Record, frozen=True):
    """Two jobs, step by step and figure by figure."""

    a: JobView
    b: JobView
    duration_ms: Pair
    steps: list[Pair]
    metrics: list[Pair]


def _run(job: Job, now: int) -> Run:
    return Run(
        id=job.id,
        status=job.status,
        outcome=job.outcome,
        started_at=format_optional(job.started_at),
        finished_at=format_optional(job.finished_at),
        execution_time_ms=job.execution_ms(now),
        records_processed=job.metrics.get("recordsProcessed"),
        error_message=None if job.failure is None else job.failure.message,
    )


async def get_name(call: Call) -> NameView:
    """One name's history: how often it succeeds, how long it takes, why it fails, its last runs."""
    name, now, store = call.path["name"], call.received_at, call.context.store
    called = Term("name", ":", (Glob((fold(name),)),))
    page = await store.jobs_page(JobQuery(filter=called, limit=LAST_RUNS), now)
    if not page.items:
        raise NotFound(f"No job was ever called {name[:200]!r}.")
    newest = page.items[0]
    window = msgspec.structs.replace(window_of(call.query, now), names=(newest.name,))
    total = await whole(call, window)
    flaky = await store.analytics.flaky(window, 1)
    return NameView(
        name=newest.name,
        since=format_instant(window.since),
        until=format_instant(window.until),
        flake_rate=flaky_view(flaky[0]).flake_rate if flaky else (0.0 if total.n else None),
        expected_duration_ms=newest.expected_duration_ms or (newest.past.p50_ms if newest.past else None),
        durations=Durations(**durations_of(total)),
        trend=await trend_of(call, window, step_of(call.query, window)),
        errors=[error_view(group) for group in await store.analytics.failures(window, TOP_ERRORS)],
        last_runs=[_run(job, now) for job in page.items],
        **outcomes_of(total),
    )


def _pair(key: str, a: Any, b: Any) -> Pair:
    both = isinstance(a, int | float) and isinstance(b, int | float)
    return Pair(key=key, a=a, b=b, delta=b - a if both else None, ratio=round(b / a, 4) if both and a else None)


async def get_comparison(call: Call) -> Comparison:
    """Two jobs, step by step: what took longer, what counted less."""
    a, b = await call.job(call.query.a), await call.job(call.query.b)
    now = call.received_at
    steps_a = {step.name: step.duration_ms for step in step_views(a, now)}
    steps_b = {step.name: step.duration_ms for step in step_views(b, now)}
    metrics_a, metrics_b = shown_metrics(a, now), shown_metrics(b, now)
    keys = [*METRIC_KEYS, *sorted((metrics_a.keys() | metrics_b.keys()) - set(METRIC_KEYS))]
    return Comparison(
        a=view(a, now),
        b=view(b, now),
        duration_ms=_pair("durationMs", a.execution_ms(now), b.execution_ms(now)),
        steps=[_pair(name, steps_a.get(name), steps_b.get(name)) for name in dict.fromkeys((*steps_a, *steps_b))],
        metrics=[_pair(key, metrics_a.get(key), metrics_b.get(key)) for key in keys],
    )


ROUTES = (
    route("names/{name}", get_name, "One name's history", NameView, TrendParams),
    route("compare", get_comparison, "Two jobs side by side", Comparison, CompareParams),
)
