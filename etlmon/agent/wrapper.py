"""The wrapper while the command runs: one loop over signals, the child's changes, commands and what time brings."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections import deque
from typing import TYPE_CHECKING

from etlmon.agent.asked import Ending, Options, Way
from etlmon.agent.copying import Copy, Tap
from etlmon.agent.foreground import Foreground
from etlmon.agent.leaving import drain, hand_over
from etlmon.agent.process import Child
from etlmon.agent.signals import TO_CHILD, TO_GROUP, Signals
from etlmon.agent.stdio import Arrangement
from etlmon.agent.tree import Tree
from etlmon.host.clock import monotonic_s, now_ms

if TYPE_CHECKING:
    from etlmon.agent.teller import Teller
    from etlmon.core.reports import CommandItem

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
        self._teller: Teller | None = None
        self._parent_id = parent_id
        self._child = child
        self._signals = signals
        self._foreground = foreground
        self._tree = Tree(child)
        self._tap = Tap(now_ms)
        self._copies = [Copy(place, way, self._tap, signals.wake) for place, way in enumerate(arrangement.channels)]
        self._loggers = [channel.logger for channel in arrangement.channels]
        self._commands: deque[CommandItem] = deque(maxlen=MAX_COMMANDS)
        self._cancel: CommandItem | None = None
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
        """Open the way to the server; where there is none, the command runs unreported."""
        try:
            from etlmon.agent.teller import Teller  # only now: the command runs while this is read

            teller = Teller.open(self.job_id, self.options, self._way, self._take_command)
            teller.started(at=self._started_at, parent_id=self._parent_id)
            teller.watch(self._child.pid, self._tap, self._loggers)
            self._teller = teller
        except Exception as fault:  # noqa: BLE001 - Law 5
            _explain(fault)

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
            while self._commands and self._teller is not None and self.ending is None:
                self._obey(self._commands.popleft(), self._teller)
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
            if self._teller is not None:
                self._teller.beat()
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
        if self._teller is not None:
            self._teller.paused()
        before = monotonic_s()
        go_on, came = self._foreground.suspend(signum)
        self._held_s += monotonic_s() - before
        self._heed(came)  # first: a hangup that ended our stop is to end the child's as well
        if go_on:
            self._go_on()
            if self._teller is not None:
                self._teller.resumed()

    def _go_on(self) -> None:
        self._stopped = False
        with contextlib.suppress(PermissionError):
            self._child.send_group(signal.SIGCONT)

    # -- commands -----------------------------------------------------------------------------------------------

    def _take_command(self, command: CommandItem) -> None:
        """From the reporter's thread: kept for the loop; with more than a hundred waiting the oldest is asked again."""
        if command.job_id == self.job_id:
            self._commands.append(command)
            self._signals.wake()

    def _obey(self, command: CommandItem, teller: Teller) -> None:
        try:
            match command.action:
                case "pause":
                    self._pause()
                    teller.paused(command)
                case "resume":
                    self._resume()
                    teller.resumed(command)
                case "cancel":
                    self._cancel = command
                    if self._kill_at is None:
                        self._paused_at = None
                        self._end_tree(monotonic_s())
                case other:
                    teller.refused(command, f"A command cannot {other}: it can be paused, resumed and cancelled.")
        except PermissionError:
            self._cancel, self._kill_at, self._paused_at = None, None, None
            teller.refused(command, "The command runs as another user now: it cannot be signalled from here.")

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
        if self._teller is None:
            return
        try:
            self._teller.conclude(
                self.ending or Ending(code=125),
                duration_ms=round((self._ended - self._started - self._held_s) * 1000),
                output_bytes=sum(copy.copied for copy in self._copies),
                cancel=self._cancel,
                timed_out=self._timed_out,
            )
            self._teller.leave(self._ended)
        except Exception as fault:  # noqa: BLE001 - the exit status is still owed
            _explain(fault)

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
