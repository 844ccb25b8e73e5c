"""Progress and metrics of one job: put together, so that however often a program speaks, ten a second are told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from etlmon.host.clock import monotonic_s

SAMPLE_S: Final = 0.1
"""The least time between two samples of one job."""
SAMPLE_AWAY_S: Final = 5.0
"""The same while no server answers: of samples only the newest matters, and the spool has better to hold."""

Report = dict[str, Any]


class Samples:
    """What is known of a job's progress, and what of it is not told yet. Used from any thread."""

    def __init__(self, report: Callable[[Report], None], is_away: Callable[[], bool]) -> None:
        self.known: dict[str, Any] = {}
        """Of the fields of ``progress`` reports, the newest of each."""
        self.metrics: dict[str, Any] = {}
        self._report = report
        self._is_away = is_away
        self._lock = threading.RLock()
        self._fields: dict[str, Any] = {}
        self._measured: dict[str, Any] = {}
        self._sent_at = 0.0

    def put(self, fields: dict[str, Any], metrics: dict[str, Any] | None = None, *, now: bool = False) -> None:
        """Take in what changed; it is told at once unless the last sample is less than ``SAMPLE_S`` old."""
        with self._lock:
            self._fields.update(fields)
            self.known.update(fields)
            if metrics:
                self._measured.update(metrics)
                self.metrics.update(metrics)
            if now or self.due:
                self.send()

    @property
    def due(self) -> bool:
        """Whether the last sample is old enough for another."""
        return monotonic_s() - self._sent_at >= (SAMPLE_AWAY_S if self._is_away() else SAMPLE_S)

    def send(self) -> None:
        """Tell what is not told yet."""
        with self._lock:
            if not self._fields and not self._measured:
                return
            fields, self._fields = self._fields, {}
            measured, self._measured = self._measured, {}
            self._sent_at = monotonic_s()
            self._report({"kind": "progress" if fields else "metrics", **fields, "metrics": measured or None})

    def state(self, total: int | None) -> dict[str, Any]:
        """``progressPercent`` and ``metrics`` as a live state shows them."""
        done, total = self.known.get("recordsProcessed"), self.known.get("recordsTotal", total)
        percent = self.known.get("progressPercent")
        if percent is None and total and done is not None:
            percent = min(100.0, done * 100 / total)
        counts = {"recordsProcessed": done, "recordsTotal": total}
        told = {key: value for key, value in counts.items() if value is not None}
        return {"progressPercent": percent, "metrics": {**self.metrics, **told}}
