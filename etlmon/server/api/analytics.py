"""What the finished jobs say together: rates, percentiles, causes of failure, flakiness."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from etlmon.core.access import READERS
from etlmon.core.durations import UNIT_MS
from etlmon.core.errors import Fault, Invalid
from etlmon.core.instants import format_instant
from etlmon.core.job import Record
from etlmon.server.api.filtering import Limit, instant_param
from etlmon.server.api.routes import Call, Route
from etlmon.server.store.analytics import FailureGroup, FlakyName, GroupBy, Tally, Window

DEFAULT_MS = 7 * UNIT_MS["d"]
HOURLY_MS = 3 * UNIT_MS["d"]
"""A window up to this long is shown by hour, a longer one by day."""
MAX_MS = 3_660 * UNIT_MS["d"]


class WindowParams(msgspec.Struct, frozen=True, kw_only=True):
    """Which finished jobs (default: the last 7 days), of which names, types and owners."""

    since: str | None = None
    until: str | None = None
    name: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()
    limit: Limit = 50


class TrendParams(WindowParams, frozen=True, kw_only=True):
    """The same, ``by`` hour or day (default: by the window's length)."""

    by: Literal["hour", "day"] | None = None


class DurationParams(WindowParams, frozen=True, kw_only=True):
    """The same, grouped ``by`` name, type, hour or day."""

    by: Literal["name", "type", "hour", "day"] = "name"


class Durations(Record, frozen=True):
    """Durations of completed jobs; percentiles within 4.5 %."""

    mean_ms: int | None
    p50_ms: int | None
    p90_ms: int | None
    p99_ms: int | None


class Outcomes(Record, frozen=True):
    """How jobs ended. ``successRate``: completed among completed and failed."""

    total: int
    completed: int
    failed: int
    cancelled: int
    success_rate: float | None


class TrendPoint(Outcomes, frozen=True):
    """One hour or day."""

    at: str
    p50_ms: int | None
    rows: int


class Summary(Outcomes, frozen=True):
    """The window in figures."""

    since: str
    until: str
    active: dict[str, int]
    rows: int
    durations: Durations
    trend: list[TrendPoint]


class DurationGroup(Durations, frozen=True):
    """Durations of one group; ``key`` is its name, type or beginning."""

    key: str
    count: int


class DurationList(Record, frozen=True):
    """Durations by group."""

    items: list[DurationGroup]
    next_cursor: str | None = None


class ErrorGroup(Record, frozen=True):
    """Failures of one cause, with the newest job as the example."""

    cause: str
    fingerprint: str | None
    kind: str | None
    count: int
    names: int
    first_at: str
    last_at: str
    last_job_id: str
    last_name: str
    message: str | None


class ErrorList(Record, frozen=True):
    """Failures by cause, the most frequent first."""

    items: list[ErrorGroup]
    next_cursor: str | None = None


class ThroughputPoint(Record, frozen=True):
    """What ended in one hour or day."""

    at: str
    jobs: int
    rows: int
    rows_per_second: float


class ThroughputList(Record, frozen=True):
    """Throughput over time."""

    items: list[ThroughputPoint]
    next_cursor: str | None = None


class FlakyView(Record, frozen=True):
    """``flakeRate``: changes between success and failure, among the steps from one run to the next."""

    name: str
    runs: int
    failures: int
    changes: int
    flake_rate: float
    last_at: str


class FlakyList(Record, frozen=True):
    """Names that fail now and then, the most changeable first."""

    items: list[FlakyView]
    next_cursor: str | None = None


def window_of(params: WindowParams, now: int) -> Window:
    """The window that the parameters name."""
    since, until = instant_param("since", params.since, now), instant_param("until", params.until, now)
    until = now + 1 if until is None else until
    since = until - DEFAULT_MS if since is None else since
    if since >= until:
        raise Invalid("since: must lie before until.", errors=(Fault("since", "must lie before until"),))
    since = max(since, until - MAX_MS)
    return Window(since=since, until=until, names=params.name, types=params.type, owners=params.owner)


def outcomes_of(tally: Tally) -> dict[str, Any]:
    """The fields of ``Outcomes``."""
    return {"total": tally.n, **tally.counts, "success_rate": tally.success_rate}


def durations_of(tally: Tally) -> dict[str, int | None]:
    """The fields of ``Durations``."""
    p50, p90, p99 = (tally.percentile_ms(share) for share in (0.5, 0.9, 0.99))
    return {"mean_ms": tally.mean_ms, "p50_ms": p50, "p90_ms": p90, "p99_ms": p99}


def step_of(params: TrendParams, window: Window) -> GroupBy:
    """The step of a trend."""
    return params.by or ("hour" if window.until - window.since <= HOURLY_MS else "day")


async def trend_of(call: Call, window: Window, by: GroupBy) -> list[TrendPoint]:
    """A point for each hour or day in which a job ended."""
    tallies = await call.context.store.analytics.tallies(window, by)
    return [
        TrendPoint(at=format_instant(int(at)), p50_ms=t.percentile_ms(0.5), rows=t.rows, **outcomes_of(t))
        for at, t in tallies.items()
    ]


async def whole(call: Call, window: Window) -> Tally:
    """The whole window as one tally."""
    return (await call.context.store.analytics.tallies(window, "none")).get(0) or Tally()


async def get_summary(call: Call) -> Summary:
    """Success rate, counts, percentiles and trend of a window."""
    window = window_of(call.query, call.received_at)
    total = await whole(call, window)
    counts = await call.context.store.counts_by_status()
    return Summary(
        since=format_instant(window.since),
        until=format_instant(window.until),
        active={status: counts.get(status, 0) for status in ("pending", "running", "paused")},
        rows=total.rows,
        durations=Durations(**durations_of(total)),
        trend=await trend_of(call, window, step_of(call.query, window)),
        **outcomes_of(total),
    )


async def get_durations(call: Call) -> DurationList:
    """Percentiles per name, type, hour or day; names and types with the most completed jobs first."""
    by: GroupBy = call.query.by
    tallies = await call.context.store.analytics.tallies(window_of(call.query, call.received_at), by)
    over_time = by in ("hour", "day")
    found = [(key, tally) for key, tally in tallies.items() if tally.counts["completed"]]
    if not over_time:
        found.sort(key=lambda pair: -pair[1].counts["completed"])
        found = found[: call.query.limit]
    return DurationList(
        items=[
            DurationGroup(
                key=format_instant(int(key)) if over_time else str(key),
                count=tally.counts["completed"],
                **durations_of(tally),
            )
            for key, tally in found
        ]
    )


def error_view(group: FailureGroup) -> ErrorGroup:
    """A group of failures as shown."""
    return ErrorGroup(
        cause=group.cause,
        fingerprint=group.fingerprint,
        kind=group.kind,
        count=group.n,
        names=group.n_names,
        first_at=format_instant(group.first_at),
        last_at=format_instant(group.last_at),
        last_job_id=group.last_job_id,
        last_name=group.last_name,
        message=group.message,
    )


async def get_errors(call: Call) -> ErrorList:
    """Failures grouped by cause."""
    window = window_of(call.query, call.received_at)
    groups = await call.context.store.analytics.failures(window, call.query.limit)
    return ErrorList(items=[error_view(group) for group in groups])


async def get_throughput(call: Call) -> ThroughputList:
    """Jobs and rows that ended, by hour or day."""
    window = window_of(call.query, call.received_at)
    by = step_of(call.query, window)
    seconds = (UNIT_MS["h"] if by == "hour" else UNIT_MS["d"]) / 1000
    tallies = await call.context.store.analytics.tallies(window, by)
    return ThroughputList(
        items=[
            ThroughputPoint(
                at=format_instant(int(at)), jobs=t.n, rows=t.rows, rows_per_second=round(t.rows / seconds, 3)
            )
            for at, t in tallies.items()
        ]
    )


def flaky_view(found: FlakyName) -> FlakyView:
    """A flaky name as shown."""
    return FlakyView(
        name=found.name,
        runs=found.runs,
        failures=found.failures,
        changes=found.changes,
        flake_rate=round(found.changes / (found.runs - 1), 4),
        last_at=format_instant(found.last_at),
    )


async def get_flaky(call: Call) -> FlakyList:
    """Names whose runs change between success and failure."""
    window = window_of(call.query, call.received_at)
    found = await call.context.store.analytics.flaky(window, call.query.limit)
    return FlakyList(items=[flaky_view(each) for each in found])


def route(part: str, handler: Any, summary: str, answer: Any, query: type) -> Route:
    """A route under ``/api/analytics``."""
    return Route(
        method="GET",
        path=f"/api/analytics/{part}",
        handler=handler,
        roles=READERS,
        summary=summary,
        answer=answer,
        query=query,
        tag="analytics",
    )


ROUTES = (
    route("summary", get_summary, "The window in figures", Summary, TrendParams),
    route("durations", get_durations, "Percentiles by group", DurationList, DurationParams),
    route("errors", get_errors, "Failures by cause", ErrorList, WindowParams),
    route("throughput", get_throughput, "Jobs and rows over time", ThroughputList, TrendParams),
    route("flaky", get_flaky, "Names that fail now and then", FlakyList, WindowParams),
)
