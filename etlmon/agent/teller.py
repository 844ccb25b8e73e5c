"""The teller: all that the server hears of one run, from the start report to the last acknowledgement.

Opened once the command runs: what it takes to import and to find the server must not hold up the start.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence

from etlmon.agent import telling
from etlmon.agent.asked import Ending, Options, Reports, Way
from etlmon.agent.copying import Tap
from etlmon.agent.sampling import Sampler
from etlmon.agent.scribe import Scribe
from etlmon.agent.telling import instant
from etlmon.core import reports as r
from etlmon.host.clock import now_ms

AWAY_S = 1.2
"""How long after the child's end an answer is waited for; with the half second that closing may take, under 2 s."""
ANSWERING_S = 10.0
_SLICE_S = 0.25
_FINISH_S = 1.0


class Teller:
    """Reports one run. Nothing here waits for the server before the command has ended."""

    def __init__(self, job_id: str, options: Options, way: Way, reports: Reports) -> None:
        self._job_id = job_id
        self._options = options
        self._way = way
        self._reports = reports
        self._scribe: Scribe | None = None
        self._sampler: Sampler | None = None

    @classmethod
    def open(cls, job_id: str, options: Options, way: Way, take_command: Callable[[r.CommandItem], None]) -> Teller:
        """With a reporter that hands the server's commands to ``take_command``."""
        return cls(job_id, options, way, way.open(take_command))

    # -- while it runs ------------------------------------------------------------------------------------------

    def started(self, *, at: int, parent_id: str | None) -> None:
        """The job began at the instant ``at``."""
        host = socket.gethostname()
        self._reports.report(telling.started(self._job_id, self._options, at=at, host=host, parent_id=parent_id))

    def watch(self, pid: int, tap: Tap, loggers: Sequence[str | None]) -> None:
        """Read what passes the tap, and sample the tree of ``pid``."""
        self._scribe = Scribe(self._job_id, loggers, tap, self._reports, now_ms)
        self._scribe.start()
        self._sampler = Sampler(self._job_id, pid, self._reports, now_ms)
        self._sampler.start()

    def beat(self) -> None:
        """The wrapper lives."""
        self._reports.report(r.Heartbeat(job_id=self._job_id, at=instant(now_ms())))

    def paused(self, command: r.CommandItem | None = None) -> None:
        """It holds still: asked to by ``command``, or by its keyboard; then the wrapper is about to stop as well."""
        self._reports.report(r.Paused(job_id=self._job_id, at=instant(now_ms()), command_id=_id_of(command)))
        if command is None:
            self._reports.flush(0.2)

    def resumed(self, command: r.CommandItem | None = None) -> None:
        """It goes on."""
        self._reports.report(r.Resumed(job_id=self._job_id, at=instant(now_ms()), command_id=_id_of(command)))

    def refused(self, command: r.CommandItem, why: str) -> None:
        """It cannot do what ``command`` asks for."""
        at = instant(now_ms())
        self._reports.report(r.ControlRefused(job_id=self._job_id, at=at, command_id=command.id, reason=why))

    # -- the end ------------------------------------------------------------------------------------------------

    def conclude(
        self, ending: Ending, *, duration_ms: int, output_bytes: int, cancel: r.CommandItem | None, timed_out: bool
    ) -> None:
        """The last lines and the final status."""
        if self._sampler is not None:
            self._sampler.finish()
        if self._scribe is not None:
            self._scribe.finish(_FINISH_S)
        tail = self._scribe.tail if self._scribe is not None else ()
        told = telling.summary(
            duration_ms=duration_ms,
            exit_code=ending.code,
            lines=self._scribe.lines if self._scribe is not None else 0,
            output_bytes=output_bytes,
            peak_memory=self._sampler.peak_memory if self._sampler is not None else None,
        )
        at = instant(now_ms())
        final: r.Report
        if cancel is not None:
            final = r.Cancelled(job_id=self._job_id, at=at, command_id=cancel.id, reason=cancel.reason, summary=told)
        elif timed_out:
            failure = telling.timeout_failure(ending, self._options.timeout_ms or 0, tail)
            final = r.Failed(job_id=self._job_id, at=at, failure=failure, summary=told)
        elif ending.code == 0:
            final = r.Completed(job_id=self._job_id, at=at, summary=told)
        else:
            failure = telling.failure_of(ending, tail)
            final = r.Failed(job_id=self._job_id, at=at, failure=failure, summary=told)
        self._reports.report(final)

    def not_started(self, exit_code: int, why: str) -> None:
        """The command could not be executed."""
        failure = telling.not_started_failure(exit_code, self._options.argv[0], why)
        self._reports.report(r.Failed(job_id=self._job_id, at=instant(now_ms()), failure=failure))

    def leave(self, ended: float) -> None:
        """Wait until all is acknowledged, or until the server has not answered for too long.

        ``ended`` is when the child ended (monotonic seconds). A server that answers is waited for up to ten seconds;
        what it has not acknowledged by then a process of its own goes on sending.
        """
        done = self._all_acknowledged(ended)
        self._reports.close(0.0)
        if not done:
            self._way.leave_flusher()

    def _all_acknowledged(self, ended: float) -> bool:
        while True:
            patience = ANSWERING_S if self._reports.reached else AWAY_S
            left = ended + patience - time.monotonic()
            if left <= 0:
                return False
            if self._reports.flush(min(_SLICE_S, left)):
                return True


def _id_of(command: r.CommandItem | None) -> str | None:
    return None if command is None else command.id
