"""The wrapper while the command runs: one loop over signals, the child's changes, commands and what time brings."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections import deque

from etlmon.agent.copying import Copy, Tap
from etlmon.agent.foreground import Foreground
from etlmon.agent.leaving import drain, hand_over, say_goodbye
from etlmon.agent.process import Child
from etlmon.agent.sampling import Sampler
from etlmon.agent.scribe import Scribe
from etlmon.agent.signals import TO_CHILD, TO_GROUP, Signals
from etlmon.agent.stdio import Arrangement
from etlmon.agent.telling import (
    Ending,
    Mute,
    Options,
    Reports,
    Way,
    failure_of,
    instant,
    started,
    summary,
    timeout_failure,
)
from etlmon.agent.tree import Tree
from etlmon.core import reports as r
from etlmon.host.clock import monotonic_s, now_ms

HEARTBEAT_S = 15.0
LOOK_S = 0.5
"""How often the outer terminal is looked at where no signal tells of its size or its foreground."""
LIVES_S = 0.05
PASSED_S = 1.0
"""A child that stops so soon after we passed a SIGTSTP on stops because of it."""
MAX_COMMANDS = 100
_KEYBOARD = frozenset({signal.SIGINT, signal.SIGQUIT})


class Wrapper:
    """One running command: what became of it, what was asked of it, when to do what next (monotonic seconds)."""

    def __init__(
        self,
        options: Options,
        way: Way,
        job_id: str,
        child: Child,
        signals: Signals,
        arrangement: Arrangement,
        foreground: Foreground,
        *,
        parent_id: str | None,
    ) -> None:
        self.options = options
        self._way = way
        self.job_id = job_id
        self.ending: Ending | None = None
        self.reports: Reports = Mute()
        self._parent_id = parent_id
        self._child = child
        self._signals = signals
        self._foreground = foreground
        self._tree = Tree(child)
        self._tap = Tap(now_ms)
        self._copies = [Copy(place, way, self._tap, signals.wake) for place, way in enumerate(arrangement.channels)]
        self._loggers = [channel.logger for channel in arrangement.channels]
        self._scribe: Scribe | None = None
        self._sampler: Sampler | None = None
        self._commands: deque[r.CommandItem] = deque(maxlen=MAX_COMMANDS)
        self._cancel: r.CommandItem | None = None
        self._paused_at: float | None = None
        self._stopped = False
        self._timed_out = False
        self._stop_passed = -PASSED_S
        self._passed: set[int] = set()
        self._started_at = now_ms()
        self._started = monotonic_s()
        self._ended = 0.0
        self._held_s = 0.0
        self._beat_at = self._started + HEARTBEAT_S
        self._kill_at: float | None = None
        self._killed = False

    # -- the story ----------------------------------------------------------------------------------------------

    def live(self) -> Ending:
        """From the first byte to the last report; how the command ended."""
        self._foreground.enter()  # before the first byte reaches the terminal: it must come in raw modes
        for copy in self._copies:
            copy.start()
        try:
            self._tell()
            self._watch()
        except Exception as fault:  # noqa: BLE001 - Law 5: a fault of ours must not end the command
            _explain(fault)
            self._wait_only()
        self._foreground.rest()
        drain(self._copies, self._signals)
        self._foreground.leave()
        self._conclude()
        hand_over(self._copies)
        return self.ending or Ending(code=125)

    def _tell(self) -> None:
        try:
            self.reports = self._way.open(self._take_command)
        except Exception as fault:  # noqa: BLE001
            _explain(fault)
        self.reports.report(
            started(
                self.job_id,
                self.options,
                at=self._started_at,
                host=socket.gethostname(),
                parent_id=self._parent_id,
            )
        )
        self._scribe = Scribe(self.job_id, self._loggers, self._tap, self.reports, now_ms)
        self._scribe.start()
        self._sampler = Sampler(self.job_id, self._child.pid, self.reports, now_ms)
        self._sampler.start()

    def _watch(self) -> None:
        """Until the command has ended, and with it, if it was told to end, all that it started."""
        ready = select.poll()
        ready.register(self._signals, select.POLLIN)
        statuses = self._child.fileno()
        if statuses is not None:
            ready.register(statuses, select.POLLIN)
        while self.ending is None or (self._kill_at is not None and self._tree.lives()):
            if self.ending is not None and statuses is not None:
                ready.unregister(statuses)
                statuses = None
            ready.poll(max(0.0, self._next() - monotonic_s()) * 1000)
            self._heed(self._signals.take())
            for status in self._child.changes():
                self._follow(status)
            while self._commands:
                self._obey(self._commands.popleft())
            self._keep_time()

    def _wait_only(self) -> None:
        """The least that is owed to the command when our own life fails: it goes on, and hears its signals."""
        self._paused_at = None
        self._go_on()
        while self.ending is None:
            select.select((self._signals,), (), (), LOOK_S)
            for signum in self._signals.take():
                if signum in TO_GROUP:
                    self._child.send_group(signum)
            for status in self._child.changes():
                if not os.WIFSTOPPED(status):
                    self._follow(status)

    # -- time ---------------------------------------------------------------------------------------------------

    def _next(self) -> float:
        """When there is something to do that no signal tells of."""
        times = [self._beat_at]
        if self._kill_at is not None:
            times.append(monotonic_s() + LIVES_S if self.ending is not None else self._kill_at)
        elif self._deadline is not None:
            times.append(self._deadline)
        if self._foreground.needs_looking:
            times.append(monotonic_s() + LOOK_S)
        return min(times)

    @property
    def _deadline(self) -> float | None:
        """When ``--timeout`` strikes; paused time does not count."""
        if self.options.timeout_ms is None or self._paused_at is not None or self._timed_out:
            return None
        return self._started + self._held_s + self.options.timeout_ms / 1000

    def _keep_time(self) -> None:
        now = monotonic_s()
        if self._foreground.needs_looking:
            self._foreground.look()
        if now >= self._beat_at:
            self._beat_at = now + HEARTBEAT_S
            self.reports.report(r.Heartbeat(job_id=self.job_id, at=instant(now_ms())))
        if self.ending is None and self._kill_at is None and self._deadline is not None and now >= self._deadline:
            self._timed_out = True
            self._end_tree(now)
        if self._kill_at is not None and now >= self._kill_at and not self._killed:
            self._killed = True
            self._tree.kill()

    def _end_tree(self, now: float) -> None:
        self._kill_at = now + self.options.grace_ms / 1000
        self._tree.terminate()

    # -- signals and changes ------------------------------------------------------------------------------------

    def _heed(self, came: list[int]) -> None:
        for signum in came:
            if self.ending is not None:
                if signum in TO_GROUP and self._kill_at is not None:
                    self._kill_at = monotonic_s()
                continue
            try:
                self._pass_on(signum)
            except PermissionError:  # the command became another user's (sudo): it hears its terminal, not us
                continue

    def _pass_on(self, signum: int) -> None:
        if signum in TO_GROUP:
            self._passed.add(signum)
            self._child.send_group(signum)
            if signum == signal.SIGHUP or self._stopped or self._paused_at is not None:
                self._child.send_group(signal.SIGCONT)  # as the kernel does at a hangup; and a pause of ours must not
                # keep it from obeying
        elif signum in TO_CHILD:
            self._child.send(signum)
        elif signum == signal.SIGTSTP:
            self._stop_passed = monotonic_s()
            self._child.send_group(signum)
        elif signum == signal.SIGCONT and self._paused_at is None:
            self._foreground.enter()
            if self._stopped:
                self._go_on()
        elif signum == signal.SIGWINCH:
            self._foreground.resized()

    def _follow(self, status: int) -> None:
        if os.WIFSTOPPED(status):
            self._suspend(os.WSTOPSIG(status))
        elif os.WIFCONTINUED(status):
            self._stopped = False
        else:
            self.ending = Ending.of(status)
            self._ended = monotonic_s()

    def _suspend(self, signum: int) -> None:
        """The child was stopped: by us, or by its keyboard, and then the shell must see us stop as well."""
        if self._paused_at is not None or self.ending is not None or self._kill_at is not None:
            return
        passed = monotonic_s() - self._stop_passed < PASSED_S
        self._stop_passed = -PASSED_S
        if passed:  # whatever came first: to go on now would undo the stop that was asked for
            signum = signal.SIGTSTP
        elif self._foreground.lend(signum):
            return
        self._stopped = True
        if not (passed or self._foreground.is_controlled):
            return
        self.reports.report(r.Paused(job_id=self.job_id, at=instant(now_ms())))
        self.reports.flush(0.2)
        before = monotonic_s()
        go_on, came = self._foreground.suspend(signum)
        self._held_s += monotonic_s() - before
        self._heed(came)  # first: a hangup that ended our stop is to end the child's as well
        if go_on:
            self._go_on()
            self.reports.report(r.Resumed(job_id=self.job_id, at=instant(now_ms())))

    def _go_on(self) -> None:
        self._stopped = False
        with contextlib.suppress(PermissionError):
            self._child.send_group(signal.SIGCONT)

    # -- commands -----------------------------------------------------------------------------------------------

    def _take_command(self, command: r.CommandItem) -> None:
        """From the reporter's thread: kept for the loop; with more than a hundred waiting the oldest is asked again."""
        if command.job_id == self.job_id:
            self._commands.append(command)
            self._signals.wake()

    def _obey(self, command: r.CommandItem) -> None:
        if self.ending is not None:
            return  # the final report settles it
        try:
            match command.action:
                case "pause":
                    self._pause()
                    self._answer(r.Paused, command)
                case "resume":
                    self._resume()
                    self._answer(r.Resumed, command)
                case "cancel":
                    self._cancel = command
                    if self._kill_at is None:
                        self._paused_at = None
                        self._end_tree(monotonic_s())
                case other:
                    self._refuse(command, f"A wrapped command cannot {other}: it can be paused, resumed and cancelled.")
        except PermissionError:
            self._cancel, self._kill_at, self._paused_at = None, None, None
            self._refuse(command, "The command runs as another user now: it cannot be signalled from here.")

    def _answer(self, kind: type[r.Paused | r.Resumed], command: r.CommandItem) -> None:
        self.reports.report(kind(job_id=self.job_id, at=instant(now_ms()), command_id=command.id))

    def _refuse(self, command: r.CommandItem, why: str) -> None:
        at = instant(now_ms())
        self.reports.report(r.ControlRefused(job_id=self.job_id, at=at, command_id=command.id, reason=why))

    def _pause(self) -> None:
        if self._paused_at is None and self._kill_at is None:
            self._paused_at = monotonic_s()
            self._tree.stop()

    def _resume(self) -> None:
        if self._paused_at is not None:
            self._held_s += monotonic_s() - self._paused_at
            self._tree.resume()
            self._paused_at = None

    # -- the end ------------------------------------------------------------------------------------------------

    def _conclude(self) -> None:
        """The last lines, the final status, and the wait for its acknowledgement."""
        try:
            if self._sampler is not None:
                self._sampler.finish()
            if self._scribe is not None:
                self._scribe.finish(1.0)
            self.reports.report(self._final())
            say_goodbye(self.reports, self._way, self._ended)
        except Exception as fault:  # noqa: BLE001 - the exit status is still owed
            _explain(fault)

    def _final(self) -> r.Report:
        ending = self.ending or Ending(code=125)
        tail = self._scribe.tail if self._scribe is not None else ()
        at = instant(now_ms())
        told = summary(
            duration_ms=round((self._ended - self._started - self._held_s) * 1000),
            exit_code=ending.code,
            lines=self._scribe.lines if self._scribe is not None else 0,
            output_bytes=sum(copy.copied for copy in self._copies),
            peak_memory=self._sampler.peak_memory if self._sampler is not None else None,
        )
        if self._cancel is not None:
            return r.Cancelled(
                job_id=self.job_id, at=at, command_id=self._cancel.id, reason=self._cancel.reason, summary=told
            )
        if self._timed_out:
            failure = timeout_failure(ending, self.options.timeout_ms or 0, tail)
            return r.Failed(job_id=self.job_id, at=at, failure=failure, summary=told)
        if ending.code == 0:
            return r.Completed(job_id=self.job_id, at=at, summary=told)
        return r.Failed(job_id=self.job_id, at=at, failure=failure_of(ending, tail), summary=told)

    @property
    def timed_out(self) -> bool:
        """Whether ``--timeout`` ended it."""
        return self._timed_out and self._cancel is None

    @property
    def whole_group(self) -> bool:
        """Whether the keyboard's signal that ended the child would have reached our whole group."""
        signum = self.ending.signum if self.ending is not None else None
        return signum in _KEYBOARD and signum not in self._passed and self._foreground.from_keyboard


def _explain(fault: Exception) -> None:
    with contextlib.suppress(OSError):
        os.write(2, os.fsencode(f"etlmon: this run is not reported: {fault}\n"))
