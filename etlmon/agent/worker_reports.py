"""What the worker reports of one attempt: everything carries the claim's fencing token, and after a lost claim nothing
is said any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from etlmon.agent import telling
from etlmon.agent.asked import Ending
from etlmon.agent.telling import instant
from etlmon.core import reports as r
from etlmon.core.job import Failure, FailureKind
from etlmon.host.clock import now_ms
from etlmon.sdk.reporter import Reporter


class Result(msgspec.Struct, frozen=True):
    """What the process itself says of its end."""

    status: str
    summary: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None


class ClaimReports:
    """The worker's reporter, as one attempt sees it (``etlmon.agent.asked.Reports``)."""

    def __init__(self, reporter: Reporter, fencing_token: int) -> None:
        self._reporter = reporter
        self._token = fencing_token
        self.is_mute = False

    def report(self, report: r.Report, /) -> None:
        """Take one report of the attempt."""
        if not self.is_mute:
            self._reporter.report(replace(report, fencing_token=self._token))

    def log_lines(
        self, job_id: str, lines: Sequence[str], levels: Sequence[str] | None, /, *, at: int, logger: str | None
    ) -> None:
        """Take lines of the attempt."""
        if not self.is_mute:
            self._reporter.log_lines(job_id, lines, levels, at=at, logger=logger, fencing_token=self._token)

    @property
    def pending(self) -> int:
        """How many of the worker's reports are not yet acknowledged."""
        return self._reporter.pending

    @property
    def reached(self) -> bool:
        """Whether the server gave the last answer."""
        return self._reporter.reached

    def flush(self, timeout_s: float, /) -> bool:
        """Whether all is acknowledged."""
        return self._reporter.flush(timeout_s)

    def close(self, timeout_s: float, /) -> bool:
        """The worker's reporter outlives an attempt: only what was said is waited for."""
        return self._reporter.flush(timeout_s)

    @property
    def position(self) -> int:
        """Where the last report stands."""
        return self._reporter.position

    def settled(self, position: int) -> bool:
        """Whether it is acknowledged."""
        return self._reporter.settled(position)


def parse_result(raw: bytes) -> Result | None:
    """What the process said; None when it said nothing that can be understood."""
    try:
        return msgspec.json.decode(raw, type=Result) if raw else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def failure_told(result: Result, ending: Ending, tail: tuple[str, ...]) -> Failure:
    """The failure that the process itself describes, with its last words where it gave none."""
    told = dict(result.failure or {})
    told.setdefault("stderrTail", list(tail))
    try:
        return msgspec.convert(told, Failure)
    except msgspec.ValidationError:
        message = str(told.get("message") or "the process failed")
        return Failure(kind=FailureKind.ERROR, message=message, exit_code=ending.code, stderr_tail=tail)


def without_result(
    job_id: str, ending: Ending, tail: tuple[str, ...], *, speaks: bool, told: dict[str, Any]
) -> r.Report:
    """The final report of a process that said nothing of its end. One that ``speaks`` (a pipeline) should have."""
    at = instant(now_ms())
    if ending.code == 0 and not speaks:
        return r.Completed(job_id=job_id, at=at, summary=told)
    failure = telling.failure_of(ending, tail)
    if ending.code == 0:
        failure = replace(failure, message="the process ended without a result")
    return r.Failed(job_id=job_id, at=at, failure=failure, summary=None if speaks else told)
