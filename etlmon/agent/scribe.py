"""The scribe: one thread that reads the tap and turns what passed into log lines, progress and the last words."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from etlmon.agent.asked import Reports
from etlmon.agent.copying import Dropped, Piece, Tap
from etlmon.agent.levels import Levels
from etlmon.agent.output import Lines
from etlmon.agent.progress import ProgressReader, Reading
from etlmon.agent.telling import TAIL_LINES, instant
from etlmon.core import reports as r

BATCH_S = 0.05
"""After a batch the scribe lets so much time pass: what comes meanwhile is read at once and costs less per line."""
QUIET_S = 2.0
PROGRESS_EVERY_S = 0.5


class Scribe(threading.Thread):
    """Reports the lines of one job's channels. Whatever is too much for it was dropped at the tap, and is told."""

    def __init__(self, job_id: str, loggers: Sequence[str | None], tap: Tap, reports: Reports, now: Callable[[], int]):
        super().__init__(name="scribe", daemon=True)
        self.lines = 0
        self._job_id = job_id
        self._loggers = loggers
        self._tap = tap
        self._reports = reports
        self._now = now
        self._channels = [Lines() for _ in loggers]
        self._levels = [Levels() for _ in loggers]
        self._progress = [ProgressReader() for _ in loggers]
        self._tails: list[deque[str]] = [deque(maxlen=TAIL_LINES) for _ in loggers]
        self._told: Reading | None = None
        self._pending: tuple[Reading, int] | None = None
        self._told_at = 0.0
        self._unread = 0
        self._finish = threading.Event()
        self._give_up = threading.Event()

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines of stderr, or of all output where stderr said nothing or is not known apart."""
        tails = {logger: tuple(tail) for logger, tail in zip(self._loggers, self._tails, strict=True)}
        return tails.get("stderr") or tails.get(None) or tails.get("stdout") or ()

    def run(self) -> None:
        """Until ``finish``, and then until the tap is empty or time is up."""
        try:
            self._read_on()
        except Exception as fault:  # noqa: BLE001 - Law 5, and stderr is the command's
            told = [f"etlmon: lines are not kept any more: {fault!r}"]
            self._reports.log_lines(self._job_id, told, ["error"], at=self._now(), logger="etlmon")

    def _read_on(self) -> None:
        while not self._give_up.is_set():
            finishing = self._finish.is_set()
            pieces, dropped = self._tap.take(0 if finishing else QUIET_S)
            self._read(pieces)
            if dropped is not None:
                self._tell_gap(dropped)
            if not pieces:
                self._flush(final=finishing)
                if finishing:
                    break
            self._tell_progress(final=finishing)
            if not finishing:
                self._finish.wait(BATCH_S)
        self._tell_progress(final=True)

    def finish(self, timeout_s: float) -> None:
        """Read what is left, for at most so long; the rest becomes a gap."""
        self._finish.set()
        self._tap.wake()
        self.join(timeout_s)
        if self.is_alive():
            self._give_up.set()
            self.join(0.5)
            pieces, dropped = self._tap.take(0)
            lost = self._unread + _lines_in(pieces) + (dropped.lines if dropped else 0)
            if lost:
                self._tell_gap(Dropped(lost, pieces[0].at if pieces else self._now(), self._now()))

    def _read(self, pieces: list[Piece]) -> None:
        """Neighbouring pieces of one channel are read as one: the work is per batch, not per line."""
        at = 0
        while at < len(pieces):
            if self._give_up.is_set():
                self._unread += _lines_in(pieces[at:])
                return
            first = pieces[at]
            end, size = at + 1, len(first.data)
            while end < len(pieces) and pieces[end].channel == first.channel and size < 262_144:
                size += len(pieces[end].data)
                end += 1
            data = first.data if end == at + 1 else b"".join([piece.data for piece in pieces[at:end]])
            place = first.channel
            self._write(place, self._channels[place].feed(data), pieces[end - 1].at)
            reading = self._progress[place].look(self._channels[place].seen)
            if reading is not None:
                self._pending = (reading, pieces[end - 1].at)
            at = end

    def _write(self, place: int, lines: list[str], at: int) -> None:
        if not lines:
            return
        self.lines += len(lines)
        self._tails[place].extend(lines[-TAIL_LINES:])
        levels = self._levels[place].guess(lines)
        self._reports.log_lines(self._job_id, lines, levels, at=at, logger=self._loggers[place])

    def _flush(self, *, final: bool) -> None:
        for place, channel in enumerate(self._channels):
            self._write(place, channel.flush(final=final), self._now())

    def _tell_gap(self, dropped: Dropped) -> None:
        self._reports.report(
            r.Gap(
                job_id=self._job_id,
                at=instant(self._now()),
                dropped=dropped.lines,
                from_=instant(dropped.first_at),
                to=instant(dropped.last_at),
            )
        )

    def _tell_progress(self, *, final: bool) -> None:
        if self._pending is None:
            return
        clock = time.monotonic()
        if not final and clock - self._told_at < PROGRESS_EVERY_S:
            return
        reading, at = self._pending
        self._pending = None
        if reading == self._told:
            return
        self._told, self._told_at = reading, clock
        report = r.Progress(job_id=self._job_id, at=instant(at), progress_percent=round(reading.percent, 2))
        if reading.done is not None and reading.total is not None:
            report = r.Progress(
                job_id=self._job_id,
                at=instant(at),
                progress_percent=round(reading.percent, 2),
                records_processed=reading.done,
                records_total=reading.total,
                current_step=reading.step,
            )
        elif reading.step is not None:
            report = r.Progress(
                job_id=self._job_id,
                at=instant(at),
                progress_percent=round(reading.percent, 2),
                current_step=reading.step,
            )
        self._reports.report(report)


def _lines_in(pieces: list[Piece]) -> int:
    return sum(max(1, piece.data.count(b"\n")) for piece in pieces)
