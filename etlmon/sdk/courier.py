"""Carries one spool to the server: one batch in flight, and each kind of answer has its consequence.

Sending again is always safe: the same ``seq`` of the same producer carries the same reports, and the server takes it
once. Where that cannot be kept (a server that lost its store, a spool that was restored) it goes on as a new producer.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, Final, assert_never

import msgspec

from etlmon.core.instants import format_instant
from etlmon.host.clock import now_ms
from etlmon.sdk.frames import STATE
from etlmon.sdk.graveyard import bury
from etlmon.sdk.guard import warn_once
from etlmon.sdk.losses import subject_of
from etlmon.sdk.memory_spool import MemorySpool
from etlmon.sdk.spool import FileSpool
from etlmon.sdk.tail import Batch, Limits
from etlmon.sdk.transport import (
    Answer,
    Busy,
    Commands,
    NoAnswer,
    NotAllowed,
    OutOfStep,
    Refused,
    Taken,
    TooLarge,
    Transport,
)

PROBE_AHEAD: Final = 1_000_000
"""So far beyond what was sent that the server must call it a hole, and name the ``ack`` that it holds."""
SLOW_S: Final = 5.0
QUICK_S: Final = 1.0
QUICK_RUN: Final = 8
"""After so many quick batches in a row the next may be twice as large."""
LEAST_BYTES: Final = 8 * 1024


class Step(Enum):
    """What one ``carry`` came to."""

    IDLE = "idle"
    """Nothing to send."""
    MOVED = "moved"
    """Something was settled; there may be more."""
    BUSY = "busy"
    """The server asks for a pause."""
    NOT_ALLOWED = "not allowed"
    NO_ANSWER = "no answer"


class Carried(msgspec.Struct, frozen=True):
    """The step, and for BUSY the pause that the server asked for."""

    step: Step
    retry_after_s: float | None = None
    why: str = ""


class Courier:
    """One spool's way to the server. Used by one thread."""

    def __init__(
        self,
        spool: FileSpool | MemorySpool,
        limits: Limits,
        *,
        dead_letters: Path | None = None,
        on_commands: Callable[[list[dict[str, Any]]], None] | None = None,
        live_states: Callable[[], list[dict[str, Any]]] | None = None,
    ) -> None:
        self.spool = spool
        self._limits = limits
        self._dead_letters = dead_letters
        self._on_commands = on_commands
        self._live_states = live_states
        self._max_reports = limits.batch_reports
        self._max_bytes = limits.batch_bytes
        self._was_busy = False
        self._unanswered = 0
        self._quick = 0
        self._renewed = False

    @property
    def is_full(self) -> bool:
        """Whether what waits fills a batch, so that there is nothing to gain by waiting for more."""
        return self.spool.appended - self.spool.settled >= self._max_reports

    def carry(self, transport: Transport) -> Carried:
        """Send the next batch and do what the answer asks for."""
        if self.spool.losses:
            self.spool.losses.tell(lambda gap: self.spool.append(STATE, gap), now_ms())
        batch = self.spool.next_batch(self._max_reports, self._max_bytes)
        if batch is None:
            return Carried(Step.IDLE)
        if batch.missing:
            return self._resolve_missing(batch, transport)
        answer = transport.post_reports(self._body(batch))
        self._was_busy = isinstance(answer, Busy)
        return self._consequence(batch, answer, transport)

    def _consequence(self, batch: Batch, answer: Answer, transport: Transport) -> Carried:
        match answer:
            case Taken():
                return self._taken(batch, answer)
            case OutOfStep(ack):
                return self._out_of_step(batch, ack)
            case NotAllowed(status):
                return Carried(Step.NOT_ALLOWED, why=f"status {status}")
            case TooLarge():
                return self._shrink(batch, "it is larger than the server takes", transport)
            case Refused(status, why):
                return self._shrink(batch, f"{status} {why}", transport)
            case Busy(status, retry_after_s):
                return Carried(Step.BUSY, retry_after_s, f"status {status}")
            case NoAnswer(why, timed_out):
                return self._no_answer(batch, why, timed_out, transport)
            case Commands():
                return Carried(Step.NO_ANSWER, why="commands where an acknowledgement was due")
            case _:
                assert_never(answer)

    def _body(self, batch: Batch) -> bytes:
        """The request. The reports are byte for byte the same each time; only ``sentAt`` and ``now`` differ."""
        now = b""
        if self._was_busy and self._live_states is not None:  # a store that cannot commit can still show
            now = b'"now":' + msgspec.json.encode(self._live_states(), enc_hook=str) + b","
        head = f'{{"producer":"{batch.producer}","seq":{batch.seq},"sentAt":"{format_instant(now_ms())}",'
        return b"".join((head.encode(), now, b'"reports":[', b",".join(batch.payloads), b"]}"))

    def _taken(self, batch: Batch, receipt: Taken) -> Carried:
        if receipt.ack < batch.seq:
            return Carried(Step.NO_ANSWER, why=f"batch {batch.seq} was answered with ack {receipt.ack}")
        if receipt.ack > batch.seq:
            # The server has heard more from this producer than the spool knows: the spool was put back from a backup
            # or cloned, and what the server holds under this seq may be something else. Better twice than never.
            warn_once(
                "spool.restored", "etlmon: the server knows later reports than this spool: going on as a new producer"
            )
            return self._renew()
        for refusal in receipt.rejected:
            if 0 <= refusal.index < len(batch.payloads):
                self._bury(batch.payloads[refusal.index], refusal.why)
        self.spool.taken()
        self._unanswered = 0
        self._renewed = False
        self._pace(receipt.took_s)
        if receipt.commands and self._on_commands is not None:
            self._on_commands(receipt.commands)
        return Carried(Step.MOVED)

    def _pace(self, took_s: float) -> None:
        """Smaller batches on a slow line, so that none outlasts the time limit; larger again when it goes well."""
        self._quick = self._quick + 1 if took_s < QUICK_S else 0
        if took_s > SLOW_S:
            self._max_bytes = max(LEAST_BYTES, self._max_bytes // 2)
        elif self._quick >= QUICK_RUN:
            self._quick = 0
            self._max_bytes = min(self._limits.batch_bytes, self._max_bytes * 2)
            self._max_reports = min(self._limits.batch_reports, self._max_reports * 2)

    def _out_of_step(self, batch: Batch, ack: int | None) -> Carried:
        """A hole, or other content under our ``seq``: what the server lost is gone. Say how much, go on as new."""
        if ack is not None and ack < batch.seq - 1:
            lost = self.spool.lost_after(ack)
            warn_once("spool.hole", f"etlmon: the server no longer has {lost} reports that it had acknowledged")
            self.spool.losses.add(subject_of(batch.payloads[0]).job_id, "", lost)
        return self._renew()

    def _renew(self) -> Carried:
        if self._renewed:  # a server that answers a fresh producer so is out of its mind: do not run in circles
            return Carried(Step.NO_ANSWER, why="the server does not accept a new producer")
        self._renewed = True
        self.spool.renew()
        return Carried(Step.MOVED)

    def _shrink(self, batch: Batch, why: str, transport: Transport) -> Carried:
        """Halve a batch that is refused, down to the one report that is to blame, and put that one aside."""
        if self._is_taken(batch, transport):
            self.spool.taken()
        elif len(batch.payloads) > 1:
            self._quick = 0
            self._max_reports = max(1, len(batch.payloads) // 2)
            self.spool.recut(self._max_reports)
        else:
            self._bury(batch.payloads[0], why)
            self.spool.skip()
        return Carried(Step.MOVED)

    def _no_answer(self, batch: Batch, why: str, timed_out: bool, transport: Transport) -> Carried:
        """When a batch fails again and again: try a smaller one, if the server can say that this never arrived."""
        self._unanswered += 3 if timed_out else 1
        if self._unanswered >= 6 and len(batch.payloads) > 1:
            self._unanswered = 0
            ack = self._ack_of(batch, transport)
            if ack is not None and ack >= batch.seq:
                self.spool.taken()  # it arrived, only its answers did not
                return Carried(Step.MOVED)
            if ack is not None:
                self._max_bytes = max(LEAST_BYTES, self._max_bytes // 2)
                self.spool.recut(len(batch.payloads) // 2)
        return Carried(Step.NO_ANSWER, why=why)

    def _resolve_missing(self, batch: Batch, transport: Transport) -> Carried:
        """Part of a batch that may have been sent is unreadable now: only the server knows whether it arrived."""
        answer = self._probe(batch, transport)
        match answer:
            case OutOfStep(ack) if ack is not None and ack >= batch.seq:
                self.spool.taken()
            case OutOfStep() | Taken():
                job_id = subject_of(batch.payloads[0]).job_id if batch.payloads else ""
                self.spool.losses.add(job_id, "", batch.missing)
                return self._renew()
            case NotAllowed(status):
                return Carried(Step.NOT_ALLOWED, why=f"status {status}")
            case Busy(status, retry_after_s):
                return Carried(Step.BUSY, retry_after_s, f"status {status}")
            case _:
                return Carried(Step.NO_ANSWER, why="the server cannot say what it holds")
        return Carried(Step.MOVED)

    def _is_taken(self, batch: Batch, transport: Transport) -> bool:
        ack = self._ack_of(batch, transport)
        return ack is not None and ack >= batch.seq

    def _ack_of(self, batch: Batch, transport: Transport) -> int | None:
        answer = self._probe(batch, transport)
        return answer.ack if isinstance(answer, OutOfStep) else None

    def _probe(self, batch: Batch, transport: Transport) -> Answer:
        """Ask what the server holds of this producer, by a batch that it must refuse."""
        seq = batch.seq + PROBE_AHEAD
        return transport.post_reports(f'{{"producer":"{batch.producer}","seq":{seq},"reports":[]}}'.encode())

    def _bury(self, payload: bytes, why: str) -> None:
        warn_once("report.refused", f"etlmon: the server refused a report: {why}")
        if self._dead_letters is not None:
            bury(self._dead_letters, payload, why)
