"""What a program passes to the SDK, made into what a report may carry. Wrong things are left out, with one warning."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from etlmon.sdk.guard import warn_once

KNOWN_METRICS = {
    "records_total": "recordsTotal",
    "records_processed": "recordsProcessed",
    "records_successful": "recordsSuccessful",
    "records_failed": "recordsFailed",
    "error_rate": "errorRate",
    "bytes_processed": "bytesProcessed",
    "processing_rate": "processingRate",
    "memory_usage": "memoryUsage",
    "cpu_usage": "cpuUsage",
    "execution_time": "executionTime",
}
"""The metrics that every job view carries (core.job.METRIC_KEYS), as Python spells them."""
KNOWN_SUMMARY = {
    "duration_ms": "durationMs",
    "records_in": "recordsIn",
    "records_out": "recordsOut",
    "records_rejected": "recordsRejected",
}
_NUMERIC = frozenset(KNOWN_METRICS.values())


def text_of(value: Any) -> str:
    """``str(value)``; where that raises, the type's name."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - somebody's __str__
        return f"<{type(value).__name__}>"


def _left_out(key: str, what: str, value: Any, why: str) -> None:
    try:
        seen = repr(value)[:100]
    except Exception:  # noqa: BLE001 - somebody's __repr__
        seen = f"<{type(value).__name__}>"
    warn_once(key, f"etlmon: {what}={seen} {why}: left out")


def whole_number(what: str, value: Any) -> int | None:
    """A count; None for None and for what is none."""
    if value is None:
        return None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if 0 <= number < 2**63:
        return number
    _left_out(f"argument.{what}", what, value, "is not a whole number of 0 or more")
    return None


def percent_of(value: Any) -> float | None:
    """A percentage, clamped to 0–100; None for None, NaN and what is no number."""
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number):
        _left_out("argument.percent", "percent", value, "is not a number")
        return None
    return min(100.0, max(0.0, number))


def milliseconds(what: str, value: Any) -> int | None:
    """A duration in ms from seconds, a timedelta, or text such as ``"25m"``."""
    if value is None:
        return None
    try:
        if isinstance(value, timedelta):
            ms = value.total_seconds() * 1000
        elif isinstance(value, str):
            from etlmon.core.durations import parse_duration

            ms = parse_duration(value)
        else:
            ms = float(value) * 1000
        if 0 <= ms < 2**53:
            return round(ms)
    except (TypeError, ValueError, OverflowError):
        ms = -1
    _left_out(f"argument.{what}", what, value, "is not a duration (seconds, or as '25m')")
    return None


def tags_of(tags: Any) -> dict[str, str | int | float | bool] | None:
    """Tags with text keys and plain values."""
    if not tags:
        return None
    try:
        pairs = list(dict(tags).items())
    except (TypeError, ValueError):
        _left_out("argument.tags", "tags", tags, "is not a mapping")
        return None
    return {text_of(key): _plain(value) for key, value in pairs if value is not None}


def _plain(value: Any) -> str | int | float | bool:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int) and -(2**53) < value < 2**53:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return text_of(value)


def names_of(names: Iterable[Any] | None) -> tuple[str, ...]:
    """Steps' names; one text is one step."""
    if names is None:
        return ()
    if isinstance(names, str):
        return (names,)
    try:
        return tuple(text_of(name) for name in names)
    except TypeError:
        _left_out("argument.steps", "steps", names, "is not a list of names")
        return ()


def metrics_of(given: dict[str, Any]) -> dict[str, float | int | str | bool]:
    """Metrics under their names in a report; what is not a finite number, a text or a boolean is left out."""
    clean: dict[str, float | int | str | bool] = {}
    for name, value in given.items():
        key = KNOWN_METRICS.get(name, name)
        number = _scalar(value)
        if number is None or (key in _NUMERIC and (isinstance(number, str | bool) or not 0 <= number < 2**63)):
            if value is not None:
                _left_out(f"metric.{key}", f"the metric {name}", value, "cannot be reported")
            continue
        clean[key] = number
    return clean


def _scalar(value: Any) -> float | int | str | bool | None:
    if isinstance(value, bool | str):
        return value
    if not isinstance(value, int | float):
        for conversion in ("item", "__float__"):  # numpy scalars know .item(), Decimal and Fraction __float__
            method = getattr(value, conversion, None)
            if callable(method) and getattr(value, "ndim", 0) == 0:
                value = method()
                break
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -(2**63) <= value < 2**63 else None
    return value if isinstance(value, float) and math.isfinite(value) else None


def summary_of(given: dict[str, Any]) -> dict[str, Any]:
    """A summary's entries under their names in a report."""
    return {KNOWN_SUMMARY.get(name, name): value for name, value in given.items()}
