"""When a job will end, and how well it does: reckoned from its pace, its own past and its metrics.

Total: an unknown gives null and an absurd number gives null with ``fault`` set; nothing here stops a report.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from etlmon.core.instants import MAX_MS
from etlmon.core.job import Health, Job, Past, Status

Basis = Literal["history", "pace"]

PACE_WINDOW_S = 60.0
"""Time constant of the smoothed pace: what lies further back than this minute hardly counts."""
PATIENCE_S = 15.0
"""How long after a progress report the job is still believed to move at its pace; later the pace is let down."""

FARTHEST_MS = 30 * 86_400_000
"""An end further off is no forecast: the job hardly moves, and nobody plans by a date in another year."""

ERROR_RATES = (0.01, 0.05, 0.1)
"""Up to the first a job is excellent, then good, then fair, beyond the last poor (interface.md, Job)."""
RATES_WITHOUT_PAST = (100.0, 10.0)
"""Records per second: from the first excellent, from the second good, below fair (interface.md, Job)."""
SHARES_OF_PAST = (0.9, 0.5, 0.1)
"""The same against the rate of the job's own past runs, and below the last poor."""

FEWEST_RECORDS = 100
"""Of fewer records processed the speed says nothing yet: a small job's time is mostly its start."""

_GRADES = (Health.EXCELLENT, Health.GOOD, Health.FAIR, Health.POOR)


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """When a running job will end (instants, ms) and what that was reckoned from; all None when nobody can say.

    ``fault`` tells that a number made no sense, so that the shell can count it.
    """

    eta_at: int | None = None
    low_at: int | None = None
    high_at: int | None = None
    remaining_ms: int | None = None
    basis: Basis | None = None
    fault: bool = False


UNKNOWN = Forecast()
ABSURD = Forecast(fault=True)


class _Band(msgspec.Struct, frozen=True):
    """Remaining milliseconds: the likely figure, and how little or much it may be."""

    low: float
    middle: float
    high: float


def forecast(job: Job, now: int) -> Forecast:
    """What is left of ``job`` at ``now``: by its name's past, shifted by its pace; by its pace alone; or unknown."""
    if job.status is not Status.RUNNING or job.started_at is None:
        return UNKNOWN
    try:
        elapsed_ms = job.execution_ms(now) or 0
        pace = _by_pace(job, elapsed_ms, now)
        past = _by_past(job.past, elapsed_ms)
        if past is not None:
            return _forecast(past if pace is None else _joined(past, pace, job.progress_percent or 0.0), now, "history")
        if pace is not None:
            return _forecast(pace, now, "pace")
        return _as_expected(job, elapsed_ms, now)
    except (ArithmeticError, TypeError, ValueError):
        return ABSURD


def _by_pace(job: Job, elapsed_ms: int, now: int) -> _Band | None:
    percent, pace = job.progress_percent, job.pace
    if percent is None or not pace or pace < 0 or job.progressed_at is None:
        return None
    silent_s = max(0.0, (now - job.progressed_at) / 1000)
    overdue_s = max(0.0, silent_s - PATIENCE_S)
    left = max(0.0, 100.0 - percent)
    moved_ms = min(silent_s, PATIENCE_S) * 1000  # believed to have been worked off since the last report
    middle = left / pace * (1 + overdue_s / PACE_WINDOW_S) * 1000 - moved_ms
    whole_run = left / percent * elapsed_ms if percent > 0 and elapsed_ms > 0 else middle
    return _Band(0.9 * max(0.0, min(middle, whole_run)), max(0.0, middle), 1.1 * max(0.0, middle, whole_run))


def _by_past(past: Past | None, elapsed_ms: int) -> _Band | None:
    if past is None or past.runs < 1 or elapsed_ms >= past.p90_ms:
        return None  # it has run longer than nearly all before it: the past says nothing more
    high = past.p90_ms - elapsed_ms
    middle = min(past.p50_ms - elapsed_ms if elapsed_ms < past.p50_ms else high / 2, high)
    return _Band(max(0, min(past.p25_ms - elapsed_ms, middle)), middle, high)


def _joined(past: _Band, pace: _Band, percent: float) -> _Band:
    """The past at the start, the pace near the end; the band always reaches the pace's own middle."""
    trust = min(1.0, max(0.0, percent / 100))
    low, middle, high = (
        (1 - trust) * one + trust * other
        for one, other in ((past.low, pace.low), (past.middle, pace.middle), (past.high, pace.high))
    )
    return _Band(min(low, middle, pace.middle), middle, max(high, middle, pace.middle))


def _as_expected(job: Job, elapsed_ms: int, now: int) -> Forecast:
    """What its owner expects, while it may still come true: a figure without a band or a basis."""
    expected = job.expected_duration_ms
    if expected is None or elapsed_ms >= expected:
        return UNKNOWN
    return Forecast(eta_at=now + expected - elapsed_ms, remaining_ms=expected - elapsed_ms)


def _forecast(band: _Band, now: int, basis: Basis) -> Forecast:
    if not math.isfinite(band.high) or now + band.high > MAX_MS:
        return ABSURD
    if band.middle > FARTHEST_MS:
        return UNKNOWN
    return Forecast(
        eta_at=now + round(band.middle),
        low_at=now + round(band.low),
        high_at=now + round(band.high),
        remaining_ms=round(band.middle),
        basis=basis,
    )


def paced(job: Job, percent: float, at: int) -> float | None:
    """The smoothed pace (percent points per second) once ``percent`` is reported at ``at``; None while it is unknown.

    ``job`` is still as it was before this report. A percent that falls starts anew. Reports of the same instant count
    in full, so that a batch without timestamps is not lost on the pace.
    """
    before, since = job.progress_percent, job.progressed_at
    if before is None or since is None or not math.isfinite(percent) or percent < before:
        return None
    seconds = max(0.0, (at - since) / 1000)
    moved = percent - before
    if job.pace is None:
        return moved / seconds if seconds > 0 and moved > 0 else None
    fading = math.exp(-seconds / PACE_WINDOW_S)
    weight = -math.expm1(-seconds / PACE_WINDOW_S) / seconds if seconds > 0 else 1 / PACE_WINDOW_S
    return job.pace * fading + moved * weight


def health(job: Job) -> Health | None:
    """How well it does: the worse of error rate and speed; None while neither is known."""
    grades = [grade for grade in (_by_errors(job.metrics), _by_speed(job.metrics, job.past)) if grade is not None]
    return _GRADES[max(grades)] if grades else None


def _by_errors(metrics: dict[str, Any]) -> int | None:
    rate = _number(metrics.get("errorRate"))
    if rate is None:
        failed, processed = _number(metrics.get("recordsFailed")), _number(metrics.get("recordsProcessed"))
        if failed is None or not processed:
            return None
        rate = failed / processed
    return sum(rate > limit for limit in ERROR_RATES)


def _by_speed(metrics: dict[str, Any], past: Past | None) -> int | None:
    rate, processed = _number(metrics.get("processingRate")), _number(metrics.get("recordsProcessed"))
    if rate is None or (processed is not None and processed < FEWEST_RECORDS):
        return None
    usual = _number(past.rate) if past is not None else None
    if usual:
        return sum(rate < share * usual for share in SHARES_OF_PAST)
    return sum(rate < limit for limit in RATES_WITHOUT_PAST)


def _number(value: object) -> float | None:
    """A finite number of zero or more; anything else that a reporter may have put there is unknown."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e300:
        return None
    return float(value)
