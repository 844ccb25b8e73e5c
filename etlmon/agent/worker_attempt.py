"""One attempt on a claimed job: its process, what is asked of it, how it ends, and the one report that says so.

A thread of its own follows a box of messages: what the lease's beat brings, the process's end, the worker's stop.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Callable
from enum import Enum
from typing import Any

import msgspec

from etlmon.agent import telling
from etlmon.agent.asked import Ending
from etlmon.agent.copying import Copy, Tap
from etlmon.agent.sampling import Sampler
from etlmon.agent.scribe import Scribe
from etlmon.agent.telling import instant
from etlmon.agent.tree import Tree
from etlmon.agent.worker_process import Place, Started, Undertaker, start
from etlmon.agent.worker_reports import ClaimReports, failure_told, parse_result, without_result
from etlmon.agent.worker_rooms import Room
from etlmon.agent.worker_wire import Asked, Given, Lease, Wire
from etlmon.core import reports as r
from etlmon.core.job import Failure, FailureKind
from etlmon.host.clock import monotonic_s, now_ms
from etlmon.host.endpoint import Endpoint
from etlmon.sdk.flush import Flusher
from etlmon.sdk.reporter import Reporter
from etlmon.sdk.transport import Busy

OUTPUT_S = 1.0
"""How long after the process's end its output is waited for: a grandchild may hold the pipes."""
SLICE_S = 1.0
"""How long one try to deliver what the process left takes at most, before the box is looked at again."""
SETTLE_S = 0.02
BUSY_S = 0.3
FINAL = frozenset({"completed", "failed", "cancelled"})
_LATER = float("inf")


class Word(Enum):
    """What the worker says to an attempt."""

    LOST = "lost"
    """The claim does not hold: end it, say nothing."""
    DRAIN = "drain"
    """The worker stops: come to a checkpoint, the job goes back."""
    KILL = "kill"
    """The worker waits no longer."""


class Open(msgspec.Struct, frozen=True):
    """All that is asked of the job now; what was asked and is missing here has been obeyed."""

    commands: list[Asked]


class Over(msgspec.Struct, frozen=True):
    """The process has ended."""

    ending: Ending


Message = Word | Open | Over


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """What the attempts of one worker share."""

    worker_id: str
    place: Callable[[], Place]
    """Where the server is now."""
    reporter: Reporter
    undertaker: Undertaker
    new_wire: Callable[[], Wire]
    grace_ms: int


class Attempt(threading.Thread):
    """See the module. ``on_freed`` is called once its process is gone, ``on_done`` once nothing is left to do."""

    def __init__(
        self,
        given: Given,
        bench: Bench,
        room: Room,
        *,
        on_freed: Callable[[], None],
        on_done: Callable[[Attempt], None],
    ) -> None:
        super().__init__(name=f"attempt-{given.job.id}", daemon=True)
        self.given = given
        self.lease = Lease(given.job.id, given.fencing_token)
        self._bench = bench
        self._place = bench.place()
        self._room = room
        self._on_freed, self._on_done = on_freed, on_done
        self._box: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._reports = ClaimReports(bench.reporter, given.fencing_token)
        self._started_s = monotonic_s()
        self._ending: Ending | None = None
        self._asked: dict[str, float] = {}
        """Commands handed on and not yet obeyed, and when they are made to be."""
        self._commands: dict[str, Asked] = {}
        self._cancel: Asked | None = None
        self._lost = self._draining = self._timed_out = self._stopped = False
        self._paused_s: float | None = None
        self._held_s = 0.0
        self._kill_s = _LATER

    def say(self, message: Message) -> None:
        """Put a message into the box; from any thread."""
        self._box.put(message)

    # -- the story ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """From the process's start to the acknowledged end."""
        try:
            self._room.prepare()
            started = start(self.given, self._place, self._room)
        except OSError as fault:
            self._on_freed()
            self._conclude(self._not_started(fault))
        else:
            self._bench.undertaker.add(started.process.pid)
            try:
                final = self._live(started)
            finally:
                if started.process.poll() is None:  # a fault of ours: nobody would attend to it any more
                    started.child.send_group(signal.SIGKILL)
                self._bench.undertaker.drop(started.process.pid)
                self._on_freed()
            self._conclude(final)
        finally:
            self._on_done(self)

    def _live(self, started: Started) -> r.Report | None:
        """While the process runs; then its final report, None when there is none to be made."""
        job_id, tap = self.given.job.id, Tap(now_ms)
        copies = [Copy(place, channel, tap, lambda: None) for place, channel in enumerate(started.channels)]
        scribe = Scribe(job_id, [channel.logger for channel in started.channels], tap, self._reports, now_ms)
        sampler = Sampler(job_id, started.process.pid, self._reports, now_ms)
        for thread in (*copies, scribe, sampler, threading.Thread(target=self._await, args=(started,), daemon=True)):
            thread.start()
        self._follow(started, Tree(started.child))
        until = monotonic_s() + OUTPUT_S
        for copy in copies:
            copy.ended.wait(max(0.0, until - monotonic_s()))
            copy.stop()
        sampler.finish()
        scribe.finish(OUTPUT_S)
        final = self._judge(started, scribe.tail, self._summary(copies, scribe, sampler))
        started.close()
        return final

    def _await(self, started: Started) -> None:
        code = started.process.wait()
        self.say(Over(Ending(signum=-code) if code < 0 else Ending(code=code)))

    def _follow(self, started: Started, tree: Tree) -> None:
        while self._ending is None:
            try:
                message = self._box.get(timeout=self._next_s())
            except queue.Empty:
                self._keep_time(started, tree)
                continue
            with contextlib.suppress(PermissionError):  # it became another user's: it is asked, and cannot be made to
                self._heed(message, started, tree)
        if self._kill_s is not _LATER or self._lost:
            tree.kill()  # nothing of what was to end stays behind

    # -- messages -----------------------------------------------------------------------------------------------

    def _heed(self, message: Message, started: Started, tree: Tree) -> None:
        match message:
            case Over():
                self._ending = message.ending
            case Open():
                self._take(message.commands, started, tree)
            case Word.LOST:
                self._lost = self._reports.is_mute = True
                self._kill(tree)
            case Word.DRAIN if not self._draining:
                self._draining = True
                self._drain(tree)
            case Word.KILL:
                self._draining = True
                self._kill(tree)

    def _drain(self, tree: Tree) -> None:
        """To its next checkpoint; one that stands still already, or is about to, would go on if it were woken."""
        about_to = any(self._commands[one].action == "pause" for one in self._asked)
        if self._paused_s is not None or about_to:
            self._kill(tree)
        else:
            tree.terminate()

    def _kill(self, tree: Tree) -> None:
        self._kill_s = monotonic_s()
        tree.kill()

    def _take(self, commands: list[Asked], started: Started, tree: Tree) -> None:
        still = {command.id for command in commands}
        for done in self._asked.keys() - still:
            self._obeyed(self._commands[done])
        for command in commands:
            if command.id in self._commands:
                continue
            self._commands[command.id] = command
            if command.action == "cancel":
                self._cancel = command
            if started.is_told:
                self._asked[command.id] = monotonic_s() + self._bench.grace_ms / 1000
                if command.action == "resume" and self._stopped:
                    self._go_on(tree)
                started.tell(command)
            else:
                self._force(command, tree)

    def _obeyed(self, command: Asked) -> None:
        """The process has told the server itself."""
        self._asked.pop(command.id, None)
        if command.action == "pause":
            self._paused_s = self._paused_s or monotonic_s()
        elif command.action == "resume" and self._paused_s is not None:
            self._held_s += monotonic_s() - self._paused_s
            self._paused_s = None

    def _force(self, command: Asked, tree: Tree) -> None:
        """Obey for the process, by signals."""
        at, job_id = instant(now_ms()), command.job_id
        match command.action:
            case "pause":
                tree.stop()
                self._stopped, self._paused_s = True, self._paused_s or monotonic_s()
                self._reports.report(r.Paused(job_id=job_id, at=at, command_id=command.id))
            case "resume":
                self._go_on(tree)
                self._obeyed(command)
                self._reports.report(r.Resumed(job_id=job_id, at=at, command_id=command.id))
            case "cancel":
                self._end(tree)
            case other:
                why = f"A worker cannot {other} a job: it can pause, resume and cancel it."
                self._reports.report(r.ControlRefused(job_id=job_id, at=at, command_id=command.id, reason=why))

    def _go_on(self, tree: Tree) -> None:
        if self._stopped:
            self._stopped = False
            tree.resume()

    def _end(self, tree: Tree) -> None:
        """SIGTERM now, SIGKILL when the grace is over."""
        self._kill_s = min(self._kill_s, monotonic_s() + self._bench.grace_ms / 1000)
        self._stopped = False
        tree.terminate()

    # -- time ---------------------------------------------------------------------------------------------------

    def _next_s(self) -> float | None:
        """How long until something is due; None: never."""
        due = min(self._kill_s, self._limit_s, *self._asked.values(), _LATER)
        return None if due == _LATER else max(0.0, due - monotonic_s())

    @property
    def _limit_s(self) -> float:
        """When the job has run too long; paused time does not count."""
        limit = self.given.spec.timeout_ms
        if limit is None or self._paused_s is not None or self._timed_out:
            return _LATER
        return self._started_s + self._held_s + limit / 1000

    def _keep_time(self, started: Started, tree: Tree) -> None:
        now = monotonic_s()
        with contextlib.suppress(PermissionError):
            if now >= self._kill_s:
                tree.kill()
                self._kill_s = now + self._bench.grace_ms / 1000
            if now >= self._limit_s:
                self._timed_out = True
                self._end(tree)
            for command_id in [one for one, due in self._asked.items() if now >= due]:
                del self._asked[command_id]
                self._force(self._commands[command_id], tree)

    # -- the end ------------------------------------------------------------------------------------------------

    def _summary(self, copies: list[Copy], scribe: Scribe, sampler: Sampler) -> dict[str, Any]:
        ending = self._ending or Ending(code=0)
        paused_s = self._held_s + (0.0 if self._paused_s is None else monotonic_s() - self._paused_s)
        return telling.summary(
            duration_ms=round((monotonic_s() - self._started_s - paused_s) * 1000),
            exit_code=ending.code,
            lines=scribe.lines,
            output_bytes=sum(copy.copied for copy in copies),
            peak_memory=sampler.peak_memory,
        )

    def _judge(self, started: Started, tail: tuple[str, ...], measured: dict[str, Any]) -> r.Report | None:
        """What to tell the server; None: nothing (the claim is lost) or that the job goes back (it is draining)."""
        if self._lost:
            return None
        ending, job_id, at = self._ending or Ending(code=125), self.given.job.id, instant(now_ms())
        result = parse_result(started.result())
        told = measured if result is None or not started.is_told else (result.summary or {})
        status = None if result is None else result.status
        if status == "completed":
            return r.Completed(job_id=job_id, at=at, summary=told)
        if self._cancel is not None or status == "cancelled":
            asked = self._cancel
            reason, command_id = (None, None) if asked is None else (asked.reason, asked.id)
            return r.Cancelled(job_id=job_id, at=at, command_id=command_id, reason=reason, summary=told)
        if self._timed_out:
            failure = telling.timeout_failure(ending, self.given.spec.timeout_ms or 0, tail)
            return r.Failed(job_id=job_id, at=at, failure=failure, summary=told)
        if status == "released" or (status is None and self._draining):  # also of exit code 0: it may have left early
            self._draining = True
            return None
        if result is not None and status == "failed":
            return r.Failed(job_id=job_id, at=at, failure=failure_told(result, ending, tail), summary=told)
        return without_result(job_id, ending, tail, speaks=started.is_told, told=told)

    def _not_started(self, fault: OSError) -> r.Report:
        program = (self.given.spec.command or ("the pipeline",))[0]
        message = f"{program} could not be started: {fault.strerror or fault}"
        failure = Failure(kind=FailureKind.ERROR, message=message, error_type="NotStarted")
        return r.Failed(job_id=self.given.job.id, at=instant(now_ms()), failure=failure)

    def _conclude(self, final: r.Report | None) -> None:
        """Deliver what the process left, then the end; hold on to the lease until that is acknowledged."""
        if self._lost:
            return
        self._deliver_rest()
        if final is None:
            self._release()
            return
        self._reports.report(final)
        position = self._reports.position
        wait_s = SETTLE_S
        while not self._reports.settled(position) and not self._is_left(wait_s):
            wait_s = min(0.5, wait_s * 1.5)
        if self._reports.settled(position) and self._is_final(final):
            self._room.remove()

    def _is_left(self, wait_s: float) -> bool:
        """Whether nobody waits for this attempt any more: its claim is lost, or the worker goes."""
        with contextlib.suppress(queue.Empty):
            message = self._box.get(timeout=wait_s)
            return message is Word.LOST or message is Word.KILL
        return False

    def _deliver_rest(self) -> None:
        """First what the process itself reported and could not send: the end comes last."""
        endpoint = Endpoint(url=self._place.url, token=self._place.token, origin="ETLMON_URL")
        while self._room.has_reports and self._bench.place().url == self._place.url:
            if Flusher(self._room.spool, lambda: endpoint, lifetime_s=SLICE_S).run() or self._is_left(SETTLE_S):
                return

    def _release(self) -> None:
        """Give the job back. A busy server is asked again; one that is away takes it when the lease runs out."""
        wire = self._bench.new_wire()
        try:
            while isinstance(wire.release(self._bench.worker_id, self.lease, "its worker stops"), Busy):
                if self._is_left(BUSY_S):
                    return
        finally:
            wire.close()

    def _is_final(self, final: r.Report) -> bool:
        """Whether the job will not be tried again."""
        if not isinstance(final, r.Failed):
            return True
        wire = self._bench.new_wire()
        try:
            return wire.status(self.given.job.id) in FINAL
        finally:
            wire.close()


__all__ = ["FINAL", "Attempt", "Bench", "Open", "Over", "Word"]
